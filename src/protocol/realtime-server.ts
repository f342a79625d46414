/** @file What the Realtime server sends. `omni.*` events are our extensions. */
import { z } from "zod"
import { itemSchema } from "./realtime-items.ts"
import { audioFormatSchema, maxOutputTokensSchema, sessionSchema, voiceSchema } from "./realtime-session.ts"

const text = z.string()
const count = z.number().int().min(0)
const ms = z.number().min(0)
const errorSchema = z.object({
  type: text,
  code: text.nullable(),
  message: text,
  param: text.nullable(),
  event_id: text.nullable().optional(),
})
const tokens = z.object({ text_tokens: count, audio_tokens: count })
export const usageSchema = z.object({
  total_tokens: count,
  input_tokens: count,
  output_tokens: count,
  input_token_details: tokens.extend({ image_tokens: count, cached_tokens: count }),
  output_token_details: tokens,
})
export const responseSchema = z.object({
  id: text,
  object: z.literal("realtime.response"),
  status: z.enum(["in_progress", "completed", "cancelled", "failed", "incomplete"]),
  status_details: z
    .object({
      type: text,
      reason: z.enum(["turn_detected", "client_cancelled", "max_output_tokens", "content_filter"]).optional(),
      error: z.object({ type: text, code: text.optional() }).optional(),
    })
    .nullable(),
  output: z.array(itemSchema),
  conversation_id: text.nullable(),
  output_modalities: z.array(z.enum(["audio", "text"])),
  max_output_tokens: maxOutputTokensSchema,
  audio: z.object({ output: z.object({ format: audioFormatSchema, voice: voiceSchema }) }),
  metadata: z.record(z.string(), z.string()).nullable(),
  usage: usageSchema.nullable(),
})
export type RealtimeResponse = z.infer<typeof responseSchema>

const part = z.object({
  type: z.enum(["audio", "text"]),
  text: text.optional(),
  audio: text.optional(),
  transcript: text.optional(),
})
const inResponse = { response_id: text, output_index: count }
const inPart = { ...inResponse, item_id: text, content_index: count }
const transcribed = { item_id: text, content_index: count }
const event = <T extends string, S extends z.ZodRawShape>(type: T, shape: S) =>
  z.object({ type: z.literal(type), event_id: text, ...shape })
const transcription = "conversation.item.input_audio_transcription"

export const serverEventSchema = z.discriminatedUnion("type", [
  event("session.created", { session: sessionSchema }),
  event("session.updated", { session: sessionSchema }),
  event("conversation.created", {
    conversation: z.object({ id: text, object: z.literal("realtime.conversation") }),
  }),
  event("error", { error: errorSchema }),
  event("rate_limits.updated", {
    rate_limits: z.array(
      z.object({
        name: z.enum(["requests", "tokens"]),
        limit: z.number(),
        remaining: z.number(),
        reset_seconds: z.number(),
      }),
    ),
  }),
  event("input_audio_buffer.speech_started", { audio_start_ms: ms, item_id: text }),
  event("input_audio_buffer.speech_stopped", { audio_end_ms: ms, item_id: text }),
  event("input_audio_buffer.committed", { previous_item_id: text.nullable(), item_id: text }),
  event("input_audio_buffer.cleared", {}),
  event("input_audio_buffer.timeout_triggered", { audio_start_ms: ms, audio_end_ms: ms, item_id: text }),
  event("conversation.item.added", { previous_item_id: text.nullable(), item: itemSchema }),
  event("conversation.item.done", { previous_item_id: text.nullable(), item: itemSchema }),
  event("conversation.item.retrieved", { item: itemSchema }),
  event("conversation.item.deleted", { item_id: text }),
  event("conversation.item.truncated", { item_id: text, content_index: count, audio_end_ms: ms }),
  event(`${transcription}.delta`, { ...transcribed, delta: text }),
  event(`${transcription}.completed`, {
    ...transcribed,
    transcript: text,
    usage: z.object({ type: z.literal("duration"), seconds: z.number().min(0) }),
  }),
  event(`${transcription}.failed`, { ...transcribed, error: errorSchema.omit({ event_id: true }) }),
  event("response.created", { response: responseSchema }),
  event("response.done", { response: responseSchema }),
  event("response.output_item.added", { ...inResponse, item: itemSchema }),
  event("response.output_item.done", { ...inResponse, item: itemSchema }),
  event("response.content_part.added", { ...inPart, part }),
  event("response.content_part.done", { ...inPart, part }),
  event("response.output_text.delta", { ...inPart, delta: text }),
  event("response.output_text.done", { ...inPart, text }),
  event("response.output_audio.delta", { ...inPart, delta: text }),
  event("response.output_audio.done", inPart),
  event("response.output_audio_transcript.delta", { ...inPart, delta: text }),
  event("response.output_audio_transcript.done", { ...inPart, transcript: text }),
  event("response.function_call_arguments.delta", { ...inResponse, item_id: text, call_id: text, delta: text }),
  event("response.function_call_arguments.done", {
    ...inResponse,
    item_id: text,
    call_id: text,
    name: text,
    arguments: text,
  }),
  /** Times of an answer, in milliseconds since it was asked for. Needs the extension `omni.timing`. */
  event("omni.response.timing", {
    response_id: text,
    first_text_ms: ms.nullable(),
    first_audio_ms: ms.nullable(),
    total_ms: ms,
    audio_ms: ms,
    /** Work per sound: below 1 is faster than it plays; null without sound. */
    real_time_factor: ms.nullable(),
  }),
  /**
   * What the model remembers is not all that was said: `compacted`, the oldest part was forgotten; `rebuilt`, it was read
   * again from words and kept sound; `restored`, it goes on from a saved state; `input_dropped`, sound came too
   * fast, or another call could be given the latest minute of long speech alone.
   */
  event("omni.context.changed", { reason: z.enum(["compacted", "rebuilt", "restored", "input_dropped"]) }),
  /** The server is full: so many wait before this connection (`position` 0 is next), so many in all. Asked for by `queue=true`. */
  event("session.queued", { position: count, length: count }),
  event("session.queue_update", { position: count, length: count }),
])
export type RealtimeServerEvent = z.infer<typeof serverEventSchema>

type WithoutId<T> = T extends unknown ? Omit<T, "event_id"> : never
/** A server event before the connection gives it its id. */
export type RealtimeServerMessage = WithoutId<RealtimeServerEvent>
export type RealtimeError = z.infer<typeof errorSchema>
