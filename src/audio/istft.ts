/**
 * @file The last step of Vocos: spectral frames to samples by inverse transform, window and overlap-add, normalized by
 * the summed squared window and trimmed so that T frames give exactly hop · T samples ("same" padding).
 * Frames may arrive in any grouping: whole evaluation is one push and a flush, so regrouping changes nothing.
 * Source: vocos 0.1.0 `spectral_ops.ISTFT(padding="same")` and `heads.ISTFTHead`.
 */
import { invariant, ShapeError } from "../util/index.ts"
import { createRealFft } from "./fft.ts"
import { hannWindow } from "./stft.ts"

/** Frames of a one-sided spectrum, row-major.  // each [T, fftSize / 2 + 1] */
export type Spectrum = {
  readonly frames: number
  readonly re: Float64Array
  readonly im: Float64Array
}

export type IstftOptions = {
  readonly fftSize: number
  readonly hopLength: number
  /** The checkpoint's `head.istft.window`; a periodic Hann window without it.  // [fftSize] */
  readonly window?: ArrayLike<number>
}

/** A running inverse transform. */
export type Istft = {
  /** @returns the samples that no later frame can change */
  push(spectrum: Spectrum): Float32Array
  /** @returns the rest, hop · T samples in all; afterwards a new signal may begin */
  flush(): Float32Array
}

/** @throws ShapeError when the window does not fit the transform, or hop does not fit "same" padding */
export function createIstft(options: IstftOptions): Istft {
  const { fftSize, hopLength } = options
  const window = options.window ? Float64Array.from(options.window) : hannWindow(fftSize)
  if (window.length !== fftSize) {
    throw new ShapeError(`istft: expected a window of ${fftSize} values, got ${window.length}`)
  }
  if (hopLength > fftSize || (fftSize - hopLength) % 2 !== 0) {
    throw new ShapeError(`istft: expected a hop up to ${fftSize} of the same parity, got ${hopLength}`)
  }
  const fft = createRealFft(fftSize)
  const bins = fftSize / 2 + 1
  const trim = (fftSize - hopLength) / 2
  const frame = new Float64Array(fftSize)
  const sum = new Float64Array(fftSize) // overlap-added frames from the next unfinished sample on
  const envelope = new Float64Array(fftSize) // squared windows at the same places
  let frames = 0

  /** Emits `count` finished samples from the front, leaving out those in the trimmed start, and moves on. */
  const emit = (count: number, skip: number, out: Float32Array, offset: number) => {
    for (let n = skip; n < count; n++) out[offset + n - skip] = sum[n]! / envelope[n]!
    for (const buffer of [sum, envelope]) {
      buffer.copyWithin(0, count)
      buffer.fill(0, fftSize - count)
    }
    return offset + Math.max(0, count - skip)
  }

  const push = (spectrum: Spectrum): Float32Array => {
    invariant(spectrum.re.length === spectrum.frames * bins, `istft: ${spectrum.re.length} values in re`)
    invariant(spectrum.im.length === spectrum.frames * bins, `istft: ${spectrum.im.length} values in im`)
    const finished = (count: number) => Math.max(0, count * hopLength - trim)
    const out = new Float32Array(finished(frames + spectrum.frames) - finished(frames))
    let offset = 0
    for (let t = 0; t < spectrum.frames; t++) {
      const row = t * bins
      fft.inverse(spectrum.re.subarray(row, row + bins), spectrum.im.subarray(row, row + bins), frame)
      for (let n = 0; n < fftSize; n++) {
        sum[n] = sum[n]! + frame[n]! * window[n]!
        envelope[n] = envelope[n]! + window[n]! * window[n]!
      }
      const skip = Math.min(hopLength, Math.max(0, trim - frames * hopLength))
      offset = emit(hopLength, skip, out, offset)
      frames++
    }
    return out
  }

  const flush = (): Float32Array => {
    const emitted = Math.max(0, frames * hopLength - trim)
    const out = new Float32Array(frames * hopLength - emitted)
    const skip = Math.max(0, trim - frames * hopLength) // fewer frames than the trimmed start covers
    if (frames > 0) emit(skip + out.length, skip, out, 0)
    sum.fill(0)
    envelope.fill(0)
    frames = 0
    return out
  }
  return { push, flush }
}

/**
 * The spectrum that the linear output of the Vocos head encodes: per frame log magnitudes, then phases.
 * @param head row-major  // [T, fftSize + 2]
 * @throws ShapeError when the values do not divide into frames
 */
export function vocosSpectrum(head: Float32Array, fftSize: number): Spectrum {
  const bins = fftSize / 2 + 1
  if (head.length % (2 * bins) !== 0) {
    throw new ShapeError(`vocos head: expected rows of ${2 * bins} values, got ${head.length} values in all`)
  }
  const frames = head.length / (2 * bins)
  const re = new Float64Array(frames * bins)
  const im = new Float64Array(frames * bins)
  for (let t = 0; t < frames; t++) {
    for (let k = 0; k < bins; k++) {
      const magnitude = Math.min(Math.exp(head[2 * t * bins + k]!), 100) // the official guard against bursts
      const phase = head[(2 * t + 1) * bins + k]!
      re[t * bins + k] = magnitude * Math.cos(phase)
      im[t * bins + k] = magnitude * Math.sin(phase)
    }
  }
  return { frames, re, im }
}
