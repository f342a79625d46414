/**
 * @file `POST /v1/chat/completions`: the request as OpenAI's clients send it, with what peers add (video and audio URLs,
 * `top_k`, `repetition_penalty`), and the shapes of answers. Fields that we do not know are dropped.
 */
import { z } from "zod"

const imageDetail = z.enum(["auto", "low", "high"])

/** Parts of a user's message. Sound and pictures are base64 or URLs; what is fetched is the server's decision. */
export const chatPartSchema = z.discriminatedUnion("type", [
  z.object({ type: z.literal("text"), text: z.string() }),
  z.object({
    type: z.literal("image_url"),
    image_url: z.object({ url: z.string().min(1), detail: imageDetail.optional() }),
  }),
  z.object({
    type: z.literal("input_audio"),
    input_audio: z.object({ data: z.string(), format: z.string().optional() }),
  }),
  z.object({ type: z.literal("audio_url"), audio_url: z.object({ url: z.string().min(1) }) }),
  z.object({ type: z.literal("video_url"), video_url: z.object({ url: z.string().min(1) }) }),
  z.object({
    type: z.literal("input_video"),
    input_video: z.object({ data: z.string(), format: z.string().optional() }),
  }),
  z.object({
    type: z.literal("file"),
    file: z.object({
      filename: z.string().optional(),
      file_data: z.string().optional(),
      file_id: z.string().optional(),
    }),
  }),
  z.object({ type: z.literal("refusal"), refusal: z.string() }),
])
export type ChatPart = z.infer<typeof chatPartSchema>

const toolCallSchema = z.object({
  id: z.string(),
  type: z.literal("function").default("function"),
  function: z.object({ name: z.string(), arguments: z.string() }),
})

const contentSchema = z.union([z.string(), z.array(chatPartSchema).max(256)])

export const chatMessageSchema = z.discriminatedUnion("role", [
  z.object({ role: z.literal("system"), content: contentSchema }),
  z.object({ role: z.literal("developer"), content: contentSchema }),
  z.object({ role: z.literal("user"), content: contentSchema }),
  z.object({
    role: z.literal("assistant"),
    content: contentSchema.nullish(),
    refusal: z.string().nullish(),
    tool_calls: z.array(toolCallSchema).max(128).nullish(),
    audio: z.object({ id: z.string() }).nullish(),
  }),
  z.object({ role: z.literal("tool"), content: contentSchema, tool_call_id: z.string().optional() }),
  z.object({ role: z.literal("function"), content: z.string().nullable(), name: z.string() }),
])
export type ChatRequestMessage = z.infer<typeof chatMessageSchema>

const functionName = z.string().regex(/^[\w-]{1,64}$/, "expected 1 to 64 letters, digits, _ or -")

const toolSchema = z.object({
  type: z.literal("function"),
  function: z.object({
    name: functionName,
    description: z.string().nullish(),
    parameters: z.record(z.string(), z.unknown()).nullish(),
    strict: z.boolean().nullish(),
  }),
})

const namedTool = z.object({ type: z.literal("function"), function: z.object({ name: z.string() }) })
const toolChoiceSchema = z.union([
  z.enum(["none", "auto", "required"]),
  namedTool,
  z.object({
    type: z.literal("allowed_tools"),
    allowed_tools: z.object({ mode: z.enum(["auto", "required"]), tools: z.array(namedTool).min(1) }),
  }),
])

const responseFormatSchema = z.discriminatedUnion("type", [
  z.object({ type: z.literal("text") }),
  z.object({ type: z.literal("json_object") }),
  z.object({
    type: z.literal("json_schema"),
    json_schema: z.object({
      name: z.string().max(64),
      description: z.string().nullish(),
      schema: z.record(z.string(), z.unknown()).nullish(),
      strict: z.boolean().nullish(),
    }),
  }),
])

export const VOICE_FORMATS = ["wav", "mp3", "pcm16", "flac", "opus", "aac"] as const
const voiceSchema = z.union([z.string().min(1).max(200), z.object({ id: z.string().min(1).max(200) })])

