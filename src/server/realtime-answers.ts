/** @file The responses of a Realtime session: made from the call or beside it, stopped, and told as events. */
import {
  RealtimeInputError,
  type RealtimeResponseCreate,
  type RealtimeSessionObject,
  type RealtimeStoredItem,
} from "../protocol/index.ts"
import type { AnswerEvent, AnswerFormat } from "../session/index.ts"
import type { SessionCall } from "./realtime-call.ts"
import { messagesOf } from "./realtime-context.ts"
import type { RealtimeItems } from "./realtime-items.ts"
import { fail, newId, type SessionShared, usageOf } from "./realtime-parts.ts"
import { ResponseWriter } from "./realtime-response.ts"
import { hasExtension, mergeSession, toolsOf } from "./realtime-settings.ts"

export type Running = {
  readonly writer: ResponseWriter
  readonly inConversation: boolean
  readonly abort: AbortController
  readonly finished: Promise<void>
}

const MAX_OUT_OF_BAND = 8

export class RealtimeAnswers {
  readonly #shared: SessionShared
  readonly #items: RealtimeItems
  readonly #call: SessionCall
  readonly #running = new Map<string, Running>()
  #replyAfter = false

  constructor(shared: SessionShared, items: RealtimeItems, call: SessionCall) {
    this.#shared = shared
    this.#items = items
    this.#call = call
  }

