/** @file What a conversation remembers besides its cache's contents, as plain data, and how much that may be. */
import type { AudioStream, StreamPromptState } from "../inference/index.ts"
import type { KvCache } from "../runtime/index.ts"
import type { AnswerRecord } from "./answer.ts"
import type { DropPlan, Ledger } from "./ledger.ts"

/** How much may be remembered, and who is told when something had to be forgotten. */
export type Room = {
  /** Most positions. */
  readonly limit: number
  /** Positions left after forgetting: some slack, so that it happens rarely. */
  readonly target: number
  readonly report: (dropped: DropPlan & { readonly positions: number }) => void
}

/** Everything of a conversation that is not the model. */
export type ConversationState = {
  readonly prompt: StreamPromptState
  readonly cache: KvCache
  readonly audio: AudioStream | undefined
  readonly ledger: Ledger
  /**
   * The latest answer, where it can still be cut. `textStart` is where its text would begin if nothing of that had been
   * forgotten.
   */
  readonly answer: { readonly record: AnswerRecord; readonly textStart: number; readonly end: number } | undefined
  /**
   * The last token of an answer that was cut off or grew too long: it was said, but a sampled token enters the cache only with
   * what follows it. It is read before the next piece.
   */
  readonly lastToken: number | undefined
}

/** Where a conversation stood. */
export type Mark = Pick<ConversationState, "prompt" | "audio" | "lastToken"> & {
  readonly length: number
  readonly audioFrames: number
  /** Whether the latest answer was the last thing said. */
  readonly afterAnswer: boolean
}
