/**
 * @file One Realtime session: client events in, server events out, an engine call behind. It knows no socket. Commands to
 * the engine run one after another; those that need a quiet call wait for the running answer, sound and cancelling do not.
 * Long because every event touches the same state: items, turn, running answers and the call.
 */
import { concatPcm } from "../audio/index.ts"
import type { EngineCall } from "../engine/index.ts"
import {
  parseClientEvent,
  type RealtimeClientEvent,
  RealtimeInputError,
  type RealtimeResponseCreate,
  type RealtimeServerMessage,
  type RealtimeSessionObject,
  type RealtimeSessionUpdate,
  type RealtimeStoredItem,
} from "../protocol/index.ts"
import type { AnswerEvent, AnswerFormat, CallEvent, ChatMessage } from "../session/index.ts"
import { bytesFromBase64, rateOf, samplesFromBase64 } from "./realtime-audio.ts"
import { messagesOf, pictureOf, textOf } from "./realtime-context.ts"
import { fail, newId, type RealtimeSessionParts, usageOf } from "./realtime-parts.ts"
import { ResponseWriter } from "./realtime-response.ts"
import { callOptions, defaultSession, hasExtension, mergeSession, toolsOf } from "./realtime-settings.ts"

type Running = {
  readonly writer: ResponseWriter
  readonly inConversation: boolean
  readonly abort: AbortController
  readonly finished: Promise<void>
}

export class RealtimeSession {
  readonly #parts: RealtimeSessionParts
  readonly #conversationId = newId("conv")
  #session: RealtimeSessionObject
  #items: RealtimeStoredItem[] = []
  #call: Promise<EngineCall> | undefined
  #callKey = ""
  #queue: Promise<void> = Promise.resolve()
  readonly #running = new Map<string, Running>()
  #spoken = false
  #closed = false as boolean
  #clockMs = 0
  #callStartMs = 0
  /** Sound of the turn that the client will commit. */
  #manual: Float32Array[] = []
  #manualMs = 0
  #speechItem: string | undefined
  #speechStartMs = 0
  #replyAfter = false
  /** Sound per finished item, in milliseconds. */
  readonly #soundMs = new Map<string, number>()
  #lastFrameAtMs = Number.NEGATIVE_INFINITY
  #unread = 0

