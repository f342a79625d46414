import fc from "fast-check"
import { expect, test } from "vitest"
import { f32, relativeToMaxAbs } from "../tensor/index.ts"
import { ShapeError } from "../util/index.ts"
import { goldenTensors, lcgNoise } from "./golden.test-util.ts"
import { createCrossFader, crossFade } from "./overlap-add.ts"
import { concatPcm } from "./pcm.ts"

test("the recorded cross-fades", () => {
  const golden = goldenTensors("text_helpers")
  for (const [i, overlap] of [4, 2048].entries()) {
    const [a, b] = ["a", "b"].map((key) => golden[`in.crossfade${i}_${key}`]!.data as Float32Array)
    const { out, rest } = crossFade(a!, b!, overlap)
    expect(relativeToMaxAbs(f32([out.length], out), golden[`out.crossfade${i}_out`]!)).toBeLessThan(1e-5)
    expect(relativeToMaxAbs(f32([rest.length], rest), golden[`out.crossfade${i}_rest`]!)).toBeLessThan(1e-5)
  }
})

test("published vector", () => {
  const { out, rest } = crossFade(new Float32Array(8).fill(1), new Float32Array(10).fill(3), 4)
  expect([...out].map((value) => Number(value.toFixed(6)))).toEqual([1, 1, 1, 1, 1.4, 1.8, 2.2, 2.6])
  expect([...rest]).toEqual([3, 3, 3, 3, 3, 3])
})

test("the inputs are left alone", () => {
  const a = lcgNoise(8)
  const b = lcgNoise(8)
  const { out, rest } = crossFade(a, b, 8)
  out.fill(9)
  rest.fill(9)
  expect([a, b]).toEqual([lcgNoise(8), lcgNoise(8)])
})

test("both policies give the same samples; pieces of one signal join to that signal", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 9 }),
      fc.array(fc.integer({ min: 9, max: 20 }), { minLength: 1, maxLength: 8 }),
      (overlap, sizes) => {
        const total = overlap + sizes.reduce((sum, size) => sum + size, 0)
        const signal = lcgNoise(total)
        let start = 0
        const pieces = sizes.map((size) => {
          const piece = signal.slice(start, start + overlap + size)
          start += size
          return piece
        })
        const [held, early] = (["hold", "emit-early"] as const).map((policy) => {
          const fader = createCrossFader(overlap, policy)
          return [...pieces.map((piece) => fader.push(piece)), fader.flush()]
        })
        expect(held![0]!.length).toBe(0)
        expect(early![0]!.length).toBe(sizes[0])
        expect(concatPcm(early!)).toEqual(concatPcm(held!))
        concatPcm(held!).forEach((value, n) => {
          expect(value).toBeCloseTo(signal[n]!, 6)
        })
      },
    ),
  )
})

test("the official cut points: pieces of 12,800 and 14,848 samples", () => {
  const lengths = (policy: "hold" | "emit-early") => {
    const fader = createCrossFader(2048, policy)
    const out = [12800, 14848, 14848].map((size) => fader.push(new Float32Array(size)).length)
    return [...out, fader.heldSamples, fader.flush().length, fader.heldSamples]
  }
  expect(lengths("hold")).toEqual([0, 12800, 12800, 12800, 12800, 0])
  expect(lengths("emit-early")).toEqual([10752, 2048, 12800, 12800, 12800, 0])
})

test("pieces shorter than the overlap are refused", () => {
  expect(() => crossFade(new Float32Array(3), new Float32Array(9), 4)).toThrow(
    new ShapeError("crossFade: expected pieces of at least 4 samples, got 3 and 9"),
  )
})
