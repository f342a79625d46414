/** @file What a call takes in, against a list of what was pushed. */
import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { concatPcm } from "../audio/index.ts"
import { Ears, UNIT_SAMPLES } from "./ears.ts"

const seconds = (count: number, level = 0) => new Float32Array(count * UNIT_SAMPLES).fill(level)

describe("ears that nobody reads from", () => {
  test("keep the last minute of sound and all text, and tell what they drop, whatever comes", () => {
    const input = fc.oneof(
      fc.record({ pcm: fc.integer({ min: 1, max: 40 }).map((quarters) => seconds(quarters / 4)) }),
      fc.record({ text: fc.string({ minLength: 1, maxLength: 3 }) }),
      fc.constant("end" as const),
    )
    fc.assert(
      fc.property(fc.array(input, { maxLength: 40 }), (inputs) => {
        const ears = new Ears(UNIT_SAMPLES)
        let [pushed, dropped] = [0, 0]
        for (const one of inputs) {
          if (one === "end") ears.endTurn("sound")
          else dropped += ears.take(ears.prepare(one))
          if (one !== "end" && "pcm" in one) pushed += one.pcm.length
        }
        const { ready, rest } = ears.data
        const kept = ready.reduce((sum, { pcm }) => sum + (pcm?.length ?? 0), rest.length)
        expect(kept + (dropped / 1000) * UNIT_SAMPLES).toBe(pushed)
        if (dropped > 0) expect(kept).toBeGreaterThanOrEqual(60 * UNIT_SAMPLES)
        expect(ready.flatMap(({ text }) => text ?? [])).toEqual(
          inputs.flatMap((one) => (one !== "end" && "text" in one ? one.text : [])),
        )
        const ends = inputs.filter((one) => one === "end").length
        expect(ready.flatMap(({ turnEnd }) => turnEnd?.turn ?? [])).toEqual(
          Array.from({ length: ends }, (_, i) => i + 1),
        )
      }),
    )
  })

  test("keep all of one long push, and drop its oldest second by second afterwards", () => {
    const ears = new Ears(UNIT_SAMPLES)
    const sound = Float32Array.from({ length: 90 * UNIT_SAMPLES }, (_, i) => i)
    expect(ears.take(ears.prepare({ pcm: sound }))).toBe(0)
    expect(concatPcm(ears.data.ready.map(({ pcm }) => pcm!))).toEqual(sound)
    // A minute more may wait beside it.
    expect(ears.take(ears.prepare({ pcm: seconds(60) }))).toBe(0)
    expect(ears.take(ears.prepare({ pcm: seconds(1) }))).toBe(1000)
    ears.remove(ears.peek(90))
    expect(ears.take(ears.prepare({ pcm: seconds(1) }))).toBe(1000)
  })
})
