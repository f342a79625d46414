/** @file What a Realtime session is given, what its parts share, and small helpers of its events. */
import { randomBytes } from "node:crypto"
import type { Engine } from "../engine/index.ts"
import type { RgbImage } from "../image/index.ts"
import {
  RealtimeInputError,
  type RealtimeResponse,
  type RealtimeServerMessage,
  type RealtimeSessionObject,
  type RealtimeSessionUpdate,
} from "../protocol/index.ts"
import type { AnswerEvent, Sound } from "../session/index.ts"

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

/** What all parts of one session see. */
export type SessionShared = {
  readonly parts: RealtimeSessionParts
  readonly conversationId: string
  /** The settings of now. */
  settings: RealtimeSessionObject
  /** Whether it has produced sound, which freezes its voice. */
  spoken: boolean
  closed: boolean
  readonly send: (event: RealtimeServerMessage) => void
  /** Tells what went wrong with the client's event. */
  readonly tell: (error: unknown, eventId: string | null) => void
}

/** A new id, such as `item_…`. */
export const newId = (prefix: string) => `${prefix}_${randomBytes(12).toString("base64url")}`
/** What a client did wrong. */
export const fail = (code: string, message: string, param: string | null = null) =>
  new RealtimeInputError(code, `realtime: ${message}`, param, null)

/** An error as its event. Errors of the engine may quote input: only their kind is told. */
export function errorEvent(error: unknown, eventId: string | null): RealtimeServerMessage {
  const known = error instanceof RealtimeInputError
  const message = known ? error.message : "realtime: expected the engine to work, got a failure (try again)"
  const type = known ? "invalid_request_error" : "server_error"
  const event_id = eventId ?? (known ? error.clientEventId : null)
  const [code, param] = known ? [error.wireCode, error.param] : ["engine_error", null]
  return { type: "error", error: { type, code, message, param, event_id } }
}

type End = Extract<AnswerEvent, { type: "turn-end" }>

/** Token counts on the wire. */
export function usageOf({
  promptTokens,
  usage,
}: Pick<End, "promptTokens" | "usage">): NonNullable<RealtimeResponse["usage"]> {
  const output = usage.completionTextTokens + usage.completionAudioTokens
  return {
    total_tokens: promptTokens + output,
    input_tokens: promptTokens,
    output_tokens: output,
    input_token_details: {
      text_tokens: usage.promptTextTokens,
      audio_tokens: usage.promptAudioTokens,
      image_tokens: usage.promptImageTokens,
      cached_tokens: usage.cachedTokens,
    },
    output_token_details: { text_tokens: usage.completionTextTokens, audio_tokens: usage.completionAudioTokens },
  }
}
