/**
 * @file Discrete Fourier transforms of real signals of any even length, in double precision.
 * Mixed radix (4, 2, then odd primes), autosorting, over a half-length complex transform.
 * 400 = 2·(4·2·5·5) for the 16 kHz mel, 1024 = 2·(4·4·4·4·2) for the 24 kHz mel and the vocoder.
 */
import { invariant } from "../util/index.ts"

/** A transform of fixed length with its tables and scratch; calls must not overlap (they are synchronous). */
export type RealFft = {
  readonly size: number
  /** X[k] = Σ x[n]·exp(-2πi·kn/size), k = 0 … size/2: no scaling. `re` and `im` hold size/2 + 1 values. */
  forward(signal: Float64Array, re: Float64Array, im: Float64Array): void
  /** The exact inverse, scaled by 1/size; the imaginary parts of the first and last bin are ignored. */
  inverse(re: Float64Array, im: Float64Array, signal: Float64Array): void
}

/** @param size even length ≥ 2 */
export function createRealFft(size: number): RealFft {
  invariant(Number.isInteger(size) && size >= 2 && size % 2 === 0, `createRealFft: size must be even, got ${size}`)
  const half = size / 2
  const transform = createComplexFft(half)
  const { cos, sin } = roots(size)
  const zr = new Float64Array(half)
  const zi = new Float64Array(half)

  const forward = (signal: Float64Array, re: Float64Array, im: Float64Array) => {
    for (let m = 0; m < half; m++) {
      zr[m] = signal[2 * m]! // even samples as real part, odd ones as imaginary part
      zi[m] = signal[2 * m + 1]!
    }
    transform(zr, zi)
    for (let k = 0; k <= half; k++) {
      const a = k === half ? 0 : k
      const b = k === 0 ? 0 : half - k
      const evenRe = (zr[a]! + zr[b]!) / 2
      const evenIm = (zi[a]! - zi[b]!) / 2
      const oddRe = (zi[a]! + zi[b]!) / 2
      const oddIm = (zr[b]! - zr[a]!) / 2
      re[k] = evenRe + cos[k]! * oddRe + sin[k]! * oddIm
      im[k] = evenIm + cos[k]! * oddIm - sin[k]! * oddRe
    }
  }

  const inverse = (re: Float64Array, im: Float64Array, signal: Float64Array) => {
    for (let k = 0; k < half; k++) {
      const aIm = k === 0 ? 0 : im[k]!
      const bIm = k === 0 ? 0 : im[half - k]!
      const differenceRe = (re[k]! - re[half - k]!) / 2
      const differenceIm = (aIm + bIm) / 2
      const oddRe = differenceRe * cos[k]! - differenceIm * sin[k]!
      const oddIm = differenceIm * cos[k]! + differenceRe * sin[k]!
      zr[k] = (re[k]! + re[half - k]!) / 2 - oddIm
      zi[k] = (aIm - bIm) / 2 + oddRe
    }
    transform(zi, zr) // swapped parts: the inverse, times half
    for (let m = 0; m < half; m++) {
      signal[2 * m] = zr[m]! / half
      signal[2 * m + 1] = zi[m]! / half
    }
  }
  return { size, forward, inverse }
}

/** In-place complex transform of one length, exp(-2πi…), unscaled. */
function createComplexFft(size: number): (re: Float64Array, im: Float64Array) => void {
  const radices = factors(size)
  const table = roots(size)
  const scratchRe = new Float64Array(size)
  const scratchIm = new Float64Array(size)
  const odd = createOddButterfly(Math.max(...radices, 1))
  return (re, im) => {
    let pass: Pass = { size, stride: 1, re, im, outRe: scratchRe, outIm: scratchIm, ...table }
    for (const radix of radices) {
      if (radix === 4) pass4(pass)
      else if (radix === 2) pass2(pass)
      else odd(pass, radix)
      pass = {
        ...pass,
        size: pass.size / radix,
        stride: pass.stride * radix,
        re: pass.outRe,
        im: pass.outIm,
        outRe: pass.re,
        outIm: pass.im,
      }
    }
    if (pass.re !== re) {
      re.set(pass.re)
      im.set(pass.im)
    }
  }
}

/** One step of the autosorting (Stockham) transform: `stride` interleaved transforms of length `size` remain. */
type Pass = {
  size: number
  stride: number
  re: Float64Array
  im: Float64Array
  outRe: Float64Array
  outIm: Float64Array
  /** exp(-2πi·k/whole) = cos[k] - i·sin[k]; a root of `size` is every `stride`-th entry. */
  cos: Float64Array
  sin: Float64Array
}

function pass2({ size, stride, re, im, outRe, outIm, cos, sin }: Pass): void {
  const m = size / 2
  for (let p = 0; p < m; p++) {
    const c = cos[p * stride]!
    const s = sin[p * stride]!
    for (let q = 0; q < stride; q++) {
      const a = q + stride * p
      const b = a + stride * m
      const to = q + stride * 2 * p
      const dr = re[a]! - re[b]!
      const di = im[a]! - im[b]!
      outRe[to] = re[a]! + re[b]!
      outIm[to] = im[a]! + im[b]!
      outRe[to + stride] = dr * c + di * s
      outIm[to + stride] = di * c - dr * s
    }
  }
}

