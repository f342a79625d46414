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
import { fail, newId, type SessionShared, toldOf, usageOf } from "./realtime-parts.ts"
import { ResponseWriter } from "./realtime-response.ts"
import { hasExtension, mergeSession, toolsOf } from "./realtime-settings.ts"

export type Running = {
  readonly writer: ResponseWriter
  readonly inConversation: boolean
  /** Made beside the call, which learns of it afterwards. */
  readonly aside: boolean
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
      throw new RealtimeInputError(
        "response_cancel_not_active",
        "Cancellation failed: no active response found", // in OpenAI's words, by which clients know it
        "response_id",
        null,
      )
    this.stop(running, "client_cancelled")
  }

  stop(running: Running, reason: "client_cancelled" | "turn_detected"): void {
    running.writer.finish("cancelled", { reason }, null)
    running.abort.abort()
    if (running.aside) return
    // What was made and not sent was never said.
    const heard = running.writer.audioMs > 0 ? { heardMs: running.writer.audioMs } : {}
    void this.#call.enqueue(async (call) => ({ rest: call.interrupt(heard) }))
  }

  /** A turn of the user is over: it is answered now, or when the running response has ended. */
  reply(): void {
    if (this.active) {
      this.#replyAfter = true
      return
    }
    try {
      this.create({})
    } catch (error) {
      this.#shared.tell(error, null)
    }
  }

  /** @throws RealtimeInputError when there may be no response now, or not such a one */
  create(options: RealtimeResponseCreate, eventId?: string): void {
    const outOfBand = options.conversation === "none"
    this.#check(outOfBand)
    const { settings, conversationId, send } = this.#shared
    const rate = this.#count()
    const { input: _input, conversation: _conversation, metadata, audio, ...overrides } = options
    const defined = Object.fromEntries(Object.entries(overrides).filter(([, value]) => value !== undefined))
    const update = { ...defined, ...(audio === undefined ? {} : { audio }) }
    const { session } = mergeSession(settings, update, this.#shared.spoken)
    const begunWith = this.#call.isOpen ? this.#call.generation : -1
    let endedWith = -1
    const whole = outOfBand || options.input !== undefined || options.tools !== undefined
    const context = whole ? this.#context(options) : undefined
    const writer = new ResponseWriter({
      ...{ id: newId("resp"), conversationId: outOfBand ? null : conversationId, session, metadata: metadata ?? null },
      ...{ send, newId, addItem: outOfBand ? () => undefined : this.#addAnswered() },
      onDone: () => {
        endedWith = this.#call.generation
      },
    })
    if (rate) send({ type: "rate_limits.updated", rate_limits: [rate] })
    const abort = new AbortController()
    const begun = context ? this.#aside(session, context, abort.signal) : this.#inCall(writer, session, abort.signal)
    const finished = (async () => {
      try {
        const end = await this.#pump(writer, session, begun)
        if (end && !context && end.finishReason !== "interrupted" && this.#call.isOpen) this.#call.save(end)
      } catch (error) {
        // Stopping an answer is no failure of the call.
        if (!outOfBand && !abort.signal.aborted) this.#call.failed(error)
        if (writer.done) return
        const { type, code } = toldOf(error)
        writer.finish("failed", { error: { type, code } }, null)
        this.#shared.tell(error, eventId ?? null)
      } finally {
        if (context && !outOfBand) this.#teach(writer, begunWith, endedWith)
        this.#running.delete(writer.id)
        if (!outOfBand && this.#replyAfter) {
          this.#replyAfter = false
          if (!this.#shared.closed && !this.active) this.reply()
        }
      }
    })()
    const aside = context !== undefined
    this.#running.set(writer.id, { writer, inConversation: !outOfBand, aside, abort, finished })
  }

  /** Enters items one behind the other, the first behind what is there now. */
  #addAnswered(): (item: RealtimeStoredItem) => string | null {
    let after = this.#items.all.at(-1)?.id
    return (item) => {
      const previous = this.#items.enter(item, after)
      after = item.id
      return previous
    }
  }

  /** Counts the response against the owner's rate, and says where that stands. */
  #count() {
    const state = this.#shared.parts.countResponse?.()
    if (!state) return undefined
    const { allowed, limit, remaining, resetSeconds, waitSeconds } = state
    if (allowed) return { name: "requests" as const, limit, remaining, reset_seconds: resetSeconds }
    const expected = `response.create: expected at most ${limit} requests per minute, got more (wait ${waitSeconds} s)`
    throw fail("rate_limit_exceeded", expected)
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

  /** The events of an answer as they come. @returns its end; undefined when it was stopped */
  async #pump(writer: ResponseWriter, session: RealtimeSessionObject, begun: Promise<Begun>): Promise<End | undefined> {
    const { events, first, isOfCall } = await begun
    let end: End | undefined
    try {
      for (let next = await first; !next.done && !writer.done; next = await events.next()) {
        if (next.value.type === "turn-end") end = next.value
        this.#tell(writer, session, next.value)
        if (isOfCall && writer.messageId !== undefined) this.#call.wrote(writer.messageId)
      }
    } finally {
      await events.return(undefined)
    }
    writer.finish("failed", { error: { type: "server_error", code: "no_end" } }, null)
    return end
  }

  /** Asks the call, in its place among the commands: what was sent before belongs to the question, what comes later not. */
  #inCall(writer: ResponseWriter, session: RealtimeSessionObject, signal: AbortSignal): Promise<Begun> {
    const { settings } = this.#shared
    const instructions = session.instructions === settings.instructions ? {} : { instructions: session.instructions }
    return this.#call.begin((call) => {
      if (writer.done) return begin(true, nothing())
      return begin(true, call.respond({ ...optionsOf(session), ...instructions }, signal))
    })
  }

  /** Asks beside the call, with a context of its own. */
  async #aside(
    session: RealtimeSessionObject,
    context: readonly RealtimeStoredItem[],
    signal: AbortSignal,
  ): Promise<Begun> {
    const { parts } = this.#shared
    const decode = (bytes: Uint8Array) => parts.decodeImage(bytes, "response.input")
    const messages = await messagesOf(context, session, this.#items.sounds, decode)
    const tools = session.tools.length > 0 ? { tools: toolsOf(session.tools) } : {}
    return begin(false, parts.engine.chat({ messages, ...optionsOf(session), ...tools }, signal))
  }

  /**
   * The call learns an answer that was made beside it, as far as it was told.
   * @param begunWith generation of the call at the answer's beginning, -1 for none
   * @param endedWith the same at its end
   */
  #teach({ said, toolCalls }: ResponseWriter, begunWith: number, endedWith: number): void {
    // A call that took over since has read the answer.
    if ((said === "" && toolCalls.length === 0) || !this.#call.isStill(endedWith)) return
    // One that was opened meanwhile has read what comes behind it.
    if (begunWith !== endedWith) {
      this.#call.outdate()
      return
    }
    void this.#call.enqueue((call) => call.append({ role: "assistant", text: said, toolCalls }))
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
      case "tool-call-delta":
        writer.toolCallDelta(event.name, event.arguments)
        return
      case "tool-call":
        writer.toolCall(event.call)
        return
      case "turn-end": {
        this.#shared.parts.onAnswer?.(event)
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

type End = Extract<AnswerEvent, { type: "turn-end" }>
type Events = AsyncGenerator<AnswerEvent, void, void>
/** An answer that was asked for: its first event is on the way. */
type Begun = {
  readonly isOfCall: boolean
  readonly events: Events
  readonly first: Promise<IteratorResult<AnswerEvent, void>>
}

function begin(isOfCall: boolean, events: Events): Begun {
  const first = events.next()
  first.catch(() => undefined) // whoever waits for it gets it
  return { isOfCall, events, first }
}

async function* nothing(): Events {}

function optionsOf(session: RealtimeSessionObject) {
  const { max_output_tokens: most } = session
  const format = formatOf(session)
  const speak = session.output_modalities[0] === "audio"
  return { speak, ...(format ? { format } : {}), ...(most === "inf" ? {} : { maxNewTokens: most }) }
}

function formatOf({ tool_choice: choice }: RealtimeSessionObject): AnswerFormat | undefined {
  if (choice === "auto") return undefined
  if (choice === "none") return { type: "text" }
  return choice === "required" ? { type: "tool-call" } : { type: "tool-call", name: choice.name }
}
