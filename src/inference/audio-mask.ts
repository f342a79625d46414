/**
 * @file Who may attend to whom in the audio encoder. Offline: everything up to the end of one's own block, so attention
 * runs both ways within a second and causally between seconds. Streaming: one call is one block.
 * Source: `subsequent_chunk_mask` and the padding mask of `get_audio_embedding` (official modeling_minicpmo.py).
 */
import type { KvCache } from "../runtime/index.ts"
import { f32, type HostTensor } from "../tensor/index.ts"

/** Masks a score out: its exponential is 0, and no sum with a score overflows. */
const MASKED = -1e30

/** End of the block of frame i. */
function blockEnd(i: number, blockFrames: number | undefined): number {
  return blockFrames === undefined ? Number.POSITIVE_INFINITY : (Math.floor(i / blockFrames) + 1) * blockFrames
}

/**
 * Additive mask of new frames over a cache's buffer and themselves.
 * @param blockFrames undefined: all new frames see each other
 * @returns [1, 1, T, capacity + T]
 */
export function audioCacheMask(
  cache: Pick<KvCache, "length" | "capacity">,
  steps: number,
  blockFrames?: number,
): HostTensor<"f32"> {
  const { length, capacity } = cache
  const columns = capacity + steps
  const data = new Float32Array(steps * columns)
  for (let t = 0; t < steps; t++) {
    const row = data.subarray(t * columns, (t + 1) * columns)
    row.fill(MASKED, length, capacity)
    row.fill(MASKED, Math.min(columns, capacity + blockEnd(length + t, blockFrames) - length))
  }
  return f32([1, 1, steps, columns], data)
}

/**
 * Additive mask of whole padded segments.
 *
 * Quirk, intended: padding is recognized by comparing encoder frames with the length in *mel* frames, which is twice as
 * long. So a shorter segment's last block also attends to padded frames, up to its mel length.
 * @param melLengths valid mel frames of each segment, [B]
 * @param frames A, encoder frames of the longest segment
 * @returns [B, 1, A, A]
 */
export function audioSegmentMask(
  melLengths: readonly number[],
  frames: number,
  blockFrames?: number,
): HostTensor<"f32"> {
  const data = new Float32Array(melLengths.length * frames * frames)
  for (const [b, melLength] of melLengths.entries()) {
    for (let i = 0; i < frames; i++) {
      const row = data.subarray((b * frames + i) * frames, (b * frames + i + 1) * frames)
      row.fill(MASKED, Math.min(frames, melLength, blockEnd(i, blockFrames)))
    }
  }
  return f32([melLengths.length, 1, frames, frames], data)
}
