import fc from "fast-check"
import { expect, test } from "vitest"
import { InputError } from "../util/index.ts"
import { lcgNoise, sine } from "./golden.test-util.ts"
import { concatPcm } from "./pcm.ts"
import { gainDb, rmsDb } from "./resample.test-util.ts"
import { createResampler, resample, resampleSteps } from "./resample.ts"

// The rates that matter, one of each kind, and one whose table is too large to be exact.
const PAIRS = [
  [48000, 16000],
  [44100, 16000],
  [24000, 16000],
  [16000, 24000],
  [24000, 48000],
  [8000, 16000],
  [24000, 8000],
  [192000, 8000],
  [8000, 192000],
  [44101, 16000],
  [47999, 191999],
] as const

const rate = fc.oneof(
  fc.constantFrom(8000, 11025, 16000, 22050, 24000, 44100, 48000),
  fc.integer({ min: 8000, max: 192000 }),
)

test("N samples give ceil(N · to / from), for any rates and lengths", () => {
  fc.assert(
    fc.property(rate, rate, fc.integer({ min: 0, max: 300 }), (fromHz, toHz, samples) => {
      expect(resample(lcgNoise(samples), fromHz, toHz).length).toBe(Math.ceil((samples * toHz) / fromHz))
    }),
    { numRuns: 25 },
  )
})

test.each(PAIRS)("%i → %i Hz: chunks give the same bits as the whole", (fromHz, toHz) => {
  const pcm = lcgNoise(4000)
  const resampler = createResampler({ fromHz, toHz })
  const whole = concatPcm([resampler.push(pcm), resampler.flush()])
  for (const size of [1, 7, 160, 1024, pcm.length]) {
    const pieces: Float32Array[] = []
    for (let i = 0; i < pcm.length; i += size) pieces.push(resampler.push(pcm.subarray(i, i + size)))
    expect(concatPcm([...pieces, resampler.flush()])).toEqual(whole)
  }
})

test("any cutting gives the same bits, empty chunks included", () => {
  fc.assert(
    fc.property(
      fc.constantFrom(...PAIRS),
      fc.array(fc.integer({ min: 0, max: 400 }), { maxLength: 12 }),
      ([fromHz, toHz], sizes) => {
        const pcm = lcgNoise(sizes.reduce((sum, size) => sum + size, 0))
        const resampler = createResampler({ fromHz, toHz })
        let start = 0
        const pieces = sizes.map((size) => {
          start += size
          return resampler.push(pcm.subarray(start - size, start))
        })
        expect(concatPcm([...pieces, resampler.flush()])).toEqual(resample(pcm, fromHz, toHz))
      },
    ),
    { numRuns: 40 },
  )
})

test("long sound is resampled in steps of ten seconds, as if it were one", () => {
  const pcm = lcgNoise(25 * 8000)
  const steps = resampleSteps(pcm, 8000, 16_000)
  expect([steps.next(), steps.next()].map(({ done }) => done)).toEqual([false, false])
  const resampler = createResampler({ fromHz: 8000, toHz: 16_000 })
  expect(steps.next()).toEqual({ done: true, value: concatPcm([resampler.push(pcm), resampler.flush()]) })
})

test.each(PAIRS)("%i → %i Hz: a state goes on as its resampler would, and is not changed by that", (fromHz, toHz) => {
  const pcm = lcgNoise(4000)
  let resampler = createResampler({ fromHz, toHz })
  const pieces: Float32Array[] = []
  for (let i = 0; i < pcm.length; i += 333) {
    const { state } = resampler
    createResampler(state).push(lcgNoise(777))
    resampler = createResampler(structuredClone(state))
    pieces.push(resampler.push(pcm.subarray(i, i + 333)))
  }
  expect(concatPcm([...pieces, resampler.flush()])).toEqual(resample(pcm, fromHz, toHz))
})

test.each(PAIRS)("%i → %i Hz: a tone comes out as that tone, in time and level", (fromHz, toHz) => {
  const got = resample(sine(fromHz / 5, 1000, fromHz), fromHz, toHz)
  const want = sine(got.length, 1000, toHz)
  const middle = (pcm: Float32Array) => pcm.subarray(got.length * 0.2, got.length * 0.8)
  const error = middle(got).map((value, n) => value - middle(want)[n]!)
  expect(rmsDb(error) - rmsDb(middle(want))).toBeLessThan(-90)
})

