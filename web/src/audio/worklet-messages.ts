/** @file What the page and its audio worklet tell each other. Samples are mono at the audio context's rate. */
import type { Played } from "./play-queue.ts"

export type ToWorklet =
  | { readonly type: "play"; readonly id: string; readonly pcm: Float32Array }
  | { readonly type: "flush"; readonly token: number }

export type FromWorklet =
  /** Microphone and loudspeaker of the same moments, equally long, and what was played in all of the items. */
  | {
      readonly type: "chunk"
      readonly mic: Float32Array
      readonly out: Float32Array
      readonly played: readonly Played[]
    }
  /** An item's first sample is on its way to the loudspeaker. */
  | { readonly type: "started"; readonly id: string }
  | { readonly type: "flushed"; readonly token: number; readonly played: readonly Played[] }

/** Name under which the worklet registers. */
export const DUPLEX = "omni-duplex"