export const chatRequestSchema = z.object({
  model: z.string().min(1).max(200),
  messages: z.array(chatMessageSchema).min(1).max(2000),
  modalities: z
    .array(z.enum(["text", "audio"]))
    .min(1)
    .nullish(),
  audio: z.object({ voice: voiceSchema, format: z.enum(VOICE_FORMATS) }).nullish(),
  stream: z.boolean().nullish(),
  stream_options: z
    .object({ include_usage: z.boolean().nullish(), include_obfuscation: z.boolean().nullish() })
    .nullish(),
  tools: z.array(toolSchema).max(128).nullish(),
  tool_choice: toolChoiceSchema.nullish(),
  parallel_tool_calls: z.boolean().nullish(),
  response_format: responseFormatSchema.nullish(),
  max_completion_tokens: z.number().int().min(1).max(1_000_000).nullish(),
  max_tokens: z.number().int().min(1).max(1_000_000).nullish(),
  temperature: z.number().min(0).max(2).nullish(),
  top_p: z.number().min(0).max(1).nullish(),
  top_k: z.number().int().min(0).max(1_000_000).nullish(),
  repetition_penalty: z.number().min(0.1).max(10).nullish(),
  n: z.number().int().min(1).max(8).nullish(),
  seed: z.number().int().min(Number.MIN_SAFE_INTEGER).max(Number.MAX_SAFE_INTEGER).nullish(),
  stop: z.union([z.string().min(1).max(1000), z.array(z.string().min(1).max(1000)).max(4)]).nullish(),
  logprobs: z.boolean().nullish(),
  top_logprobs: z.number().int().min(0).max(20).nullish(),
  logit_bias: z.record(z.string().regex(/^\d{1,9}$/), z.number().min(-100).max(100)).nullish(),
  frequency_penalty: z.number().min(-2).max(2).nullish(),
  presence_penalty: z.number().min(-2).max(2).nullish(),
  // Older names of tools and tool_choice: an answer without them would only look right.
  functions: z.undefined({ error: "expected tools, got the older functions" }).optional(),
  function_call: z.undefined({ error: "expected tool_choice, got the older function_call" }).optional(),
})
export type ChatRequest = z.infer<typeof chatRequestSchema>

export type ChatUsage = {
  readonly prompt_tokens: number
  readonly completion_tokens: number
  readonly total_tokens: number
  readonly prompt_tokens_details: {
    readonly audio_tokens: number
    readonly cached_tokens: number
    readonly text_tokens: number
    readonly image_tokens: number
  }
  readonly completion_tokens_details: {
    readonly audio_tokens: number
    readonly text_tokens: number
    readonly reasoning_tokens: number
    readonly accepted_prediction_tokens: number
    readonly rejected_prediction_tokens: number
  }
}

/** Counts by kind; what an answer cost in all is their sum. */
export type TokenCounts = {
  readonly promptTextTokens: number
  readonly promptAudioTokens: number
  readonly promptImageTokens: number
  readonly cachedTokens: number
  readonly completionTextTokens: number
  readonly completionAudioTokens: number
}

/** Token counts on the wire. */
export function chatUsage(counts: TokenCounts): ChatUsage {
  const prompt = counts.promptTextTokens + counts.promptAudioTokens + counts.promptImageTokens
  const completion = counts.completionTextTokens + counts.completionAudioTokens
  return {
    prompt_tokens: prompt,
    completion_tokens: completion,
    total_tokens: prompt + completion,
    prompt_tokens_details: {
      audio_tokens: counts.promptAudioTokens,
      cached_tokens: counts.cachedTokens,
      text_tokens: counts.promptTextTokens,
      image_tokens: counts.promptImageTokens,
    },
    completion_tokens_details: {
      audio_tokens: counts.completionAudioTokens,
      text_tokens: counts.completionTextTokens,
      reasoning_tokens: 0,
      accepted_prediction_tokens: 0,
      rejected_prediction_tokens: 0,
    },
  }
}

export type ChatLogprob = {
  readonly token: string
  readonly bytes: readonly number[]
  readonly logprob: number
  readonly top_logprobs: readonly {
    readonly token: string
    readonly bytes: readonly number[]
    readonly logprob: number
  }[]
}

/** A call of a stream: whole at first, then more of its arguments. */
export type ChatToolCallDelta = {
  readonly index: number
  readonly id?: string
  readonly type?: "function"
  readonly function: { readonly name?: string; readonly arguments: string }
}

export type ChatToolCall = {
  readonly id: string
  readonly type: "function"
  readonly function: { readonly name: string; readonly arguments: string }
}

/** What a delta of a streamed answer may hold; `audio` comes in pieces, as OpenAI sends it. */
export type ChatDelta = {
  readonly role?: "assistant"
  readonly content?: string | null
  readonly refusal?: null
  readonly tool_calls?: readonly ChatToolCallDelta[]
  readonly audio?: {
    readonly id?: string
    readonly transcript?: string
    readonly data?: string
    readonly expires_at?: number
  }
}
