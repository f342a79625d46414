import fc from "fast-check"
import { expect, test } from "vitest"
import { audioCacheMask, audioSegmentMask } from "./audio-mask.ts"

const block = fc.option(fc.integer({ min: 1, max: 9 }), { nil: undefined })

test("over a cache: what was heard, and new frames up to the end of the own block", () => {
  fc.assert(
    fc.property(fc.nat(20), fc.nat(9), fc.integer({ min: 1, max: 20 }), block, (length, spare, steps, blockFrames) => {
      const capacity = length + spare
      const mask = audioCacheMask({ length, capacity }, steps, blockFrames)
      expect(mask.shape).toEqual([1, 1, steps, capacity + steps])
      for (let t = 0; t < steps; t++) {
        const row = mask.data.subarray(t * (capacity + steps), (t + 1) * (capacity + steps))
        const i = length + t
        const end = blockFrames === undefined ? length + steps : (Math.floor(i / blockFrames) + 1) * blockFrames
        const allowed = Array.from(row, (_, j) => (j < capacity ? j < length : length + j - capacity < end))
        expect(Array.from(row, (value) => value === 0)).toEqual(allowed)
        expect(row.every((value) => value === 0 || Math.exp(value) === 0)).toBe(true)
      }
    }),
  )
})

test("quirk, padding by mel length: whole segments are masked where the frame index reaches the mel length", () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 1, max: 30 }), { minLength: 1, maxLength: 3 }),
      fc.integer({ min: 1, max: 15 }),
      block,
      (melLengths, frames, blockFrames) => {
        const mask = audioSegmentMask(melLengths, frames, blockFrames)
        expect(mask.shape).toEqual([melLengths.length, 1, frames, frames])
        const allowed = melLengths.flatMap((melLength) =>
          Array.from({ length: frames * frames }, (_, at) => {
            const [i, k] = [Math.floor(at / frames), at % frames]
            return k < melLength && (blockFrames === undefined || k < (Math.floor(i / blockFrames) + 1) * blockFrames)
          }),
        )
        expect(Array.from(mask.data, (value) => value === 0)).toEqual(allowed)
      },
    ),
  )
})