  /** The running response of the conversation. */
  get active(): Running | undefined {
    return [...this.#running.values()].find(({ inConversation, writer }) => inConversation && !writer.done)
  }

  /** The running response that makes this item. */
  making(itemId: string): Running | undefined {
    return [...this.#running.values()].find(({ writer }) => writer.messageId === itemId)
  }

  /** Resolves when every response has ended. */
  async settled(): Promise<void> {
    await Promise.all([...this.#running.values()].map(({ finished }) => finished))
  }

  close(): void {
    for (const { abort } of this.#running.values()) abort.abort()
  }

  /** @throws RealtimeInputError when there is nothing to cancel */
  cancel(id: string | undefined): void {
    const running = id === undefined ? this.active : this.#running.get(id)
    if (!running || running.writer.done)
      throw fail("response_cancel_not_active", "Cancellation failed: no active response found", "response_id")
    this.stop(running, "client_cancelled")
  }

  stop(running: Running, reason: "client_cancelled" | "turn_detected"): void {
    running.writer.finish("cancelled", { reason }, null)
    if (running.inConversation) this.#call.enqueue(async (call) => void (await call.interrupt()))
    running.abort.abort()
  }

  /** A turn of the user is over: it is answered now, or when the running response has ended. */
  reply(): void {
    if (this.active) this.#replyAfter = true
    else this.create({})
  }

  /** @throws RealtimeInputError when there may be no response now, or not such a one */
  create(options: RealtimeResponseCreate, eventId?: string): void {
    const outOfBand = options.conversation === "none"
    this.#check(outOfBand)
    const { settings, conversationId, send } = this.#shared
    const { input: _input, conversation: _conversation, metadata, audio, ...overrides } = options
    const defined = Object.fromEntries(Object.entries(overrides).filter(([, value]) => value !== undefined))
    const update = { ...defined, ...(audio === undefined ? {} : { audio }) }
    const { session } = mergeSession(settings, update, this.#shared.spoken)
    const whole = outOfBand || options.input !== undefined || options.tools !== undefined
    const context = whole ? this.#context(options) : undefined
    const writer = new ResponseWriter({
      ...{ id: newId("resp"), conversationId: outOfBand ? null : conversationId, session, metadata: metadata ?? null },
      ...{ send, newId, addItem: (item) => (outOfBand ? undefined : this.#items.enter(item)) },
    })
    const abort = new AbortController()
    const quiet = [...this.#running.values()].filter((one) => one.inConversation).map((one) => one.finished)
    const before = outOfBand ? [] : [this.#call.idle, ...quiet]
    const finished = (async () => {
      try {
        await Promise.all(before)
        if (!writer.done) await this.#run(writer, session, context, abort.signal)
      } catch (error) {
        if (writer.done) return
        writer.finish("failed", { error: { type: "server_error", code: "engine_error" } }, null)
        this.#shared.tell(error, eventId ?? null)
        if (!outOfBand && !(error instanceof RealtimeInputError)) this.#call.drop()
      } finally {
        this.#running.delete(writer.id)
        if (!outOfBand && this.#replyAfter) {
          this.#replyAfter = false
          if (!this.#shared.closed && !this.active) this.create({})
        }
      }
    })()
    this.#running.set(writer.id, { writer, inConversation: !outOfBand, abort, finished })
  }

  #check(outOfBand: boolean): void {
    if (this.#shared.settings.type === "transcription")
      throw fail("invalid_session_type", "response.create: expected a realtime session, got a transcription session")
    if (!outOfBand && this.active)
      throw fail(
        "conversation_already_has_active_response",
        "response.create: expected no active response, got one (wait or cancel)",
      )
    if (outOfBand && this.#running.size >= MAX_OUT_OF_BAND)
      throw fail("session_limit_reached", "response.create: expected at most 8 responses at once, got more (wait)")
  }

  #context({ input }: RealtimeResponseCreate): RealtimeStoredItem[] {
    if (input === undefined) return [...this.#items.all]
    return input.map((one) =>
      one.type === "item_reference" ? this.#items.get(one.id) : { ...one, id: one.id ?? newId("item") },
    )
  }

  async #run(
    writer: ResponseWriter,
    session: RealtimeSessionObject,
    context: RealtimeStoredItem[] | undefined,
    signal: AbortSignal,
  ): Promise<void> {
    for await (const event of await this.#events(session, context, signal)) {
      if (writer.done) break
      this.#tell(writer, session, event)
    }
    writer.finish("failed", { error: { type: "server_error", code: "no_end" } }, null)
  }

  /** The answer of the call, or one to a context of its own. */
  async #events(
    session: RealtimeSessionObject,
    context: RealtimeStoredItem[] | undefined,
    signal: AbortSignal,
  ): Promise<AsyncGenerator<AnswerEvent, void, void>> {
    const { parts, settings } = this.#shared
    const { max_output_tokens: most } = session
    const format = formatOf(session)
    const speak = session.output_modalities[0] === "audio"
    const options = { speak, ...(format ? { format } : {}), ...(most === "inf" ? {} : { maxNewTokens: most }) }
    if (context) {
      const messages = await messagesOf(context, session, (bytes) => parts.decodeImage(bytes, "response.input"))
      const tools = session.tools.length > 0 ? { tools: toolsOf(session.tools) } : {}
      return parts.engine.chat({ messages, ...options, ...tools }, signal)
    }
    const call = await this.#call.open()
    const instructions = session.instructions === settings.instructions ? {} : { instructions: session.instructions }
    return call.respond({ ...options, ...instructions }, signal)
  }

  #tell(writer: ResponseWriter, session: RealtimeSessionObject, event: AnswerEvent): void {
    switch (event.type) {
      case "text-delta":
        writer.text(event.text)
        return
      case "audio-delta":
        this.#shared.spoken = true
        writer.audio(event.pcm)
        if (writer.messageId !== undefined) this.#items.sounded(writer.messageId, writer.audioMs)
        return
      case "tool-call-delta": // the whole call follows
        return
      case "tool-call":
        writer.toolCall(event.call)
        return
      case "turn-end": {
        const usage = usageOf(event)
        if (event.finishReason === "length") writer.finish("incomplete", { reason: "max_output_tokens" }, usage)
        else if (event.finishReason === "interrupted") writer.finish("cancelled", { reason: "client_cancelled" }, usage)
        else writer.finish("completed", null, usage)
        if (hasExtension(session, "omni.timing")) this.#tellTiming(writer.id, event)
        return
      }
    }
  }

  #tellTiming(response_id: string, { timings, audioMs }: Extract<AnswerEvent, { type: "turn-end" }>): void {
    this.#shared.send({
      type: "omni.response.timing",
      response_id,
      first_text_ms: timings.firstTextMs ?? null,
      first_audio_ms: timings.firstAudioMs ?? null,
      total_ms: timings.totalMs,
      audio_ms: audioMs,
      real_time_factor: audioMs > 0 ? timings.totalMs / audioMs : null,
    })
  }
}

function formatOf({ tool_choice: choice }: RealtimeSessionObject): AnswerFormat | undefined {
  if (choice === "auto") return undefined
  if (choice === "none") return { type: "text" }
  return choice === "required" ? { type: "tool-call" } : { type: "tool-call", name: choice.name }
}
