/** @file The two behaviours as named options: what the official code does, and what a live conversation wants. */
import { CALL_FRAMES, LIVE_RENDERING, REFERENCE_RENDERING, type RenderOptions } from "../inference/index.ts"
import type { Behaviour } from "./types.ts"

export type BehaviourOptions = {
  /** Tokens that the language model writes before the speech decoder hears of them. */
  readonly pieceTokens: number
  /**
   * What the repetition penalty sees: the inner call of one piece (quirk of the official stream: about four tokens), or the
   * whole answer, as in `chat`.
   */
  readonly penaltyScope: "piece" | "answer"
  /** Quirk of the official code: text loses every token with id 0, which is `!`, and keeps special strings. */
  readonly officialText: boolean
  /** Quirk of the official stream: digits in the first piece stay digits. */
  readonly firstPieceVerbatim: boolean
  /** When the speech ends before the text does: the text goes on and a new utterance speaks it, or both end. */
  readonly outlivesSpeech: boolean
  /** How codes become sound. */
  readonly rendering: RenderOptions
  /** Frames of the first call: fewer make the first sound come earlier. */
  readonly firstCallFrames: number
}

const REFERENCE: BehaviourOptions = {
  pieceTokens: 3,
  penaltyScope: "piece",
  officialText: true,
  firstPieceVerbatim: true,
  outlivesSpeech: false,
  rendering: REFERENCE_RENDERING,
  firstCallFrames: CALL_FRAMES,
}

const LIVE: BehaviourOptions = {
  pieceTokens: 3,
  penaltyScope: "answer",
  officialText: false,
  firstPieceVerbatim: false,
  outlivesSpeech: true,
  rendering: LIVE_RENDERING,
  firstCallFrames: CALL_FRAMES,
}

export const BEHAVIOURS: { readonly [name in Behaviour]: BehaviourOptions } = { reference: REFERENCE, live: LIVE }
