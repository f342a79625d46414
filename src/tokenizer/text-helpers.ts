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

/** Tried in this order, whatever their place in the text. */
const SENTENCE_ENDS = [".", "。", "!", "?", "！", "？"]

/** The sentence end a text contains, or ""; a full stop whose first occurrence follows a digit does not count. */
export function sentenceEnd(text: string): string {
  for (const end of SENTENCE_ENDS) {
    const at = text.indexOf(end)
    if (at < 0) continue
    if (end === "." && at > 0 && /\p{Nd}/u.test(text[at - 1]!)) continue
    return end
  }
  return ""
}
