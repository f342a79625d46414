/** @file How loud both sides are right now; read by meters once per frame, never by React. */

export type Levels = { mic: number; out: number }

/** Root mean square as a meter shows it: 0 at -60 dB, 1 at full scale. */
export function meterLevel(pcm: Float32Array): number {
  if (pcm.length === 0) return 0
  let sum = 0
  for (const sample of pcm) sum += sample * sample
  const decibels = 10 * Math.log10(sum / pcm.length + 1e-12)
  return Math.min(1, Math.max(0, 1 + decibels / 60))
}
