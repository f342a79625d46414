/** @file Answers to `/v1/chat/completions`: whole, or as a stream of chunks with text, sound and calls. */
import { randomBytes } from "node:crypto"
import { encodePcm } from "../audio/index.ts"
import {
  type ChatDelta,
  type ChatLogprob,
  type ChatRequest,
  type ChatToolCall,
  type ChatToolCallDelta,
  chatRequestSchema,
  chatUsage,
} from "../protocol/index.ts"
import type { AnswerEvent, AnswerUsage, ChatOptions, FinishReason, TokenLogprob } from "../session/index.ts"
import { admitted, answerEvents, enter } from "./answers.ts"
import { readJson } from "./body.ts"
import { chatOptionsOf, spokenFormat } from "./chat-request.ts"
import type { RequestInfo, ServerContext } from "./context.ts"
import { checkModel } from "./models.ts"
import { encodeOptions } from "./sound-formats.ts"
import { eventStream } from "./sse.ts"

type Head = {
  readonly id: string
  readonly created: number
  readonly model: string
  readonly system_fingerprint: string
}
type Reason = "stop" | "length" | "tool_calls"

/** @throws HttpError and InputError for what is wrong with the request, and what the engine throws */
export async function chatCompletions(request: Request, context: ServerContext, info: RequestInfo): Promise<Response> {
  const body = await readJson(request, chatRequestSchema, context, info)
  checkModel(body.model, context)
  const options = await chatOptionsOf(body, context, info)
  const head: Head = {
    id: `chatcmpl-${randomBytes(12).toString("base64url")}`,
    created: Math.floor(context.nowMs() / 1000),
    model: context.model,
    system_fingerprint: "omni",
  }
  if (!body.stream)
    return Response.json(await admitted(context, info, () => wholeAnswer(body, options, head, context, info)))
  const leave = await enter(context, info)
  return await eventStream(chunks(body, options, head, context, info), leave, context, info)
}

/** The n-th of several answers: the next seed, or greedy ones would only be equal anyway. */
const withSeed = (options: ChatOptions, i: number): ChatOptions =>
  i === 0 ? options : { ...options, seed: (options.seed ?? 0) + i }

async function wholeAnswer(
  body: ChatRequest,
  options: ChatOptions,
  head: Head,
  context: ServerContext,
  info: RequestInfo,
) {
  const choices: unknown[] = []
  let usage: AnswerUsage | undefined
  for (let index = 0; index < (body.n ?? 1); index++) {
    const answer = new Collected()
    for await (const event of answerEvents(withSeed(options, index), context, info)) answer.take(event)
    const end = answer.end(info)
    usage = addCounts(usage, end.usage)
    const calls = answer.calls.length > 0 ? { tool_calls: answer.calls } : {}
    const message = options.speak
      ? {
          role: "assistant",
          content: null,
          refusal: null,
          annotations: [],
          audio: await spokenPart(answer, body, context, info),
          ...calls,
        }
      : {
          role: "assistant",
          content: answer.calls.length > 0 && answer.text === "" ? null : answer.text,
          refusal: null,
          annotations: [],
          ...calls,
        }
    const logprobs =
      options.logprobs === undefined ? null : { content: answer.logprobs.map(wireLogprob), refusal: null }
    choices.push({ index, message, logprobs, finish_reason: answer.reason(end.finishReason) })
  }
  return { ...head, object: "chat.completion", choices, usage: usage && chatUsage(usage), service_tier: "default" }
}

async function spokenPart(answer: Collected, body: ChatRequest, context: ServerContext, info: RequestInfo) {
  const id = context.spoken.newId()
  const bytes = await context.sounds.whole(answer.sound, spokenFormat(body), encodeOptions(info))
  const expires_at = context.spoken.keep(id, info.owner, answer.text)
  return { id, data: Buffer.from(bytes).toString("base64"), transcript: answer.text, expires_at }
}

