/** @file Power spectra of overlapping windowed frames, shared by the two mel front ends; and the window itself. */
import type { RealFft } from "./fft.ts"

/** Periodic Hann window: `0.5 - 0.5·cos(2πn/size)`. */
export function hannWindow(size: number): Float64Array {
  return Float64Array.from({ length: size }, (_, n) => 0.5 - 0.5 * Math.cos((2 * Math.PI * n) / size))
}

/** How to cut a signal into frames. */
export type FrameLayout = {
  readonly fft: RealFft
  /** // [fft.size] */
  readonly window: Float64Array
  readonly hopLength: number
  readonly frames: number
}

/**
 * Visits |X|² of each frame in order; frame `t` starts at sample `t · hopLength` of the (already padded) signal.
 * @param visit gets a buffer of size/2 + 1 values that the next frame overwrites
 */
export function forEachPowerFrame(
  padded: Float32Array,
  { fft, window, hopLength, frames }: FrameLayout,
  visit: (power: Float64Array, frame: number) => void,
): void {
  const bins = fft.size / 2 + 1
  const frame = new Float64Array(fft.size)
  const re = new Float64Array(bins)
  const im = new Float64Array(bins)
  for (let t = 0; t < frames; t++) {
    const start = t * hopLength
    for (let n = 0; n < fft.size; n++) frame[n] = window[n]! * padded[start + n]!
    fft.forward(frame, re, im)
    for (let k = 0; k < bins; k++) re[k] = re[k]! * re[k]! + im[k]! * im[k]!
    visit(re, t)
  }
}
