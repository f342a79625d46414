import fc from "fast-check"
import { expect, test } from "vitest"
import { f32, relativeToMaxAbs } from "../tensor/index.ts"
import { ShapeError } from "../util/index.ts"
import { createRealFft } from "./fft.ts"
import { goldenTensors } from "./golden.test-util.ts"
import { createIstft, type IstftOptions, type Spectrum, vocosSpectrum } from "./istft.ts"
import { concatPcm } from "./pcm.ts"
import { hannWindow } from "./stft.ts"

const VOCOS: IstftOptions = { fftSize: 1024, hopLength: 256 }

function whole(spectrum: Spectrum, options = VOCOS): Float32Array {
  const istft = createIstft(options)
  return concatPcm([istft.push(spectrum), istft.flush()])
}

function slice({ re, im, frames }: Spectrum, from: number, to: number): Spectrum {
  const bins = re.length / frames
  return { frames: to - from, re: re.subarray(from * bins, to * bins), im: im.subarray(from * bins, to * bins) }
}

test("the recorded vocoder head becomes the recorded waveform", () => {
  const golden = goldenTensors("vocos")
  const head = golden["out.head_linear"]!.data as Float32Array
  const want = golden["out.wave"]!
  const got = whole(vocosSpectrum(head, 1024))
  expect(relativeToMaxAbs(f32([got.length], got), want)).toBeLessThan(1e-4)
})

test("published vector", () => {
  const bins = 513
  const spectrum = { frames: 4, re: new Float64Array(4 * bins), im: new Float64Array(4 * bins) }
  for (let t = 0; t < 4; t++) {
    for (let k = 0; k < bins; k++) {
      const magnitude = Math.exp(-0.01 * k + 0.1 * t)
      spectrum.re[t * bins + k] = magnitude * Math.cos(0.37 * k + 1.1 * t)
      spectrum.im[t * bins + k] = magnitude * Math.sin(0.37 * k + 1.1 * t)
    }
  }
  const y = whole(spectrum)
  expect(y.length).toBe(1024)
  expect(y.reduce((sum, value) => sum + value * value, 0)).toBeCloseTo(3.917136e-4, 9)
  const want = {
    0: -2.778346e-4,
    1: -2.84188e-4,
    255: -2.585343e-4,
    256: -2.602753e-4,
    512: 2.758825e-4,
    1023: 7.031982e-4,
  }
  for (const [n, value] of Object.entries(want)) expect(y[Number(n)]! / value).toBeCloseTo(1, 4)
})

/** The "same"-padded forward transform whose inverse this is. */
function stft(signal: Float64Array, { fftSize, hopLength }: IstftOptions): Spectrum {
  const fft = createRealFft(fftSize)
  const window = hannWindow(fftSize)
  const frames = signal.length / hopLength
  const bins = fftSize / 2 + 1
  const spectrum = { frames, re: new Float64Array(frames * bins), im: new Float64Array(frames * bins) }
  const trim = (fftSize - hopLength) / 2
  for (let t = 0; t < frames; t++) {
    const frame = Float64Array.from({ length: fftSize }, (_, n) => window[n]! * (signal[t * hopLength + n - trim] ?? 0))
    const row = (values: Float64Array) => values.subarray(t * bins, (t + 1) * bins)
    fft.forward(frame, row(spectrum.re), row(spectrum.im))
  }
  return spectrum
}

test("it inverts the forward transform at any size, and regrouping frames changes no bit", () => {
  const sizes: IstftOptions[] = [
    VOCOS,
    { fftSize: 16, hopLength: 4 },
    { fftSize: 12, hopLength: 6 },
    { fftSize: 30, hopLength: 10 },
  ]
  fc.assert(
    fc.property(
      fc.constantFrom(...sizes),
      fc.integer({ min: 1, max: 12 }),
      fc.array(fc.integer({ min: 0, max: 3 }), { maxLength: 12 }),
      (options, frames, groups) => {
        const signal = Float64Array.from({ length: frames * options.hopLength }, (_, n) => Math.sin(n * n * 0.3))
        const spectrum = stft(signal, options)
        const want = whole(spectrum, options)
        expect(want.length).toBe(signal.length)
        want.forEach((value, n) => {
          expect(value).toBeCloseTo(signal[n]!, 5)
        })
        const istft = createIstft(options)
        for (let round = 0; round < 2; round++) {
          const pieces: Float32Array[] = []
          let from = 0
          for (const size of [...groups, frames]) {
            const to = Math.min(frames, from + size)
            pieces.push(istft.push(slice(spectrum, from, to)))
            from = to
          }
          expect(concatPcm([...pieces, istft.flush()])).toEqual(want) // the second round: flush leaves a fresh state
        }
      },
    ),
  )
})

test("one frame alone gives one hop; none gives nothing", () => {
  expect(whole({ frames: 1, re: new Float64Array(513).fill(1), im: new Float64Array(513) }).length).toBe(256)
  expect(createIstft(VOCOS).flush().length).toBe(0)
})

test("the magnitude is capped at 100", () => {
  const head = new Float32Array(1026)
  head[0] = 50
  head[1] = 2
  const { re } = vocosSpectrum(head, 1024)
  expect(re[0]).toBe(100)
  expect(re[1]).toBeCloseTo(Math.exp(2), 5)
})

test("sizes that do not fit are refused by name", () => {
  expect(() => createIstft({ ...VOCOS, window: [1, 2] })).toThrow(
    new ShapeError("istft: expected a window of 1024 values, got 2"),
  )
  expect(() => createIstft({ fftSize: 16, hopLength: 5 })).toThrow("expected a hop up to 16 of the same parity, got 5")
  expect(() => vocosSpectrum(new Float32Array(1025), 1024)).toThrow("vocos head: expected rows of 1026 values")
})