  constructor(parts: RealtimeSessionParts) {
    this.#parts = parts
    const now = (parts.nowMs ?? Date.now)()
    const expiresAt = Math.floor((now + (parts.lifetimeMs ?? 3_600_000)) / 1000)
    this.#session = defaultSession(newId("sess"), parts.model, parts.type ?? "realtime", expiresAt)
    if (parts.initial) {
      const { type: _type, model: _model, ...update } = parts.initial
      this.#session = mergeSession(this.#session, update, false).session
    }
    parts.send({ type: "session.created", session: this.#session })
    parts.send({
      type: "conversation.created",
      conversation: { id: this.#conversationId, object: "realtime.conversation" },
    })
  }

  /** Pieces of work that the engine has not taken yet; the socket stops reading when there are many. */
  get unread(): number {
    return this.#unread
  }

  /** Obeys one frame. Never throws: what is wrong becomes an `error` event. */
  receive(frame: string): void {
    if (this.#closed) return
    let event: RealtimeClientEvent | undefined
    try {
      event = parseClientEvent(frame)
      this.#obey(event)
    } catch (error) {
      this.#error(error, event?.event_id ?? null)
    }
  }

  /** Ends answers and the call. */
  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    for (const { abort } of this.#running.values()) abort.abort()
    const call = this.#call
    await call?.then((open) => open.close()).catch(() => undefined)
  }

  /** Resolves when everything that was asked for has been answered. */
  async settled(): Promise<void> {
    await this.#queue
    await Promise.all([...this.#running.values()].map(({ finished }) => finished))
  }

  #send(event: RealtimeServerMessage): void {
    if (!this.#closed) this.#parts.send(event)
  }

  #error(error: unknown, eventId: string | null): void {
    const known = error instanceof RealtimeInputError
    // Errors of the engine may quote input: only their kind is told.
    const message = known ? error.message : "realtime: expected the engine to work, got a failure (try again)"
    const type = known ? "invalid_request_error" : "server_error"
    const event_id = eventId ?? (known ? error.clientEventId : null)
    const [code, param] = known ? [error.wireCode, error.param] : ["engine_error", null]
    this.#send({ type: "error", error: { type, code, message, param, event_id } })
  }

  #obey(event: RealtimeClientEvent): void {
    switch (event.type) {
      case "session.update":
        this.#update(event.session)
        return
      case "input_audio_buffer.append":
        this.#append(samplesFromBase64(event.audio, this.#session.audio.input.format))
        return
      case "input_audio_buffer.commit":
        this.#commit()
        return
      case "input_audio_buffer.clear":
        this.#dropManual()
        if (this.#call) this.#enqueue((call) => call.clear(), event.event_id)
        this.#send({ type: "input_audio_buffer.cleared" })
        return
      case "conversation.item.create":
        this.#createItem(event.item, event.previous_item_id ?? undefined, event.event_id)
        return
      case "conversation.item.retrieve":
        this.#send({ type: "conversation.item.retrieved", item: this.#item(event.item_id) })
        return
      case "conversation.item.truncate":
        this.#truncate(event.item_id, event.audio_end_ms, event.event_id)
        return
      case "conversation.item.delete":
        this.#item(event.item_id)
        this.#items = this.#items.filter(({ id }) => id !== event.item_id)
        this.#dropCall()
        this.#send({ type: "conversation.item.deleted", item_id: event.item_id })
        return
      case "response.create":
        this.#respond(event.response ?? {}, event.event_id)
        return
      case "response.cancel":
        this.#cancel(event.response_id ?? undefined)
        return
      case "output_audio_buffer.clear": // stock clients send it on sockets as well; there is no such buffer here
        this.#parts.warn?.("realtime: event for another transport", { type: event.type })
        return
      case "omni.input_video_frame.append":
        this.#frame(event.image, event.event_id)
        return
    }
  }

  #update(update: RealtimeSessionUpdate): void {
    const { session, ignored } = mergeSession(this.#session, update, this.#spoken)
    if (ignored.length > 0) this.#parts.warn?.("realtime: settings not honoured", { ignored })
    this.#session = session
    this.#send({ type: "session.updated", session })
  }

  #append(pcm: Float32Array): void {
    if (pcm.length === 0) return
    const ms = (pcm.length * 1000) / rateOf(this.#session.audio.input.format)
    if (this.#session.audio.input.turn_detection === null) {
      const most = this.#parts.maxBufferMs ?? 600_000
      if (this.#manualMs + ms > most) {
        throw fail(
          "invalid_value",
          `input_audio_buffer: expected at most ${most} ms, got more (commit or clear)`,
          "audio",
        )
      }
      this.#manual.push(pcm)
      this.#manualMs += ms
    } else this.#enqueue((call) => call.push({ pcm }))
    this.#clockMs += ms
  }

  #dropManual(): void {
    this.#manual = []
    this.#manualMs = 0
  }

  #commit(): void {
    if (this.#session.audio.input.turn_detection !== null && this.#speechItem !== undefined) {
      this.#commitTurn(this.#takeSpeechItem())
      return
    }
    if (this.#manualMs < 100) {
      const got = `${Math.round(this.#manualMs)} ms`
      throw fail(
        "input_audio_buffer_commit_empty",
        `input_audio_buffer: expected at least 100 ms, got ${got} (append sound)`,
      )
    }
    const pcm = concatPcm(this.#manual)
    this.#dropManual()
    this.#enqueue((call) => call.push({ pcm }))
    this.#commitTurn(newId("item"))
  }

  #takeSpeechItem(): string {
    const id = this.#speechItem ?? newId("item")
    this.#speechItem = undefined
    return id
  }

  #commitTurn(id: string): void {
    const previous_item_id = this.#items.at(-1)?.id ?? null
    this.#send({ type: "input_audio_buffer.committed", previous_item_id, item_id: id })
    this.#add({
      id,
      object: "realtime.item",
      type: "message",
      role: "user",
      status: "completed",
      content: [{ type: "input_audio", transcript: null }],
    })
  }