test.each(PAIRS)(
  "%i → %i Hz: ripple under 0.01 dB up to 0.9 of Nyquist, everything past Nyquist under -85 dB",
  (a, b) => {
    const nyquist = Math.min(a, b) / 2
    for (const fraction of [0.01, 0.3, 0.6, 0.85, 0.9]) {
      expect(Math.abs(gainDb(a, b, fraction * nyquist)), `at ${fraction}`).toBeLessThan(0.01)
    }
    if (a <= b) return
    for (const fraction of [1, 1.02, 1.1, 1.5, 1.9].filter((f) => f * nyquist < a / 2)) {
      expect(gainDb(a, b, fraction * nyquist), `at ${fraction}`).toBeLessThan(-85)
    }
  },
)

test("upsampling leaves no images", () => {
  // What remains after subtracting the wanted tone is images and noise.
  for (const [fromHz, toHz] of [
    [8000, 48000],
    [16000, 24000],
    [8000, 47999],
  ] as const) {
    for (const hz of [500, 3500]) {
      const got = resample(sine(fromHz / 4, hz, fromHz), fromHz, toHz)
      const want = sine(got.length, hz, toHz)
      const from = Math.floor(got.length * 0.2)
      const error = got.slice(from, got.length - from).map((value, n) => value - want[from + n]!)
      expect(rmsDb(error) - rmsDb(want), `${fromHz} → ${toHz} at ${hz} Hz`).toBeLessThan(-85)
    }
  }
})

test("constants stay constant, silence stays silent, and it is linear", () => {
  for (const [fromHz, toHz] of PAIRS) {
    const samples = Math.ceil(fromHz / 16)
    expect(resample(new Float32Array(samples), fromHz, toHz).every((value) => value === 0)).toBe(true)
    const constant = resample(new Float32Array(samples).fill(0.25), fromHz, toHz)
    expect(constant[constant.length >> 1]).toBeCloseTo(0.25, 6)
    const a = lcgNoise(500)
    const b = sine(500, 900, fromHz)
    const together = resample(
      a.map((value, n) => 2 * value + b[n]!),
      fromHz,
      toHz,
    )
    const apart = [resample(a, fromHz, toHz), resample(b, fromHz, toHz)] as const
    together.forEach((value, n) => {
      expect(value).toBeCloseTo(2 * apart[0][n]! + apart[1][n]!, 5)
    })
  }
})

test("there and back is the original, below 0.9 of the lower Nyquist", () => {
  const pcm = sine(8000, 6000, 16000)
  const back = resample(resample(pcm, 16000, 24000), 24000, 16000)
  expect(back.length).toBe(pcm.length)
  const error = back.slice(1000, 7000).map((value, n) => value - pcm[1000 + n]!)
  expect(rmsDb(error) - rmsDb(pcm)).toBeLessThan(-85)
})

test("equal rates copy at once", () => {
  const pcm = lcgNoise(10)
  const resampler = createResampler({ fromHz: 16000, toHz: 16000 })
  const out = resampler.push(pcm)
  expect(out).toEqual(pcm)
  expect(out).not.toBe(pcm)
  expect(resampler.flush().length).toBe(0)
})

test("output comes as soon as the look-ahead is there, not before", () => {
  for (const [fromHz, toHz] of PAIRS) {
    const resampler = createResampler({ fromHz, toHz })
    expect(resampler.push(new Float32Array(resampler.lookAheadSamples)).length).toBe(0)
    expect(resampler.push(new Float32Array(1)).length).toBeGreaterThan(0)
    expect(resampler.lookAheadSamples / fromHz).toBeLessThan(0.0085)
  }
})

test("later input never changes earlier output", () => {
  const pcm = lcgNoise(3000)
  const changed = pcm.slice().fill(1, 2000)
  const [a, b] = [pcm, changed].map((signal) => createResampler({ fromHz: 44100, toHz: 16000 }).push(signal))
  const causal = Math.ceil(((2000 - createResampler({ fromHz: 44100, toHz: 16000 }).lookAheadSamples) * 160) / 441)
  expect(a!.subarray(0, causal)).toEqual(b!.subarray(0, causal))
  expect(a![causal]).not.toBe(b![causal])
})

test("rates that make no sense are refused", () => {
  const create = (fromHz: number, toHz: number) => () => createResampler({ fromHz, toHz })
  expect(create(7999, 16000)).toThrow(new InputError("resample: expected fromHz from 8000 to 192000 Hz, got 7999"))
  expect(create(16000, 192001)).toThrow("expected toHz from 8000 to 192000 Hz, got 192001")
  expect(create(44100.5, 16000)).toThrow("got 44100.5")
  expect(create(Number.NaN, 16000)).toThrow("got NaN")
})
