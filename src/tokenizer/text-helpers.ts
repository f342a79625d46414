/** @file What happens to an answer's text on its way to the voice. */

export type SpokenLanguage = "chinese" | "english"

const CHINESE_DIGITS = [..."零一二三四五六七八九"]
const ENGLISH_DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]

const count = (text: string, pattern: RegExp): number => text.match(pattern)?.length ?? 0

/** English when the text has more Latin letters than Chinese characters; ties, the empty text among them, are Chinese. */
export function detectLanguage(text: string): SpokenLanguage {
  return count(text, /[\u4e00-\u9fff]/g) >= count(text, /[a-zA-Z]/g) ? "chinese" : "english"
}

/**
 * Spells every run of digits digit by digit, with nothing added around the run: `v2.6` becomes `vtwo.six`.
 * Digits of other scripts have no name in either language and vanish, as in the official code.
 */
export function digitsToWords(text: string, language: SpokenLanguage = detectLanguage(text)): string {
  const names = language === "chinese" ? CHINESE_DIGITS : ENGLISH_DIGITS
  const words = (run: string) => [...run].flatMap((digit) => names[digit.charCodeAt(0) - 0x30] ?? [])
  return text.replace(/\p{Nd}+/gu, (run) => words(run).join(language === "chinese" ? "" : " "))
}

/** A later piece of a streamed answer, made speakable: digits as words, no markdown asterisks. */
export function speakable(piece: string, language: SpokenLanguage): string {
  return digitsToWords(piece, language).replaceAll("*", "")
}

/** A digit, as Python's `isdigit` has it (superscripts and circled digits too). */
const DIGIT =
  /^[\p{Nd}\u{b2}\u{b3}\u{b9}\u{1369}-\u{1371}\u{19da}\u{2070}\u{2074}-\u{2079}\u{2080}-\u{2089}\u{2460}-\u{2468}\u{2474}-\u{247c}\u{2488}-\u{2490}\u{24ea}\u{24f5}-\u{24fd}\u{24ff}\u{2776}-\u{277e}\u{2780}-\u{2788}\u{278a}-\u{2792}\u{10a40}-\u{10a43}\u{10e60}-\u{10e68}\u{11052}-\u{1105a}\u{1f100}-\u{1f10a}]$/u

/** Tried in this order, whatever their place in the text. */
const SENTENCE_ENDS = [".", "。", "!", "?", "！", "？"]

/** The sentence end a text contains, or ""; a full stop whose first occurrence follows a digit does not count. */
export function sentenceEnd(text: string): string {
  for (const end of SENTENCE_ENDS) {
    const at = text.indexOf(end)
    if (at < 0) continue
    const [before] = [...text.slice(Math.max(0, at - 2), at)].slice(-1) // a character may be two units
    if (end === "." && before && DIGIT.test(before)) continue
    return end
  }
  return ""
}
