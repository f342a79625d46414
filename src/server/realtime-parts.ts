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
import { ConfigError, InputError } from "../util/index.ts"
import type { RateState } from "./auth.ts"
import type { SavedStates } from "./saved-states.ts"

export type RealtimeSessionParts = {
  readonly engine: Engine
  /** Resolves when an engine that died is there again. */
  readonly whenReady?: (signal: AbortSignal) => Promise<void>
  readonly model: string
  readonly type?: "realtime" | "transcription"
  /** Settings to start with, such as those of a client secret. */
  readonly initial?: RealtimeSessionUpdate
  readonly send: (event: RealtimeServerMessage) => void
  readonly decodeImage: (bytes: Uint8Array, source: string) => Promise<RgbImage>
  /** The recording behind a voice's name; undefined for the model's own voice. @throws HttpError for an unknown name */
  readonly voice?: (name: string) => Sound | undefined
  /** Static text and field names only. */
  readonly warn?: (text: string, fields: Readonly<Record<string, unknown>>) => void
  readonly nowMs?: () => number
  readonly lifetimeMs?: number
  /** More items than this are refused. */
  readonly maxItems?: number
  /** More uncommitted sound than this is refused. */
  readonly maxBufferMs?: number
  /** Where states of calls are kept; of its own when absent. */
  readonly savedStates?: SavedStates
  /** Larger states of calls are not saved for an engine that dies. */
  readonly maxSavedBytes?: number
  /** Counts a response against its owner's rate. @throws RealtimeInputError when there were too many */
  readonly countResponse?: () => RateState | undefined
  /** Told of every answer's end. */
  readonly onAnswer?: (end: End) => void
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
  /** Aborts when the session ends. */
  readonly stop: AbortSignal
  readonly send: (event: RealtimeServerMessage) => void
  /** Tells what went wrong with the client's event. */
  readonly tell: (error: unknown, eventId: string | null) => void
}

/** A new id, such as `item_…`. */
export const newId = (prefix: string) => `${prefix}_${randomBytes(12).toString("base64url")}`
/** What a client did wrong. */
export const fail = (code: string, message: string, param: string | null = null) =>
  new RealtimeInputError(code, `realtime: ${message}`, param, null)

type Told = { readonly type: string; readonly code: string; readonly message: string; readonly param: string | null }

/** What a client is told of an error. Errors that we did not foresee may quote input: only their kind is told. */
export function toldOf(error: unknown): Told {
  const type = "invalid_request_error"
  if (error instanceof RealtimeInputError)
    return { type, code: error.wireCode, message: error.message, param: error.param }
  if (error instanceof InputError) return { type, code: "invalid_value", message: error.message, param: null }
  // What the loaded model cannot do.
  if (error instanceof ConfigError) return { type, code: "unsupported", message: error.message, param: null }
  const message = "realtime: expected the engine to work, got a failure (try again)"
  return { type: "server_error", code: "engine_error", message, param: null }
}

export function errorEvent(error: unknown, eventId: string | null): Extract<RealtimeServerMessage, { type: "error" }> {
  const event_id = eventId ?? (error instanceof RealtimeInputError ? error.clientEventId : null)
  return { type: "error", error: { ...toldOf(error), event_id } }
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