function pass4({ size, stride, re, im, outRe, outIm, cos, sin }: Pass): void {
  const m = size / 4
  for (let p = 0; p < m; p++) {
    const c1 = cos[p * stride]!
    const s1 = sin[p * stride]!
    const c2 = cos[2 * p * stride]!
    const s2 = sin[2 * p * stride]!
    const c3 = cos[3 * p * stride]!
    const s3 = sin[3 * p * stride]!
    for (let q = 0; q < stride; q++) {
      const a = q + stride * p
      const b = a + stride * m
      const c = b + stride * m
      const d = c + stride * m
      const sumAcRe = re[a]! + re[c]!
      const sumAcIm = im[a]! + im[c]!
      const difAcRe = re[a]! - re[c]!
      const difAcIm = im[a]! - im[c]!
      const sumBdRe = re[b]! + re[d]!
      const sumBdIm = im[b]! + im[d]!
      const difBdRe = re[b]! - re[d]!
      const difBdIm = im[b]! - im[d]!
      const to = q + stride * 4 * p
      outRe[to] = sumAcRe + sumBdRe
      outIm[to] = sumAcIm + sumBdIm
      const r1 = difAcRe + difBdIm
      const i1 = difAcIm - difBdRe
      outRe[to + stride] = r1 * c1 + i1 * s1
      outIm[to + stride] = i1 * c1 - r1 * s1
      const r2 = sumAcRe - sumBdRe
      const i2 = sumAcIm - sumBdIm
      outRe[to + 2 * stride] = r2 * c2 + i2 * s2
      outIm[to + 2 * stride] = i2 * c2 - r2 * s2
      const r3 = difAcRe - difBdIm
      const i3 = difAcIm + difBdRe
      outRe[to + 3 * stride] = r3 * c3 + i3 * s3
      outIm[to + 3 * stride] = i3 * c3 - r3 * s3
    }
  }
}

/** A butterfly of any odd radix; sums and differences of mirrored inputs halve the multiplications. */
function createOddButterfly(maxRadix: number): (pass: Pass, radix: number) => void {
  const pairs = (maxRadix + 1) >> 1
  const sumRe = new Float64Array(pairs)
  const sumIm = new Float64Array(pairs)
  const difRe = new Float64Array(pairs)
  const difIm = new Float64Array(pairs)
  return ({ size, stride, re, im, outRe, outIm, cos, sin }, radix) => {
    const m = size / radix
    const rootStep = m * stride // whole / radix
    for (let p = 0; p < m; p++) {
      for (let q = 0; q < stride; q++) {
        const first = q + stride * p
        const to = q + stride * radix * p
        let totalRe = re[first]!
        let totalIm = im[first]!
        for (let j = 1; 2 * j < radix; j++) {
          const a = first + stride * m * j
          const b = first + stride * m * (radix - j)
          sumRe[j] = re[a]! + re[b]!
          sumIm[j] = im[a]! + im[b]!
          difRe[j] = re[a]! - re[b]!
          difIm[j] = im[a]! - im[b]!
          totalRe += sumRe[j]!
          totalIm += sumIm[j]!
        }
        outRe[to] = totalRe
        outIm[to] = totalIm
        for (let k = 1; 2 * k < radix; k++) {
          let commonRe = re[first]!
          let commonIm = im[first]!
          let crossRe = 0
          let crossIm = 0
          for (let j = 1; 2 * j < radix; j++) {
            const root = ((j * k) % radix) * rootStep
            commonRe += sumRe[j]! * cos[root]!
            commonIm += sumIm[j]! * cos[root]!
            crossRe += difIm[j]! * sin[root]!
            crossIm -= difRe[j]! * sin[root]!
          }
          const c = cos[p * k * stride]!
          const s = sin[p * k * stride]!
          const r = commonRe + crossRe
          const i = commonIm + crossIm
          outRe[to + k * stride] = r * c + i * s
          outIm[to + k * stride] = i * c - r * s
          const mirror = radix - k
          const mc = cos[p * mirror * stride]!
          const ms = sin[p * mirror * stride]!
          const mr = commonRe - crossRe
          const mi = commonIm - crossIm
          outRe[to + mirror * stride] = mr * mc + mi * ms
          outIm[to + mirror * stride] = mi * mc - mr * ms
        }
      }
    }
  }
}

/** cos and sin of 2πk/size for k = 0 … size - 1. */
function roots(size: number): { cos: Float64Array; sin: Float64Array } {
  const angle = (k: number) => (2 * Math.PI * k) / size
  return {
    cos: Float64Array.from({ length: size }, (_, k) => Math.cos(angle(k))),
    sin: Float64Array.from({ length: size }, (_, k) => Math.sin(angle(k))),
  }
}

function factors(size: number): number[] {
  const found: number[] = []
  let rest = size
  for (const radix of [4, 2]) {
    for (; rest % radix === 0; rest /= radix) found.push(radix)
  }
  for (let radix = 3; rest > 1; radix += 2) {
    for (; rest % radix === 0; rest /= radix) found.push(radix)
  }
  return found
}
