/**
 * @file The session object of the Realtime API (GA dialect): what clients may set, and what the server reports. Unknown
 * fields are dropped. Source: openai-openapi, RealtimeSessionCreateRequestGA; `extensions` and `rate: 16000` are ours.
 */
import { z } from "zod"

/** Sound on the wire: 16-bit little-endian mono at 24 kHz (16 kHz is our extension, input only), or G.711 at 8 kHz. */
export const audioFormatSchema = z.discriminatedUnion("type", [
  z.object({ type: z.literal("audio/pcm"), rate: z.union([z.literal(24000), z.literal(16000)]).optional() }),
  z.object({ type: z.literal("audio/pcmu") }),
  z.object({ type: z.literal("audio/pcma") }),
])
export type RealtimeAudioFormat = z.infer<typeof audioFormatSchema>

const replies = { create_response: z.boolean().optional(), interrupt_response: z.boolean().optional() }
export const turnDetectionSchema = z.discriminatedUnion("type", [
  z.object({
    type: z.literal("server_vad"),
    threshold: z.number().min(0).max(1).optional(),
    prefix_padding_ms: z.number().int().min(0).max(10_000).optional(),
    silence_duration_ms: z.number().int().min(0).max(60_000).optional(),
    idle_timeout_ms: z.number().int().min(5000).max(30_000).nullish(),
    ...replies,
  }),
  z.object({
    type: z.literal("semantic_vad"),
    eagerness: z.enum(["low", "medium", "high", "auto"]).optional(),
    ...replies,
  }),
])
export type RealtimeTurnDetection = z.infer<typeof turnDetectionSchema>

export const functionToolSchema = z.object({
  type: z.literal("function"),
  name: z.string().min(1).max(128),
  description: z.string().optional(),
  parameters: z.record(z.string(), z.unknown()).optional(),
})
export const toolChoiceSchema = z.union([
  z.enum(["none", "auto", "required"]),
  z.object({ type: z.literal("function"), name: z.string() }),
])
export const maxOutputTokensSchema = z.union([z.number().int().min(1).max(4096), z.literal("inf")])
export const outputModalitiesSchema = z.array(z.enum(["audio", "text"])).length(1)
export const voiceSchema = z.union([z.string().min(1).max(128), z.object({ id: z.string().min(1).max(128) })])

const transcriptionSchema = z.object({
  model: z.string().optional(),
  language: z.string().max(32).optional(),
  prompt: z.string().max(4096).optional(),
})

const truncationSchema = z.union([
  z.enum(["auto", "disabled"]),
  z.object({ type: z.literal("retention_ratio"), retention_ratio: z.number().min(0).max(1) }),
])

/** Our extensions; each is off unless asked for here. `omni.video`: camera frames. `omni.timing`: times of answers. */
export const EXTENSIONS = ["omni.video", "omni.timing"] as const
export type RealtimeExtension = (typeof EXTENSIONS)[number]

/** What `session.update` carries; every field may be absent. */
export const sessionUpdateSchema = z.object({
  type: z.enum(["realtime", "transcription"]).optional(),
  model: z.string().optional(),
  output_modalities: outputModalitiesSchema.optional(),
  instructions: z.string().max(100_000).nullish(),
  audio: z
    .object({
      input: z
        .object({
          format: audioFormatSchema.optional(),
          transcription: transcriptionSchema.nullish(),
          noise_reduction: z.object({ type: z.enum(["near_field", "far_field"]) }).nullish(),
          turn_detection: turnDetectionSchema.nullish(),
        })
        .optional(),
      output: z
        .object({
          format: audioFormatSchema.optional(),
          voice: voiceSchema.optional(),
          speed: z.number().min(0.25).max(1.5).optional(),
        })
        .optional(),
    })
    .optional(),
  tools: z.array(functionToolSchema).max(128).nullish(),
  tool_choice: toolChoiceSchema.optional(),
  max_output_tokens: maxOutputTokensSchema.optional(),
  truncation: truncationSchema.optional(),
  include: z.array(z.string()).nullish(),
  tracing: z.unknown().optional(),
  prompt: z.unknown().optional(),
  extensions: z.array(z.enum(EXTENSIONS)).nullish(),
})
export type RealtimeSessionUpdate = z.infer<typeof sessionUpdateSchema>

/** What the server reports. */
export const sessionSchema = z.object({
  id: z.string(),
  object: z.literal("realtime.session"),
  type: z.enum(["realtime", "transcription"]),
  model: z.string(),
  expires_at: z.number().int(),
  output_modalities: outputModalitiesSchema,
  instructions: z.string(),
  audio: z.object({
    input: z.object({
      format: audioFormatSchema,
      transcription: transcriptionSchema.nullable(),
      noise_reduction: z.null(),
      turn_detection: turnDetectionSchema.nullable(),
    }),
    output: z.object({ format: audioFormatSchema, voice: voiceSchema, speed: z.number() }),
  }),
  tools: z.array(functionToolSchema),
  tool_choice: toolChoiceSchema,
  max_output_tokens: maxOutputTokensSchema,
  truncation: truncationSchema,
  tracing: z.null(),
  prompt: z.null(),
  include: z.null(),
  extensions: z.array(z.enum(EXTENSIONS)),
})
export type RealtimeSessionObject = z.infer<typeof sessionSchema>
