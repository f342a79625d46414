/**
 * @file Where a text that is spoken in segments may be cut: at the end of a sentence or clause, between words, and in
 * scripts without spaces between characters. The official code, which knows ends of sentences alone, is not in here.
 */

/** How well a text may be cut somewhere; each kind includes those before it. */
export type Break = "sentence" | "clause" | "word"

/** A segment closes at the first sentence end when fewer text slots than this are free. */
export const FREE_SLOTS_TO_CLOSE = 180
/** With `speaksAll`: what else closes a segment when fewer slots are free, and how few are left to the end of a word. */
const FREE_SLOTS_FOR: { readonly [kind in Break]: number } = { sentence: FREE_SLOTS_TO_CLOSE, clause: 100, word: 20 }
const FREE_SLOTS_ANYWHERE = 10

/** Letters that are written without spaces between words. */
const UNSPACED = String.raw`\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}\p{Script=Lao}\p{Script=Khmer}\p{Script=Myanmar}`
/** A stop or comma inside of a number, an address or a name ends nothing; at the end of a piece a number may go on. */
const ENDS = (marks: string) =>
  new RegExp(String.raw`\n|(?!(?<=\p{N})[.,:]($|\p{N}))(?![.,:][\p{L}\p{N}])${marks}`, "gu")
const PATTERNS: { readonly [kind in Break]: RegExp } = {
  sentence: ENDS(String.raw`\p{Sentence_Terminal}`),
  clause: ENDS(String.raw`[\p{Terminal_Punctuation}…—]`),
  word: new RegExp(String.raw`(?=\s)|(?<=[${UNSPACED}])`, "gu"),
}

/** The last place where a piece may be cut so; undefined when there is none. */
export function lastBreak(piece: string, kind: Break): number | undefined {
  const last = [...piece.matchAll(PATTERNS[kind])].at(-1)
  return last && last.index + last[0].length
}

/** Where in its latest piece a segment closes that speaks all its text; undefined while there are better places to come. */
export function closingAt(piece: string, freeSlots: number): number | undefined {
  for (const kind of ["sentence", "clause", "word"] as const) {
    const at = freeSlots <= FREE_SLOTS_FOR[kind] ? lastBreak(piece, kind) : undefined
    if (at !== undefined) return at
  }
  return freeSlots <= FREE_SLOTS_ANYWHERE ? piece.length : undefined
}

/** Whether anything of a text can be heard. */
export function isAudible(text: string): boolean {
  return /[\p{L}\p{N}]/u.test(text)
}

/**
 * The longest beginning of a text that keeps within a number of tokens: whole words, or characters where not even one word
 * fits after `from`.
 * @returns its length; 0 when not even a character fits
 */
export function cutWithin(text: string, from: number, fits: (beginning: string) => boolean): number {
  if (fits(text)) return text.length
  const words = longest(
    [...text.matchAll(PATTERNS.word)].map(({ index }) => index),
    (end) => fits(text.slice(0, end)),
  )
  if (words > from) return words
  let end = 0
  const characters = Array.from(text, (character) => (end += character.length))
  return longest(characters, (end) => fits(text.slice(0, end)))
}

/** The last of ascending ends that fits, where all before it fit; 0 when none does. */
function longest(ends: readonly number[], fits: (end: number) => boolean): number {
  let [fitting, tried] = [0, ends.length]
  while (fitting < tried) {
    const middle = Math.ceil((fitting + tried) / 2)
    if (fits(ends[middle - 1]!)) fitting = middle
    else tried = middle - 1
  }
  return fitting === 0 ? 0 : ends[fitting - 1]!
}
