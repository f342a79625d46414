/** @file Where an utterance stands: what was written, given to the decoder, drawn and delivered. Plain data, and changes of it. */
import type { SpokenLanguage, TtsPrompt } from "../tokenizer/index.ts"
import type { SpeechDecoderState } from "./speech-decoder.ts"
import type { RenderState } from "./speech-renderer.ts"

/** A delivery. */
export type SpeechPiece = {
  /** At 24 kHz. */
  readonly pcm: Float32Array
  /** Written since the delivery before. */
  readonly text: string
  /** The segment that says it, counted from 0. */
  readonly segment: number
  /** Spoken text of what was written so far that no segment has heard yet. */
  readonly unheard: string
}

type Phase = "listening" | "closing" | "draining" | "flushing" | "done"

/** One utterance. Plain data, except for the decoder's cache. */
export type SpeechState = {
  readonly phase: Phase
  /** No more text will come. */
  readonly closed: boolean
  readonly speaker: Float32Array // [D]
  readonly decoder: SpeechDecoderState
  /** Frames drawn in all segments. */
  readonly drawnFrames: number
  readonly rendering: RenderState
  /** Text pieces of this segment; the utterance's first is not counted, and undefined says that it has not come. */
  readonly pieces: number | undefined
  readonly language: SpokenLanguage
  /** All text of the segment as written, and how much of it was delivered. */
  readonly written: string
  readonly delivered: number
  /** The text as it is spoken, and how much of its beginning the segment before has said. */
  readonly spoken: string
  readonly seeded: number
  /** Text chunks prefilled, which is also the number of calls so far. */
  readonly chunk: number
  /** The prompt whose slots the segment's decoder was given last. */
  readonly given: TtsPrompt | undefined
  /** Text left for the next segment. */
  readonly carry: string | undefined
  /** Counts segments from 0. */
  readonly segment: number
}

export type SpeechStep = readonly [SpeechPiece | undefined, SpeechState]

/** A segment that closes at a place of its spoken text. */
export function closing(state: SpeechState, at: number): SpeechState {
  const { spoken } = state
  return { ...state, phase: "closing", spoken: spoken.slice(0, at), carry: spoken.slice(at) }
}

export function delivery({ written, delivered, segment, carry = "" }: SpeechState, pcm: Float32Array): SpeechPiece {
  return { pcm, text: written.slice(delivered), segment, unheard: carry }
}
