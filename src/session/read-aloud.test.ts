/** @file Long texts cut into pieces that are read one after another. */
import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { cutText, readAloudQuestions } from "./read-aloud.ts"

const bare = (text: string) => text.replace(/\s+/g, "")

describe("cutText", () => {
  test("law: nothing but space is lost, and no piece is too long, empty, or ends in half a character", () => {
    const text = fc
      .array(fc.constantFrom("word", " ", ". ", "。", "\n", ", ", "长", "🦜", "x".repeat(30)))
      .map((all) => all.join(""))
    fc.assert(
      fc.property(text, fc.integer({ min: 4, max: 60 }), (input, most) => {
        const pieces = cutText(input, most)
        expect(bare(pieces.join(""))).toBe(bare(input))
        for (const piece of pieces) expect(piece.length > 0 && piece.length <= most && piece.isWellFormed()).toBe(true)
      }),
    )
  })

  test("cuts at sentences, else at clauses, else at words", () => {
    expect(cutText("One two three. Four five six seven.", 20)).toEqual(["One two three.", "Four five six seven."])
    expect(cutText("One two three, four five six seven", 20)).toEqual(["One two three,", "four five six seven"])
    expect(cutText("aaaa bbbb cccc dddd eeee", 20)).toEqual(["aaaa bbbb cccc dddd", "eeee"])
    expect(cutText("短句。很长的一句话在这里。", 8)).toEqual(["短句。很长的一句", "话在这里。"])
    expect(cutText("  short \n")).toEqual(["short"])
    expect(cutText(" \n")).toEqual([])
  })
})

test("each piece is asked for in its language, with the voice before it", () => {
  const voice = { pcm: new Float32Array(16_000), sampleRateHz: 16_000 }
  const questions = readAloudQuestions(`${"Hello there. ".repeat(60)}${"你好。".repeat(10)}`, {
    voice,
    instructions: "Softly.",
    seed: 4,
  })
  expect(questions.length).toBe(2)
  expect(questions.map(({ messages }) => messages.length)).toEqual([2, 2])
  const asked = questions.map(({ messages }) => messages.at(-1)!.content as string)
  expect(asked[0]).toMatch(/^Softly\.\nPlease read the text below\.\nHello there\. /)
  expect(asked[1]).toMatch(/^Softly\.\n请朗读以下内容。\n/)
  expect(questions.every(({ speak, seed }) => speak === true && seed === 4)).toBe(true)
})
