/**
 * @file `/v1/chat/completions` as the page uses it: streamed text and, when asked for, streamed sound. Typed here until the
 * engine's `protocol` has these messages.
 */
import { ask, fetchModel, knownModel, ServerError } from "../server/api.ts"
import { eventData } from "./event-stream.ts"

export type ChatPart =
  | { readonly type: "text"; readonly text: string }
  | { readonly type: "image_url"; readonly image_url: { readonly url: string } }
  | { readonly type: "input_audio"; readonly input_audio: { readonly data: string; readonly format: "wav" } }

export type ChatMessage = {
  readonly role: "system" | "user" | "assistant"
  readonly content: string | readonly ChatPart[]
}

export type ChatRequest = {
  readonly messages: readonly ChatMessage[]
  /** Speak with this voice as well. */
  readonly voice?: string
}

export type ChatDelta = { readonly text?: string; readonly audio?: string }

/** The pieces of one answer. @throws ServerError, the signal's reason */
export async function* streamChat(request: ChatRequest, signal: AbortSignal): AsyncGenerator<ChatDelta, void, void> {
  const spoken =
    request.voice === undefined
      ? {}
      : { modalities: ["text", "audio"], audio: { voice: request.voice, format: "pcm16" } }
  const model = knownModel() || (await fetchModel()).name
  const response = await ask("/v1/chat/completions", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ model, messages: request.messages, stream: true, ...spoken }),
    signal,
  })
  if (!response.body) throw new ServerError("away", "the answer has no body")
  for await (const chunk of eventData(response.body)) yield deltaOf(chunk)
}

/** The news in one chunk. @throws ServerError when it tells of a failure */
export function deltaOf(chunk: unknown): ChatDelta {
  const { error, choices } = chunk as {
    error?: { message?: unknown }
    choices?: { delta?: { content?: unknown; audio?: { data?: unknown; transcript?: unknown } } }[]
  }
  if (error) throw new ServerError("refused", String(error.message ?? ""))
  const delta = choices?.[0]?.delta
  const text = typeof delta?.content === "string" ? delta.content : delta?.audio?.transcript
  const audio = delta?.audio?.data
  return { ...(typeof text === "string" ? { text } : {}), ...(typeof audio === "string" ? { audio } : {}) }
}
