import { describe, expect, test } from "vitest"
import { fixtureJson } from "./fixtures.test-util.ts"
import type { SpokenLanguage } from "./text-helpers.ts"
import { detectLanguage, digitsToWords, sentenceEnd, speakable } from "./text-helpers.ts"

const golden = fixtureJson<{
  numbers: { text: string; lang: SpokenLanguage; auto: string; english: string; chinese: string }[]
  sentence_end: { text: string; end: string }[]
}>("cases/text_helpers.json")

describe("recorded cases", () => {
  test.each(golden.numbers)("digits of $text", (row) => {
    expect(detectLanguage(row.text)).toBe(row.lang)
    expect(digitsToWords(row.text)).toBe(row.auto)
    expect(digitsToWords(row.text, "english")).toBe(row.english)
    expect(digitsToWords(row.text, "chinese")).toBe(row.chinese)
  })

  test.each(golden.sentence_end)("sentence end of $text", ({ text, end }) => {
    expect(sentenceEnd(text)).toBe(end)
  })
})

test("only the first full stop decides whether it ends a sentence", () => {
  expect(sentenceEnd("3.14 is pi!")).toBe("!")
  expect(sentenceEnd("It is so. 3.14")).toBe(".")
})

test("a full stop after a digit of any kind is none", () => {
  for (const digit of ["1", "٣", "²", "①", "₉", "𝟗", "🄂"])
    expect([digit, sentenceEnd(`x${digit}.`)]).toEqual([digit, ""])
  for (const other of ["Ⅷ", "½", "十", "⑩", "😀"]) expect([other, sentenceEnd(`1${other}.`)]).toEqual([other, "."])
  expect(sentenceEnd(".")).toBe(".")
})

test("asterisks are not spoken", () => {
  expect(speakable("**2** items", "english")).toBe("two items")
})
