/** @file Long recordings cut where it is quiet, into windows that the model hears as a whole. */

/** A part of a recording, in samples. */
export type Window = { readonly start: number; readonly end: number }

/** Loudness is measured over so long. */
const FRAME_S = 0.02
/** A cut wants so much quiet around it. */
const QUIET_S = 0.2

/**
 * Cuts into windows of at most `maxSeconds`, each at the quietest place of the last third before its limit. Windows touch
 * and cover everything.
 */
export function cutAtSilences(pcm: Float32Array, rateHz: number, maxSeconds = 30): Window[] {
  const most = Math.floor(maxSeconds * rateHz)
  const windows: Window[] = []
  let start = 0
  while (pcm.length - start > most) {
    const end = quietest(pcm, start + Math.floor((most * 2) / 3), start + most, rateHz)
    windows.push({ start, end })
    start = end
  }
  if (pcm.length > start) windows.push({ start, end: pcm.length })
  return windows
}

/** Middle of the quietest stretch between two places, the latest of equals: long windows need fewer cuts. */
function quietest(pcm: Float32Array, from: number, to: number, rateHz: number): number {
  const frame = Math.max(1, Math.floor(FRAME_S * rateHz))
  const frames = Math.floor((to - from) / frame)
  const power = Float64Array.from({ length: frames }, (_, i) => {
    let sum = 0
    for (let n = from + i * frame; n < from + (i + 1) * frame; n++) sum += pcm[n]! * pcm[n]!
    return sum
  })
  const width = Math.max(1, Math.min(frames, Math.round(QUIET_S / FRAME_S)))
  let sum = 0
  let best = Number.POSITIVE_INFINITY
  let at = frames
  for (let i = 0; i < frames; i++) {
    sum += power[i]!
    if (i >= width) sum -= power[i - width]!
    // Sums that went up and down again are not exactly 0: quiet is quiet.
    if (i < width - 1 || sum > best + 1e-9) continue
    best = Math.min(best, sum)
    at = i + 1 - width / 2
  }
  return Math.min(to, from + Math.max(1, Math.round(at * frame)))
}
