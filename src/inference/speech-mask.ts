/**
 * @file What the speech decoder's rows may look at. Text becomes visible in steps of n tokens for every m audio frames,
 * whether or not its slots are filled yet: an empty slot counts as a key and a value of zeros.
 * Positions: start slots, N text slots, `[Ptts]`, audio frames; the decoder's prompt layout.
 * Source: make_streaming_chunk_mask_inference and prefill_text (modeling_minicpmo.py).
 */
import type { TtsConfig } from "../models/minicpmo/index.ts"

/** Audio frames per step, m: the official callers leave the mask's own default, whatever the config says. */
const MASK_PERIOD = 50

/** The value that masks a score out: exp of it is 0, and no sum with a score overflows to -inf. */
export const MASKED = -1e30

type SlotConfig = Pick<TtsConfig, "numSpkEmbs" | "textReservedLen" | "textChunkSize">

/** Slots before the text: `[Stts]` and the speaker embeddings. */
export function textStart({ numSpkEmbs }: SlotConfig): number {
  return 1 + numSpkEmbs
}

/** The slot of `[Ptts]`, position of the first audio query. */
export function audioStart(c: SlotConfig): number {
  return textStart(c) + c.textReservedLen
}

/**
 * How many of the first slots an audio query sees; `[Ptts]` is never among them.
 * @param position of the query: that of `[Ptts]` for the first frame
 * @param textTokens tokens known so far; the end mark after them is visible, too
 */
export function visibleTextSlots(position: number, textTokens: number, c: SlotConfig): number {
  const { textReservedLen, textChunkSize } = c
  const allowed = Math.min(Math.ceil((position - textReservedLen) / MASK_PERIOD) * textChunkSize, textReservedLen)
  return Math.min(textStart(c) + allowed, textStart(c) + textTokens + 1, audioStart(c))
}

/** Where the rows of a cache come from: the slot or position of each, or one of the marks below. */
export type RowSlots = Int32Array

/** A row of zeros that stands for empty slots; always row 0. */
export const EMPTY_ROW = -1
/** A row whose slot was filled again. */
export const DEAD_ROW = -2

/** Which part of the cache rows see: the first slots of the text, and audio frames or not. */
export type Visibility = { readonly textSlots: number; readonly audio: boolean }

/**
 * One line of an additive mask over the cache.
 * Every visible slot that no row fills adds a zero key of score 0 and a zero value: the row of zeros stands for all of
 * them, with the logarithm of their number as its score.
 * @returns [capacity]
 */
export function cacheMask(rows: RowSlots, capacity: number, visible: Visibility, c: SlotConfig): Float32Array {
  const line = new Float32Array(capacity).fill(MASKED)
  const hidden = audioStart(c) // the slot of [Ptts] itself
  let filled = 0
  for (const [row, slot] of rows.entries()) {
    const text = slot >= 0 && slot < visible.textSlots
    if (text) filled++
    if (text || (visible.audio && slot > hidden)) line[row] = 0
  }
  const missing = visible.textSlots - filled
  if (missing > 0) line[rows.indexOf(EMPTY_ROW)] = Math.log(missing)
  return line
}
