/** @file `/v1/audio/*`: speech, transcriptions, translations and voices as OpenAI's clients send them. */
import { z } from "zod"

const voiceSchema = z.union([z.string().min(1).max(200), z.object({ id: z.string().min(1).max(200) })])

export const SPEECH_FORMATS = ["mp3", "wav", "pcm", "opus", "aac", "flac"] as const

export const speechRequestSchema = z.object({
  model: z.string().min(1).max(200),
  input: z.string().min(1).max(4096),
  voice: voiceSchema,
  instructions: z.string().max(4096).nullish(),
  response_format: z.enum(SPEECH_FORMATS).nullish(),
  speed: z.number().min(0.25).max(4).nullish(),
  stream_format: z.enum(["audio", "sse"]).nullish(),
  seed: z.number().int().nullish(),
})
export type SpeechRequest = z.infer<typeof speechRequestSchema>

export const TRANSCRIPT_FORMATS = ["json", "text", "srt", "verbose_json", "vtt"] as const

/** The fields of the multipart form, as text. */
export const transcriptionFieldsSchema = z.object({
  model: z.string().min(1).max(200),
  language: z.string().max(35).optional(),
  prompt: z.string().max(4096).optional(),
  response_format: z.enum(TRANSCRIPT_FORMATS).default("json"),
  temperature: z.coerce.number().min(0).max(2).optional(),
  stream: z
    .enum(["true", "false", "1", "0", "True", "False"])
    .transform((text) => /^(true|1)$/i.test(text))
    .optional(),
})
export type TranscriptionFields = z.infer<typeof transcriptionFieldsSchema>

export type TranscriptSegment = {
  readonly id: number
  readonly seek: number
  /** Seconds. */
  readonly start: number
  readonly end: number
  readonly text: string
  readonly tokens: readonly number[]
  readonly temperature: number
  readonly avg_logprob: number
  readonly compression_ratio: number
  readonly no_speech_prob: number
}

export const voiceNameSchema = z
  .string()
  .regex(/^[\p{L}\p{N}][\p{L}\p{N} ._-]{0,63}$/u, "expected 1 to 64 letters, digits, spaces, dots, _ or -")
