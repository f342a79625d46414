/** @file What a Realtime session is given, and small helpers of its events. */
import { randomBytes } from "node:crypto"
import type { Engine } from "../engine/index.ts"
import type { RgbImage } from "../image/index.ts"
import {
  RealtimeInputError,
  type RealtimeResponse,
  type RealtimeServerMessage,
  type RealtimeSessionUpdate,
} from "../protocol/index.ts"
import type { Sound } from "../session/index.ts"

export type RealtimeSessionParts = {
  readonly engine: Engine
  readonly model: string
  readonly type?: "realtime" | "transcription"
  /** Settings to start with, such as those of a client secret. */
  readonly initial?: RealtimeSessionUpdate
  readonly send: (event: RealtimeServerMessage) => void
  readonly decodeImage: (bytes: Uint8Array, source: string) => Promise<RgbImage>
  /** The recording behind a voice's name; undefined for the model's own voice. */
  readonly voice?: (name: string) => Sound | undefined
  /** Static text and field names only. */
  readonly warn?: (text: string, fields: Readonly<Record<string, unknown>>) => void
  readonly nowMs?: () => number
  readonly lifetimeMs?: number
  /** More items than this are refused. */
  readonly maxItems?: number
  /** More uncommitted sound than this is refused. */
  readonly maxBufferMs?: number
}

/** A new id, such as `item_…`. */
export const newId = (prefix: string) => `${prefix}_${randomBytes(12).toString("base64url")}`
/** What a client did wrong. */
export const fail = (code: string, message: string, param: string | null = null) =>
  new RealtimeInputError(code, `realtime: ${message}`, param, null)

/** Token counts on the wire. The engine counts positions, not kinds: all are reported as text. */
export function usageOf(promptTokens: number, completionTokens: number): NonNullable<RealtimeResponse["usage"]> {
  return {
    total_tokens: promptTokens + completionTokens,
    input_tokens: promptTokens,
    output_tokens: completionTokens,
    input_token_details: { text_tokens: promptTokens, audio_tokens: 0, image_tokens: 0, cached_tokens: 0 },
    output_token_details: { text_tokens: completionTokens, audio_tokens: 0 },
  }
}
