import { expect, test } from "vitest"
import { relativeToMaxAbs } from "../tensor/index.ts"
import { InputError } from "../util/index.ts"
import { createCodecMel } from "./codec-mel.ts"
import { goldenAudio, goldenTensors } from "./golden.test-util.ts"

const codecMel = createCodecMel()

test("a recording equals the recorded features", () => {
  const got = codecMel(goldenAudio("speech_24k"))
  const want = goldenTensors("mel_24k")["out.mel"]!
  expect(got.shape).toEqual(want.shape)
  expect(relativeToMaxAbs(got, want)).toBeLessThan(2e-4) // measured 7.5e-5; the recorded transform is float32
})

test("published vector: two tones", () => {
  const tone = (n: number, hz: number) => Math.sin((2 * Math.PI * hz * n) / 24000)
  const got = codecMel(Float32Array.from({ length: 4096 }, (_, n) => 0.5 * tone(n, 440) + 0.25 * tone(n, 3000)))
  expect(got.shape).toEqual([100, 17])
  const at = (m: number, t: number) => got.data[m * 17 + t]!
  const want: [number, number, number][] = [
    [0, 0, 2.074679],
    [10, 8, -2.586467],
    [17, 8, 4.055243],
    [18, 8, 0.866963],
    [60, 8, -9.241261],
    [99, 16, 0.40419],
  ]
  // The published numbers come from a float32 transform, whose noise fills the bands between pure tones: bands well
  // above it agree closely, the others within 1e-3 of the largest magnitude (11.5), the sum within 0.3 %.
  for (const [m, t, value] of want) {
    expect(Math.abs(at(m, t) - value), `[${m}, ${t}]`).toBeLessThan(value > -5 ? 1e-5 * 11.5 : 1e-3 * 11.5)
  }
  expect(Math.abs(got.data.reduce((sum, value) => sum + value, 0) / -8716.998 - 1)).toBeLessThan(3e-3)
})

test("silence is the log of the floor; frames are 1 + floor(N / 256)", () => {
  for (const [samples, frames] of [
    [513, 3],
    [767, 3],
    [768, 4],
    [24000, 94],
  ] as const) {
    const got = codecMel(new Float32Array(samples))
    expect(got.shape).toEqual([100, frames])
    expect(got.data.every((value) => value === Math.fround(Math.log(1e-5)))).toBe(true)
  }
})

test("recordings that cannot be reflected are refused", () => {
  expect(() => codecMel(new Float32Array(512))).toThrow(
    new InputError("codec mel: expected more than 512 samples, got 512 (use a longer recording)"),
  )
  expect(() => codecMel(Float32Array.of(Number.POSITIVE_INFINITY))).toThrow("codec mel: expected finite samples")
})
