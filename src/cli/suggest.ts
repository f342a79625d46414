/** @file What somebody meant who mistyped. */

/** Edits (insert, delete, replace, swap of neighbours) between two words. */
function distance(a: string, b: string): number {
  const rows: number[][] = [Array.from({ length: b.length + 1 }, (_, j) => j)]
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1]
      const least = Math.min(rows[i - 1]![j]! + 1, row[j - 1]! + 1, rows[i - 1]![j - 1]! + (same ? 0 : 1))
      const isSwap = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]
      row.push(isSwap ? Math.min(least, rows[i - 2]![j - 2]! + 1) : least)
    }
    rows.push(row)
  }
  return rows[a.length]![b.length]!
}

/** `did you mean X? ` for a word that is nearly one of the known, else nothing. */
export function suggestion(word: string, known: readonly string[]): string {
  const near = known
    .map((name) => ({ name, edits: name.startsWith(word) && word.length > 2 ? 1 : distance(word, name) }))
    .sort((a, b) => a.edits - b.edits)[0]
  return near && near.edits <= Math.max(1, Math.floor(word.replace(/^-+/, "").length / 3))
    ? `did you mean ${near.name}? `
    : ""
}
