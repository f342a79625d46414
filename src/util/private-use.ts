/** @file Characters of no meaning, of which one can stand for something else in a text that has none of it. */

const FIRST = 0xe000
const LAST = 0xf8ff

/** The first character of the private use area that is in none of the texts; undefined when they have all 6,400. */
export function unusedCharacter(texts: readonly string[]): string | undefined {
  // One pass: looking for each of them anew would take minutes where somebody wrote them all behind a long text.
  const isUsed = new Uint8Array(LAST - FIRST + 1)
  for (const text of texts) {
    for (let i = 0; i < text.length; i++) {
      const code = text.charCodeAt(i)
      if (code >= FIRST && code <= LAST) isUsed[code - FIRST] = 1
    }
  }
  const unused = isUsed.indexOf(0)
  return unused < 0 ? undefined : String.fromCharCode(FIRST + unused)
}
