/** @file Measures a resampler with pure tones. */
import { sine } from "./golden.test-util.ts"
import { resample } from "./resample.ts"

export function rmsDb(pcm: Float32Array): number {
  return 10 * Math.log10(pcm.reduce((sum, value) => sum + value * value, 0) / pcm.length)
}

/** Level of a tone after conversion, relative to the level before; the ends, where the filter fills, left out. */
export function gainDb(fromHz: number, toHz: number, hz: number): number {
  const pcm = sine(Math.round(fromHz / 4), hz, fromHz)
  const got = resample(pcm, fromHz, toHz)
  const trim = Math.ceil(got.length * 0.1)
  const middle = got.subarray(trim, got.length - trim)
  if (hz >= toHz / 2) return rmsDb(middle) - rmsDb(pcm)
  // Project on the tone: whole-period effects of the cut do not count as gain.
  let [ss, cc, sc, sy, cy] = [0, 0, 0, 0, 0]
  for (let n = 0; n < middle.length; n++) {
    const angle = (2 * Math.PI * hz * (n + trim)) / toHz
    const [s, c, y] = [Math.sin(angle), Math.cos(angle), middle[n]!]
    ss += s * s
    cc += c * c
    sc += s * c
    sy += s * y
    cy += c * y
  }
  const determinant = ss * cc - sc * sc
  const a = (sy * cc - cy * sc) / determinant
  const b = (cy * ss - sy * sc) / determinant
  return 20 * Math.log10(Math.hypot(a, b) / 0.5)
}