  /** Enters a finished item. */
  #add(item: RealtimeStoredItem, at = this.#items.length): void {
    const previous_item_id = this.#items[at - 1]?.id ?? null
    this.#items.splice(at, 0, item)
    this.#send({ type: "conversation.item.added", previous_item_id, item })
    this.#send({ type: "conversation.item.done", previous_item_id, item })
  }

  #item(id: string): RealtimeStoredItem {
    const item = this.#items.find((one) => one.id === id)
    if (!item)
      throw fail("invalid_value", "item_id: expected an item of this conversation, got an unknown id", "item_id")
    return item
  }

  #createItem(given: Parameters<typeof textOf>[0], previous: string | undefined, eventId?: string): void {
    if (this.#items.length >= (this.#parts.maxItems ?? 2000))
      throw fail("invalid_value", "item: expected fewer items, got a full conversation (delete some)", "item")
    if (given.id !== undefined && this.#items.some(({ id }) => id === given.id))
      throw fail("invalid_value", "item.id: expected a new id, got one that exists", "item.id")
    if (
      given.type === "message" &&
      given.role === "assistant" &&
      given.content.some(({ type }) => type !== "output_text")
    )
      throw fail(
        "invalid_value",
        "item.content: expected output_text, got sound (assistant sound cannot be created)",
        "item.content",
      )
    if (
      given.type === "function_call_output" &&
      !this.#items.some((one) => one.type === "function_call" && one.call_id === given.call_id)
    )
      throw fail("invalid_value", "item.call_id: expected the id of a call, got an unknown one", "item.call_id")
    let at = this.#items.length
    if (previous === "root") at = 0
    else if (previous !== undefined) at = this.#items.indexOf(this.#item(previous)) + 1
    const item = { ...given, id: given.id ?? newId("item"), object: "realtime.item", status: "completed" } as const
    const last = at === this.#items.length
    const { format } = this.#session.audio.input
    const pictures: Uint8Array[] = []
    const sounds: Float32Array[] = []
    if (item.type === "message" && item.role === "user") {
      for (const part of item.content) {
        if (part.type === "input_image") pictures.push(pictureOf(part.image_url))
        if (part.type === "input_audio" && part.audio !== undefined) sounds.push(samplesFromBase64(part.audio, format))
      }
    }
    this.#add(item, at)
    if (!last) {
      this.#dropCall()
      return
    }
    const text = textOf(item)
    this.#enqueueQuiet(async (call) => {
      if (item.type === "function_call_output") return call.append({ role: "tool", text })
      if (item.type === "function_call") return undefined // the engine remembers the calls that it made
      if (item.role !== "user") return call.append({ role: item.role === "assistant" ? "assistant" : "user", text })
      for (const bytes of pictures) await call.push({ frame: await this.#parts.decodeImage(bytes, "item.content") })
      for (const pcm of sounds) await call.push({ pcm })
      if (text !== "") await call.push({ text })
    }, eventId)
  }

  #truncate(id: string, endMs: number, eventId?: string): void {
    const item = this.#item(id)
    const running = [...this.#running.values()].find(({ writer }) => writer.messageId === id)
    const soundMs = running?.writer.audioMs ?? this.#soundMs.get(id)
    if (soundMs === undefined || item.type !== "message" || item.role !== "assistant")
      throw fail("invalid_value", "item_id: expected an assistant item with sound, got another", "item_id")
    if (endMs > soundMs + 100) {
      const message = `Audio content of ${Math.floor(soundMs)} ms is already shorter than ${Math.floor(endMs)} ms`
      throw new RealtimeInputError("invalid_value", message, "audio_end_ms", null)
    }
    const heardMs = Math.min(endMs, soundMs)
    const latest = this.#items.findLast((one) => one.type === "message" && one.role === "assistant")?.id === id
    running?.writer.finish("cancelled", { reason: "client_cancelled" }, null)
    this.#soundMs.set(id, heardMs)
    const tell = (transcript: string) => {
      item.content = [{ type: "output_audio", transcript }]
      this.#send({ type: "conversation.item.truncated", item_id: id, content_index: 0, audio_end_ms: endMs })
    }
    if (latest) this.#enqueue(async (call) => tell((await call.interrupt({ heardMs })).text), eventId)
    else {
      const said = textOf(item)
      tell(said.slice(0, Math.floor((said.length * heardMs) / Math.max(1, soundMs))))
      this.#dropCall()
    }
  }

  #frame(image: string, eventId?: string): void {
    if (!hasExtension(this.#session, "omni.video"))
      throw fail(
        "invalid_event",
        'session.extensions: expected "omni.video", got a frame without it',
        "session.extensions",
      )
    const bytes = bytesFromBase64(image, "image")
    const now = (this.#parts.nowMs ?? Date.now)()
    if (now - this.#lastFrameAtMs < 950) return // the model sees one frame per second
    this.#lastFrameAtMs = now
    this.#enqueue(async (call) => {
      await call.push({ frame: await this.#parts.decodeImage(bytes, "omni.input_video_frame.append") })
    }, eventId)
  }

  #active(): Running | undefined {
    return [...this.#running.values()].find(({ inConversation, writer }) => inConversation && !writer.done)
  }

  #cancel(id: string | undefined): void {
    const running = id === undefined ? this.#active() : this.#running.get(id)
    if (!running || running.writer.done)
      throw fail("response_cancel_not_active", "Cancellation failed: no active response found", "response_id")
    this.#stop(running, "client_cancelled")
  }

  #stop(running: Running, reason: "client_cancelled" | "turn_detected"): void {
    running.writer.finish("cancelled", { reason }, null)
    if (running.inConversation) this.#enqueue(async (call) => void (await call.interrupt()))
    running.abort.abort()
  }

  #respond(options: RealtimeResponseCreate, eventId?: string): void {
    const outOfBand = options.conversation === "none"
    if (this.#session.type === "transcription")
      throw fail("invalid_session_type", "response.create: expected a realtime session, got a transcription session")
    if (!outOfBand && this.#active())
      throw fail(
        "conversation_already_has_active_response",
        "response.create: expected no active response, got one (wait or cancel)",
      )
    if (outOfBand && this.#running.size >= 8)
      throw fail("session_limit_reached", "response.create: expected at most 8 responses at once, got more (wait)")
    const { input: _input, conversation: _conversation, metadata, audio, ...overrides } = options
    const defined = Object.fromEntries(Object.entries(overrides).filter(([, value]) => value !== undefined))
    const { session } = mergeSession(
      this.#session,
      { ...defined, ...(audio === undefined ? {} : { audio }) },
      this.#spoken,
    )
    const whole = outOfBand || options.input !== undefined || options.tools !== undefined
    const context = whole ? this.#context(options) : []
    const writer = new ResponseWriter({
      id: newId("resp"),
      conversationId: outOfBand ? null : this.#conversationId,
      session,
      metadata: metadata ?? null,
      send: (event) => this.#send(event),
      newId,
      addItem: (item) => {
        if (outOfBand) return undefined
        this.#items.push(item)
        return this.#items.at(-2)?.id ?? null
      },
    })
    const abort = new AbortController()
    const before = this.#queue
    const quiet = [...this.#running.values()].filter((one) => one.inConversation).map((one) => one.finished)
    const finished = (async () => {
      try {
        if (!outOfBand) await Promise.all([before, ...quiet])
        if (writer.done) return
        await this.#run(writer, session, whole ? context : undefined, abort.signal)
      } catch (error) {
        if (writer.done) return
        writer.finish("failed", { error: { type: "server_error", code: "engine_error" } }, null)
        this.#error(error, eventId ?? null)
        if (!outOfBand) this.#dropCall()
      } finally {
        this.#running.delete(writer.id)
        if (!outOfBand && this.#replyAfter) {
          this.#replyAfter = false
          if (!this.#closed && !this.#active()) this.#respond({})
        }
      }
    })()
    this.#running.set(writer.id, { writer, inConversation: !outOfBand, abort, finished })
  }

  #context({ input }: RealtimeResponseCreate): RealtimeStoredItem[] {
    if (input === undefined) return [...this.#items]
    return input.map((one) =>
      one.type === "item_reference" ? this.#item(one.id) : { ...one, id: one.id ?? newId("item") },
    )
  }

  async #run(
    writer: ResponseWriter,
    session: RealtimeSessionObject,
    context: RealtimeStoredItem[] | undefined,
    signal: AbortSignal,
  ) {
    const speak = session.output_modalities[0] === "audio"
    const { tool_choice: choice, max_output_tokens: most } = session
    const format: AnswerFormat | undefined =
      choice === "none"
        ? { type: "text" }
        : choice === "required"
          ? { type: "tool-call" }
          : choice === "auto"
            ? undefined
            : { type: "tool-call", name: choice.name }
    const options = { speak, ...(format ? { format } : {}), ...(most === "inf" ? {} : { maxNewTokens: most }) }
    let events: AsyncGenerator<AnswerEvent, void, void>
    if (context) {
      const decode = (bytes: Uint8Array) => this.#parts.decodeImage(bytes, "response.input")
      const messages: ChatMessage[] = await messagesOf(context, session, decode)
      const tools = session.tools.length > 0 ? { tools: toolsOf(session.tools) } : {}
      events = this.#parts.engine.chat({ messages, ...options, ...tools }, signal)
    } else {
      const call = await this.#open()
      const instructions =
        session.instructions === this.#session.instructions ? {} : { instructions: session.instructions }
      events = call.respond({ ...options, ...instructions }, signal)
    }
    for await (const event of events) {
      if (writer.done) break
      this.#tell(writer, session, event)
    }
    writer.finish("failed", { error: { type: "server_error", code: "no_end" } }, null)
  }

  #tell(writer: ResponseWriter, session: RealtimeSessionObject, event: AnswerEvent): void {
    switch (event.type) {
      case "text-delta":
        writer.text(event.text)
        return
      case "audio-delta":
        this.#spoken = true
        writer.audio(event.pcm)
        if (writer.messageId !== undefined) this.#soundMs.set(writer.messageId, writer.audioMs)
        return
      case "tool-call":
        writer.toolCall(event.call)
        return
      case "turn-end": {
        const { promptTokens, completionTokens, finishReason, timings, audioMs } = event
        const usage = usageOf(promptTokens, completionTokens)
        if (finishReason === "length") writer.finish("incomplete", { reason: "max_output_tokens" }, usage)
        else if (finishReason === "interrupted") writer.finish("cancelled", { reason: "client_cancelled" }, usage)
        else writer.finish("completed", null, usage)
        if (!hasExtension(session, "omni.timing")) return
        this.#send({
          type: "omni.response.timing",
          response_id: writer.id,
          first_text_ms: timings.firstTextMs ?? null,
          first_audio_ms: timings.firstAudioMs ?? null,
          total_ms: timings.totalMs,
          audio_ms: audioMs,
          real_time_factor: audioMs > 0 ? timings.totalMs / audioMs : null,
        })
        return
      }
    }
  }

  #heard(event: CallEvent): void {
    if (this.#closed) return
    const turns = this.#session.audio.input.turn_detection
    switch (event.type) {
      case "speech-start": {
        if (turns === null) return
        this.#speechItem = newId("item")
        this.#speechStartMs = this.#callStartMs + event.startMs
        const audio_start_ms = Math.max(0, Math.round(this.#speechStartMs))
        this.#send({ type: "input_audio_buffer.speech_started", audio_start_ms, item_id: this.#speechItem })
        const active = this.#active()
        if (active && turns.interrupt_response !== false) this.#stop(active, "turn_detected")
        return
      }
      case "speech-end": {
        if (turns === null || this.#speechItem === undefined) return
        const id = this.#takeSpeechItem()
        const audio_end_ms = Math.max(0, Math.round(this.#callStartMs + event.endMs))
        this.#send({ type: "input_audio_buffer.speech_stopped", audio_end_ms, item_id: id })
        this.#endTurn(id, turns.create_response !== false)
        return
      }
      case "idle": {
        if (turns === null || this.#active()) return
        const audio_end_ms = Math.round(this.#callStartMs + event.atMs)
        const item_id = newId("item")
        const audio_start_ms = Math.min(audio_end_ms, Math.round(this.#speechStartMs))
        this.#send({ type: "input_audio_buffer.timeout_triggered", audio_start_ms, audio_end_ms, item_id })
        this.#endTurn(item_id, true)
        return
      }
      case "context-compacted":
        this.#send({ type: "omni.context.changed", reason: "compacted" })
        return
      case "input-dropped":
        this.#send({ type: "omni.context.changed", reason: "input_dropped" })
        return
      case "perceived":
        return
    }
  }

  #endTurn(id: string, reply: boolean): void {
    this.#commitTurn(id)
    if (!reply || this.#session.type === "transcription") return
    if (this.#active()) this.#replyAfter = true
    else this.#respond({})
  }

  /** The call with the settings of now. Another one replaces it when they ask for it, and gets the conversation's text. */
  #open(): Promise<EngineCall> {
    const { voice } = this.#session.audio.output
    const options = callOptions(this.#session, this.#parts.voice?.(typeof voice === "string" ? voice : voice.id))
    const key = JSON.stringify({ ...options, voice })
    if (this.#call && key === this.#callKey) return this.#call
    this.#dropCall()
    this.#callKey = key
    this.#callStartMs = this.#clockMs
    const history = this.#items.filter((item) => item.status !== "in_progress")
    const made = (async () => {
      const call = await this.#parts.engine.call(options, { onEvent: (event) => this.#heard(event) })
      for (const item of history) {
        const text = textOf(item)
        if (text === "" || item.type === "function_call") continue
        const role = item.type === "function_call_output" ? "tool" : item.role === "assistant" ? "assistant" : "user"
        await call.append({ role, text })
      }
      if (history.length > 0) this.#send({ type: "omni.context.changed", reason: "rebuilt" })
      return call
    })()
    this.#call = made
    return made
  }

  #dropCall(): void {
    const call = this.#call
    this.#call = undefined
    void call?.then((open) => open.close()).catch(() => undefined)
  }

  #enqueue(work: (call: EngineCall) => Promise<void>, eventId?: string): void {
    this.#unread++
    this.#queue = this.#queue
      .then(async () => {
        if (!this.#closed) await work(await this.#open())
      })
      .catch((error: unknown) => {
        this.#error(error, eventId ?? null)
        if (!(error instanceof RealtimeInputError)) this.#dropCall()
      })
      .finally(() => this.#unread--)
  }

  /** For what must not meet a running answer. */
  #enqueueQuiet(work: (call: EngineCall) => Promise<void>, eventId?: string): void {
    const active = this.#active()
    if (active) void active.finished.then(() => this.#enqueue(work, eventId))
    else this.#enqueue(work, eventId)
  }
}