async function* chunks(
  body: ChatRequest,
  options: ChatOptions,
  head: Head,
  context: ServerContext,
  info: RequestInfo,
): AsyncGenerator<unknown, void, void> {
  const wantsUsage = body.stream_options?.include_usage === true
  const chunk = (index: number, delta: ChatDelta, reason: Reason | null = null, logprobs: unknown = null) => ({
    ...{ ...head, object: "chat.completion.chunk" },
    choices: [{ index, delta, logprobs, finish_reason: reason }],
    ...(wantsUsage ? { usage: null } : {}),
  })
  let usage: AnswerUsage | undefined
  for (let index = 0; index < (body.n ?? 1); index++) {
    const answer = new Collected(false)
    const events = answerEvents(withSeed(options, index), context, info)
    const audioId = options.speak ? context.spoken.newId() : undefined
    let begun = false
    for await (const event of events) {
      answer.take(event)
      if (!begun) {
        begun = true
        yield chunk(index, {
          role: "assistant",
          ...(audioId === undefined ? { content: "", refusal: null } : { audio: { id: audioId } }),
        })
      }
      const delta = deltaOf(event, audioId !== undefined, answer)
      const logprobs =
        event.type === "text-delta" && event.logprobs
          ? { content: event.logprobs.map(wireLogprob), refusal: null }
          : null
      if (delta) yield chunk(index, delta, null, logprobs)
    }
    const end = answer.end(info)
    usage = addCounts(usage, end.usage)
    if (audioId !== undefined) {
      const expires_at = context.spoken.keep(audioId, info.owner, end.text)
      yield chunk(index, { audio: { expires_at } })
    }
    yield chunk(index, {}, answer.reason(end.finishReason))
  }
  if (wantsUsage) yield { ...head, object: "chat.completion.chunk", choices: [], usage: usage && chatUsage(usage) }
  yield "[DONE]"
}

function deltaOf(event: AnswerEvent, spoken: boolean, answer: Collected): ChatDelta | undefined {
  switch (event.type) {
    case "text-delta":
      return spoken ? { audio: { transcript: event.text } } : { content: event.text }
    case "audio-delta":
      return { audio: { data: Buffer.from(encodePcm(event.pcm, "s16")).toString("base64") } }
    case "tool-call-delta":
      return { tool_calls: [answer.callDelta(event.index, event.name, event.arguments)] }
    case "tool-call":
    case "turn-end":
      return undefined
  }
}

/** What an answer consists of, as it comes. */
class Collected {
  text = ""
  readonly sound: Float32Array[] = []
  readonly calls: ChatToolCall[] = []
  readonly logprobs: TokenLogprob[] = []
  readonly #keepsSound: boolean
  readonly #callIds: string[] = []
  #end: Extract<AnswerEvent, { type: "turn-end" }> | undefined

  constructor(keepsSound = true) {
    this.#keepsSound = keepsSound
  }

  take(event: AnswerEvent): void {
    switch (event.type) {
      case "text-delta":
        this.text += event.text
        if (event.logprobs) this.logprobs.push(...event.logprobs)
        return
      case "audio-delta":
        if (this.#keepsSound) this.sound.push(event.pcm)
        return
      case "tool-call":
        this.calls.push({ id: this.#callId(this.calls.length), type: "function", function: event.call })
        return
      case "tool-call-delta":
        return
      case "turn-end":
        this.#end = event
        return
    }
  }

  #callId(index: number): string {
    this.#callIds[index] ??= `call_${randomBytes(12).toString("base64url")}`
    return this.#callIds[index]
  }

  /** The first delta of a call names it. */
  callDelta(index: number, name: string, more: string): ChatToolCallDelta {
    if (index in this.#callIds) return { index, function: { arguments: more } }
    return { index, id: this.#callId(index), type: "function", function: { name, arguments: more } }
  }

  end({ signal }: RequestInfo) {
    signal.throwIfAborted()
    if (this.#end) return this.#end
    throw new Error("internal: the engine ended an answer without its end")
  }

  reason(reason: FinishReason): Reason {
    if (reason === "length") return "length"
    return this.calls.length > 0 ? "tool_calls" : "stop"
  }
}

function wireLogprob({ token, bytes, logprob, top }: TokenLogprob): ChatLogprob {
  return { token, bytes, logprob, top_logprobs: top }
}

/** Several answers to one question: the question counts once. */
function addCounts(sum: AnswerUsage | undefined, more: AnswerUsage): AnswerUsage {
  if (!sum) return more
  const completionTextTokens = sum.completionTextTokens + more.completionTextTokens
  return { ...sum, completionTextTokens, completionAudioTokens: sum.completionAudioTokens + more.completionAudioTokens }
}
