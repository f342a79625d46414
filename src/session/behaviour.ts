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
  /**
   * Quirk of the official code: text loses every token with id 0, which is `!`, and keeps special strings; ids that no token
   * has can be sampled.
   */
  readonly officialText: boolean
  /**
   * Quirk of the official stream: what stands behind the end-of-speech mark in the same piece is lost. The official `chat`
   * shows it, unspoken.
   */
  readonly cutsAtSpeechEnd: boolean
  /**
   * How numbers are read where the text so far has no letters: in Chinese (quirk of the official code, which also joins the
   * words of a number that was cut between two pieces), or in the language of the conversation.
   */
  readonly numbers: "official" | "conversation"
  /** Quirk of the official stream: digits in the first piece stay digits. */
  readonly firstPieceVerbatim: boolean
  /** When the speech ends before the text does: the text goes on and a new utterance speaks it, or both end. */
  readonly outlivesSpeech: boolean
  /**
   * Text without sentence ends, too, is spoken in segments that the speech decoder can hold, as is what comes after the last
   * end; the official stream falls silent where a segment is full.
   */
  readonly speaksAll: boolean
  /** Quirk of the official stream: an answer without a question closes the system prompt's turn once more. */
  readonly reclosesTurns: boolean
  /**
   * The last token of an answer that was cut off, or grew too long, is remembered; the official stream forgets it, although
   * it was shown.
   */
  readonly keepsLastToken: boolean
  /**
   * The started second of a turn is read when the turn ends. The official server reads it only together with a frame in full
   * resolution, and otherwise loses up to a second of what was said.
   */
  readonly readsTail: "always" | "with-frame"
  /** How codes become sound. */
  readonly rendering: RenderOptions
  /** Frames of the first call: fewer make the first sound come earlier. */
  readonly firstCallFrames: number
}

const REFERENCE: BehaviourOptions = {
  pieceTokens: 3,
  penaltyScope: "piece",
  officialText: true,
  cutsAtSpeechEnd: true,
  numbers: "official",
  firstPieceVerbatim: true,
  outlivesSpeech: false,
  speaksAll: false,
  reclosesTurns: true,
  keepsLastToken: false,
  readsTail: "with-frame",
  rendering: REFERENCE_RENDERING,
  firstCallFrames: CALL_FRAMES,
}

const LIVE: BehaviourOptions = {
  pieceTokens: 3,
  penaltyScope: "answer",
  officialText: false,
  cutsAtSpeechEnd: false,
  numbers: "conversation",
  firstPieceVerbatim: false,
  outlivesSpeech: true,
  speaksAll: true,
  reclosesTurns: false,
  keepsLastToken: true,
  readsTail: "always",
  rendering: LIVE_RENDERING,
  firstCallFrames: CALL_FRAMES,
}

export const BEHAVIOURS: { readonly [name in Behaviour]: BehaviourOptions } = { live: LIVE, reference: REFERENCE }
