/**
 * @file The anti-aliasing filter of the resampler: a Kaiser-windowed sinc, tabulated per output phase.
 * It passes 0 … 0.9 of the lower Nyquist frequency and is about 90 dB down from that frequency on.
 */

/** Coefficients for every phase of a rate ratio. */
export type ResampleFilter = {
  /** Taps per output sample, a multiple of 4; the output lies between the two middle ones. */
  readonly taps: number
  /** Rows of the table cover fractions p / phases, p = 0 … phases. */
  readonly phases: number
  /** // [phases + 1, taps] */
  readonly table: Float32Array
}

const ZERO_CROSSINGS = 64 // on each side of the centre, at the lower rate
const STOPBAND_DB = 92
const KAISER_BETA = 0.1102 * (STOPBAND_DB - 8.7)
// Kaiser's length formula solved for the transition width, in units of the lower Nyquist frequency.
const TRANSITION = (STOPBAND_DB - 7.95) / (2.285 * Math.PI * 2 * ZERO_CROSSINGS)
const CUTOFF = 1 - TRANSITION / 2
const MAX_EXACT_VALUES = 1 << 19
const INTERPOLATED_PHASES = 1024

/**
 * Designs the filter for `up / down` (reduced). Ratios with huge terms get a table of 1,024 phases per sample of the
 * lower rate, to be interpolated linearly: the error stays under -110 dB.
 */
export function resampleFilter(up: number, down: number): ResampleFilter {
  const stretch = Math.max(1, down / up) // input samples per zero crossing
  const halfTaps = 2 * Math.ceil((ZERO_CROSSINGS * stretch) / 2)
  const taps = 2 * halfTaps
  const phases = up * taps <= MAX_EXACT_VALUES ? up : Math.ceil(INTERPOLATED_PHASES / stretch)
  const table = new Float32Array((phases + 1) * taps)
  const row = new Float64Array(taps)
  for (let p = 0; p <= phases; p++) {
    let sum = 0
    for (let k = 0; k < taps; k++) {
      row[k] = kernel((p / phases + halfTaps - 1 - k) / stretch)
      sum += row[k]!
    }
    // Every phase sums to one: a constant stays exactly that constant.
    for (let k = 0; k < taps; k++) table[p * taps + k] = row[k]! / sum
  }
  return { taps, phases, table }
}

/** @param t distance from the centre in samples of the lower rate */
function kernel(t: number): number {
  const edge = t / ZERO_CROSSINGS
  if (Math.abs(edge) >= 1) return 0
  const angle = Math.PI * CUTOFF * t
  const sinc = angle === 0 ? 1 : Math.sin(angle) / angle
  return sinc * bessel0(KAISER_BETA * Math.sqrt(1 - edge * edge))
}

/** Modified Bessel function of the first kind, order 0, by its power series. */
function bessel0(x: number): number {
  const quarter = (x * x) / 4
  let term = 1
  let sum = 1
  for (let k = 1; term > 1e-17 * sum; k++) {
    term *= quarter / (k * k)
    sum += term
  }
  return sum
}
