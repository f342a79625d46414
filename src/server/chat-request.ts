/** @file A chat request of the wire as the engine's question: files decoded, tools and formats checked, defaults left out. */
import { checkSchema } from "../grammar/index.ts"
import type { StreamFormat } from "../media/index.ts"
import type { ChatPart, ChatRequest, ChatRequestMessage } from "../protocol/index.ts"
import {
  type AnswerFormat,
  type ChatMessage,
  type ChatOptions,
  type ContentPart,
  type Sound,
  spokenPrompt,
  type Tool,
} from "../session/index.ts"
import { fromBase64 } from "./body.ts"
import type { RequestInfo, ServerContext } from "./context.ts"
import { HttpError } from "./errors.ts"
import { fileOf, imageOf, soundOf, videoOf } from "./files.ts"
import { checkSoundFormat } from "./sound-formats.ts"

const wrong = (param: string, expected: string, got: string) =>
  new HttpError(400, `${param}: expected ${expected}, got ${got}`, { param, code: "invalid_value" })

/** @throws HttpError, InputError naming the field */
export async function chatOptionsOf(
  request: ChatRequest,
  context: ServerContext,
  info: RequestInfo,
): Promise<ChatOptions> {
  checkUnsupported(request)
  const speak = request.modalities?.includes("audio") === true
  if (speak && !request.audio) throw wrong("audio", "voice and format of the spoken answer", "none")
  const { tools, format } = toolsOf(request)
  if (speak && (tools.length > 0 || format.type !== "text"))
    throw wrong("modalities", "a spoken answer or a format, tools included", "both")
  const reader = new MessageReader(context, info)
  const messages: ChatMessage[] = []
  for (const [i, message] of request.messages.entries()) messages.push(await reader.read(message, `messages[${i}]`))
  const voice = speak ? await voiceOf(request, context, info) : undefined
  const stop = request.stop == null ? [] : typeof request.stop === "string" ? [request.stop] : request.stop
  const most = request.max_completion_tokens ?? request.max_tokens
  return {
    messages: voice ? spokenPrompt(messages, voice) : messages,
    ...(speak ? { speak } : {}),
    ...(tools.length > 0 ? { tools } : {}),
    ...(format.type === "text" ? {} : { format }),
    ...(stop.length > 0 ? { stop } : {}),
    ...(request.logprobs ? { logprobs: request.top_logprobs ?? 0 } : {}),
    ...(reader.hasVideo ? { omniInput: true } : {}),
    ...(reader.maxSlices === undefined ? {} : { maxSlices: reader.maxSlices }),
    ...(most == null ? {} : { maxNewTokens: most }),
    ...(request.seed == null ? {} : { seed: Math.abs(request.seed) }),
    ...(request.temperature == null ? {} : { temperature: request.temperature }),
    // 0 keeps nothing in the sampler; on the wire it means the most likely token.
    ...(request.top_p == null ? {} : { topP: Math.max(request.top_p, 1e-6) }),
    ...(request.top_k == null ? {} : { topK: request.top_k }),
    ...(request.repetition_penalty == null ? {} : { repetitionPenalty: request.repetition_penalty }),
    ...(request.frequency_penalty ? { frequencyPenalty: request.frequency_penalty } : {}),
    ...(request.presence_penalty ? { presencePenalty: request.presence_penalty } : {}),
    ...(Object.keys(request.logit_bias ?? {}).length > 0 ? { logitBias: request.logit_bias! } : {}),
  }
}

function checkUnsupported(request: ChatRequest): void {
  if (request.top_logprobs && !request.logprobs) throw wrong("top_logprobs", "logprobs: true beside it", "none")
}

/** How the sound of an answer is written. */
export const spokenFormat = ({ audio }: ChatRequest): StreamFormat =>
  audio!.format === "pcm16" ? "pcm" : audio!.format

/** Streams carry raw samples alone, as OpenAI's do: their pieces are played one by one. */
async function voiceOf(
  request: ChatRequest,
  context: ServerContext,
  { owner }: RequestInfo,
): Promise<Sound | undefined> {
  const { audio, stream } = request
  if (stream && audio!.format !== "pcm16") throw wrong("audio.format", "pcm16 in a stream", "another")
  await checkSoundFormat(spokenFormat(request), "audio.format", context)
  return context.voices.find(typeof audio!.voice === "string" ? audio!.voice : audio!.voice.id, owner)
}

/** The tools that may be called, and what the answer must look like. */
function toolsOf(request: ChatRequest): { tools: readonly Tool[]; format: AnswerFormat } {
  const given = request.tools ?? []
  const names = new Set(given.map((tool) => tool.function.name))
  if (names.size < given.length) throw wrong("tools", "different names", "the same name twice")
  let tools = given.map((tool, i): Tool => {
    const { name, description, parameters, strict } = tool.function
    checkSchema(parameters ?? {}, strict ? "strict" : "loose", `tools[${i}].function.parameters`)
    return { name, ...(description ? { description } : {}), ...(parameters ? { parameters } : {}) }
  })
  const format = formatOf(request)
  const choice = request.tool_choice ?? "auto"
  if (choice === "none") return { tools: [], format }
  const needs = (name: string) => {
    if (!names.has(name)) throw wrong("tool_choice", "the name of one of the tools", "another name")
  }
  if (choice === "auto") {
    if (tools.length > 0 && format.type !== "text")
      throw wrong(
        "response_format",
        "text beside tools that the model may call",
        "another format (use tool_choice none)",
      )
    return { tools, format }
  }
  let required = true
  let name: string | undefined
  if (choice !== "required") {
    if (choice.type === "function") {
      name = choice.function.name
      needs(name)
    } else {
      const allowed = choice.allowed_tools.tools.map((tool) => tool.function.name)
      for (const one of allowed) needs(one)
      tools = tools.filter((tool) => allowed.includes(tool.name))
      required = choice.allowed_tools.mode === "required"
    }
  }
  if (tools.length === 0) throw wrong("tool_choice", "tools to choose from", "none")
  if (!required) return { tools, format }
  // One call where several are not wanted: naming the tool is the only way to ask for exactly one.
  return { tools, format: { type: "tool-call", ...(name === undefined ? {} : { name }) } }
}

