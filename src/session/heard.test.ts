/** @file From milliseconds heard to tokens said. */
import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { type AnswerRecord, emptyAnswer } from "./answer.ts"
import { heardTokens } from "./heard.ts"

/** An answer whose deliveries of a second each brought so many tokens. */
function answer(tokens: readonly number[], unspoken: number, finishReason: AnswerRecord["finishReason"]): AnswerRecord {
  let sum = 0
  const chunks = tokens.map((count, i) => {
    sum += count
    return { tokens: sum, endSample: (i + 1) * 24_000 }
  })
  const ids = Array.from({ length: sum + unspoken }, (_, i) => i)
  return {
    ...emptyAnswer(),
    ids,
    chunks,
    samples: tokens.length * 24_000,
    spoken: true,
    shownTokens: ids.length,
    finishReason,
  }
}

describe("tokens heard", () => {
  test("advance in proportion inside a delivery", () => {
    const record = answer([4, 6], 0, "stop")
    expect([0, 500, 1000, 1500, 1999, 2000].map((ms) => heardTokens(record, ms))).toEqual([0, 2, 4, 7, 9, 10])
  })

  test("do not include what was never given to the speech", () => {
    expect(heardTokens(answer([4], 5, "interrupted"), 5000)).toBe(4)
    expect(heardTokens(answer([4], 5, undefined), undefined)).toBe(4)
  })

  test("advance with the sound of their segment, though its text was given at once", () => {
    // Four seconds say ten tokens, one second four more; the speech had them all after the first second of each.
    const chunks = [1, 2, 3, 4, 5].map((second) => ({
      tokens: second < 5 ? 10 : 14,
      endSample: second * 24_000,
      segment: second < 5 ? 0 : 1,
    }))
    const record: AnswerRecord = { ...answer([14], 0, undefined), chunks, samples: 5 * 24_000, soundIsWhole: true }
    expect([0, 1000, 2000, 4000, 4500, 5000].map((ms) => heardTokens(record, ms))).toEqual([0, 2, 5, 10, 12, 14])
    // While the last segment goes on, nobody knows how long its text takes.
    const going = { ...record, ids: [...record.ids, ...record.ids], soundIsWhole: false }
    going.chunks[4] = { tokens: 28, endSample: 5 * 24_000, segment: 1 }
    expect([4000, 4500, 5000].map((ms) => heardTokens(going, ms))).toEqual([10, 13, 16])
  })

  test("of text alone are those shown", () => {
    const record = { ...answer([], 7, undefined), spoken: false, shownTokens: 6 }
    expect(heardTokens(record, undefined)).toBe(6)
    expect(heardTokens(record, 10)).toBe(6)
  })

  test("never fall as time goes on, and stay within the answer", () => {
    const counts = fc.array(fc.nat(9), { maxLength: 6 })
    fc.assert(
      fc.property(
        counts,
        fc.nat(5),
        fc.array(fc.nat(8000), { minLength: 2, maxLength: 8 }),
        fc.array(fc.boolean(), { minLength: 6, maxLength: 6 }),
        fc.boolean(),
        (tokens, unspoken, times, ends, soundIsWhole) => {
          const plain = answer(tokens, unspoken, undefined)
          const chunks = plain.chunks.map((chunk, i) => ({
            ...chunk,
            segment: ends.slice(0, i).filter(Boolean).length,
          }))
          const record = { ...plain, chunks, soundIsWhole }
          const heard = times.toSorted((a, b) => a - b).map((ms) => heardTokens(record, ms))
          expect(heard).toEqual(heard.toSorted((a, b) => a - b))
          expect(heard[0]).toBeGreaterThanOrEqual(0)
          expect(heard.at(-1)).toBeLessThanOrEqual(record.ids.length - unspoken)
        },
      ),
    )
  })
})
