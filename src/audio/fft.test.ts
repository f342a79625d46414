import fc from "fast-check"
import { expect, test } from "vitest"
import { createRealFft } from "./fft.ts"

const SIZES = [2, 4, 6, 8, 10, 14, 16, 18, 30, 42, 98, 110, 400, 480, 512, 1024]

const noise = (size: number, seed: number) =>
  Float64Array.from({ length: size }, (_, n) => Math.sin(n * n * 0.7 + seed) + Math.cos(n * 3.1 * seed))

function transform(signal: Float64Array) {
  const bins = signal.length / 2 + 1
  const re = new Float64Array(bins)
  const im = new Float64Array(bins)
  createRealFft(signal.length).forward(signal, re, im)
  return { re, im }
}

function naive(signal: Float64Array) {
  const size = signal.length
  const re = new Float64Array(size / 2 + 1)
  const im = new Float64Array(size / 2 + 1)
  for (let k = 0; k < re.length; k++) {
    for (let n = 0; n < size; n++) {
      const angle = (-2 * Math.PI * ((k * n) % size)) / size
      re[k]! += signal[n]! * Math.cos(angle)
      im[k]! += signal[n]! * Math.sin(angle)
    }
  }
  return { re, im }
}

const distance = (a: Float64Array, b: Float64Array) => Math.max(...a.map((value, i) => Math.abs(value - b[i]!)))

test.each(SIZES)("length %i agrees with the definition", (size) => {
  const signal = noise(size, 1)
  const got = transform(signal)
  const want = naive(signal)
  expect(distance(got.re, want.re)).toBeLessThan(1e-13 * size)
  expect(distance(got.im, want.im)).toBeLessThan(1e-13 * size)
})

test.each(SIZES)("length %i: the inverse undoes it", (size) => {
  const signal = noise(size, 2)
  const { re, im } = transform(signal)
  const back = new Float64Array(size)
  createRealFft(size).inverse(re, im, back)
  expect(distance(back, signal)).toBeLessThan(1e-14 * size)
})

test("the inverse ignores imaginary parts that a real signal cannot have", () => {
  const { re, im } = transform(noise(400, 3))
  const fft = createRealFft(400)
  const want = new Float64Array(400)
  fft.inverse(re, im, want)
  im[0] = 5
  im[200] = -7
  const got = new Float64Array(400)
  fft.inverse(re, im, got)
  expect(got).toEqual(want)
})

test("energy is kept (Parseval), shifts turn phases, sums stay sums", () => {
  fc.assert(
    fc.property(fc.constantFrom(...SIZES), fc.integer({ min: 1, max: 99 }), (size, seed) => {
      const x = noise(size, seed)
      const { re, im } = transform(x)
      let spectral = 0
      for (let k = 0; k <= size / 2; k++) spectral += (k % (size / 2) === 0 ? 1 : 2) * (re[k]! ** 2 + im[k]! ** 2)
      const energy = x.reduce((sum, value) => sum + value * value, 0)
      expect(spectral / size / energy).toBeCloseTo(1, 12)

      const shift = seed % size
      const shifted = transform(x.map((_, n) => x[(n + size - shift) % size]!))
      const y = noise(size, seed + 1)
      const b = transform(y)
      const sum = transform(x.map((value, n) => 2 * value + y[n]!))
      for (let k = 0; k <= size / 2; k++) {
        const angle = (-2 * Math.PI * ((k * shift) % size)) / size
        expect(shifted.re[k]!).toBeCloseTo(re[k]! * Math.cos(angle) - im[k]! * Math.sin(angle), 9)
        expect(sum.im[k]!).toBeCloseTo(2 * im[k]! + b.im[k]!, 9)
      }
    }),
    { numRuns: 30 },
  )
})

test("odd lengths are our own mistake", () => {
  expect(() => createRealFft(401)).toThrow("internal: createRealFft: size must be even, got 401")
})