function formatOf({ response_format: wanted }: ChatRequest): AnswerFormat {
  if (!wanted || wanted.type === "text") return { type: "text" }
  if (wanted.type === "json_object") return { type: "json-object" }
  const { schema } = wanted.json_schema
  if (!schema) return { type: "json-object" }
  checkSchema(schema, "strict", "response_format.json_schema.schema")
  return { type: "json-schema", schema }
}

class MessageReader {
  hasVideo: boolean = false as boolean
  maxSlices: number | undefined
  readonly #context: ServerContext
  readonly #info: RequestInfo
  #images = 0

  constructor(context: ServerContext, info: RequestInfo) {
    this.#context = context
    this.#info = info
  }

  async read(message: ChatRequestMessage, where: string): Promise<ChatMessage> {
    switch (message.role) {
      case "system":
      case "developer":
        return { role: "system", content: await this.#content(message.content, where) }
      case "user":
        return { role: "user", content: await this.#content(message.content, where) }
      case "tool":
        return { role: "tool", content: await this.#content(message.content, where) }
      case "function":
        return { role: "tool", content: message.content ?? "" }
      case "assistant": {
        const calls = message.tool_calls?.map((call) => ({
          name: call.function.name,
          arguments: call.function.arguments,
        }))
        const said = message.audio ? this.#said(message.audio.id, where) : undefined
        const content =
          said ?? (message.content == null ? (message.refusal ?? "") : await this.#content(message.content, where))
        return { role: "assistant", content, ...(calls && calls.length > 0 ? { toolCalls: calls } : {}) }
      }
    }
  }

  #said(id: string, where: string): string {
    const text = this.#context.spoken.find(id, this.#info.owner)
    if (text === undefined) throw wrong(`${where}.audio.id`, "a spoken answer of the last hour", "another id")
    return text
  }

  async #content(content: string | readonly ChatPart[], where: string): Promise<string | ContentPart[]> {
    if (typeof content === "string") return content
    const parts: ContentPart[] = []
    for (const [i, part] of content.entries()) parts.push(...(await this.#part(part, `${where}.content[${i}]`)))
    // Plain text stays a string: templates treat lists differently.
    return parts.every((part) => part.type === "text")
      ? parts.map((part) => (part as { text: string }).text).join("\n")
      : parts
  }

  async #part(part: ChatPart, where: string): Promise<ContentPart[]> {
    const context = this.#context
    const { signal } = this.#info
    switch (part.type) {
      case "text":
        return [{ type: "text", text: part.text }]
      case "refusal":
        return [{ type: "text", text: part.refusal }]
      case "image_url": {
        const { url, detail } = part.image_url
        if (detail === "low") this.maxSlices ??= 1
        return [await this.#image(await fileOf(url, `${where}.image_url`, context, signal), `${where}.image_url`)]
      }
      case "input_audio": {
        const param = `${where}.input_audio.data`
        const bytes = fromBase64(
          part.input_audio.data.replace(/^data:[^,]{0,200};base64,/, ""),
          param,
          context.limits.maxFileBytes,
        )
        return [{ type: "audio", audio: await soundOf(bytes, param, context, signal) }]
      }
      case "audio_url": {
        const bytes = await fileOf(part.audio_url.url, `${where}.audio_url`, context, signal)
        return [{ type: "audio", audio: await soundOf(bytes, `${where}.audio_url`, context, signal) }]
      }
      case "video_url":
        return await this.#video(
          await fileOf(part.video_url.url, `${where}.video_url`, context, signal),
          `${where}.video_url`,
        )
      case "input_video": {
        const param = `${where}.input_video.data`
        return await this.#video(fromBase64(part.input_video.data, param, context.limits.maxFileBytes), param)
      }
      case "file": {
        const { file_data: data } = part.file
        if (data === undefined) throw wrong(`${where}.file`, "file_data, a data URL", "none (there is no file store)")
        if (!/^data:(image|audio|video)\//.test(data))
          throw wrong(`${where}.file`, "an image, sound or video", "another file")
        const bytes = await fileOf(data, `${where}.file`, context, signal)
        if (data.startsWith("data:image/")) return [await this.#image(bytes, `${where}.file`)]
        if (data.startsWith("data:video/")) return await this.#video(bytes, `${where}.file`)
        return [{ type: "audio", audio: await soundOf(bytes, `${where}.file`, context, signal) }]
      }
    }
  }

  async #image(bytes: Uint8Array, param: string): Promise<ContentPart> {
    if (++this.#images > this.#context.limits.maxImages)
      throw wrong("messages", `at most ${this.#context.limits.maxImages} images`, "more")
    return { type: "image", image: await imageOf(bytes, param, this.#context) }
  }

  async #video(bytes: Uint8Array, param: string): Promise<ContentPart[]> {
    this.hasVideo = true
    this.maxSlices = 1 // as the official code does for videos
    return await videoOf(bytes, param, this.#context, this.#info.signal)
  }
}
