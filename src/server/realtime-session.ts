/**
 * @file One Realtime session: client events in, server events out, an engine call behind. It knows no socket. Its parts:
 *
 *   receive ──► items (realtime-items.ts), input (realtime-input.ts), answers (realtime-answers.ts)
 *                                            └──────── call (realtime-call.ts) ────────┘──► engine
 */
import { parseClientEvent, type RealtimeClientEvent, type RealtimeSessionUpdate } from "../protocol/index.ts"
import type { CallEvent } from "../session/index.ts"
import { RealtimeAnswers } from "./realtime-answers.ts"
import { bytesFromBase64, samplesFromBase64 } from "./realtime-audio.ts"
import { SessionCall } from "./realtime-call.ts"
import { pictureOf, textOf } from "./realtime-context.ts"
import { RealtimeInput } from "./realtime-input.ts"
import { RealtimeItems } from "./realtime-items.ts"
import { errorEvent, fail, newId, type RealtimeSessionParts, type SessionShared } from "./realtime-parts.ts"
import { defaultSession, hasExtension, mergeSession } from "./realtime-settings.ts"

/** The model sees one frame per second. */
const FRAME_INTERVAL_MS = 950
const LIFETIME_MS = 3_600_000

export class RealtimeSession {
  readonly #shared: SessionShared
  readonly #items: RealtimeItems
  readonly #call: SessionCall
  readonly #answers: RealtimeAnswers
  readonly #input: RealtimeInput
  #lastFrameAtMs = Number.NEGATIVE_INFINITY

  constructor(parts: RealtimeSessionParts) {
    const send = (event: Parameters<RealtimeSessionParts["send"]>[0]) => {
      if (!this.#shared.closed) parts.send(event)
    }
    this.#shared = {
      ...{ parts, conversationId: newId("conv"), spoken: false, closed: false, send },
      settings: startSettings(parts),
      tell: (error, eventId) => send(errorEvent(error, eventId)),
    }
    this.#items = new RealtimeItems(this.#shared)
    this.#call = new SessionCall(this.#shared, this.#items, {
      onEvent: (event) => this.#heard(event),
      clockMs: () => this.#input.clockMs,
    })
    this.#answers = new RealtimeAnswers(this.#shared, this.#items, this.#call)
    this.#input = new RealtimeInput(this.#shared, this.#items, this.#call, this.#answers)
    send({ type: "session.created", session: this.#shared.settings })
    const conversation = { id: this.#shared.conversationId, object: "realtime.conversation" } as const
    send({ type: "conversation.created", conversation })
  }

  /** Pieces of work that the engine has not taken yet; the socket stops reading when there are many. */
  get unread(): number {
    return this.#call.unread
  }

  /** Obeys one frame. Never throws: what is wrong becomes an `error` event. */
  receive(frame: string): void {
    if (this.#shared.closed) return
    let event: RealtimeClientEvent | undefined
    try {
      event = parseClientEvent(frame)
      this.#obey(event)
    } catch (error) {
      this.#shared.tell(error, event?.event_id ?? null)
    }
  }

  /** Ends answers and the call. */
  async close(): Promise<void> {
    if (this.#shared.closed) return
    this.#shared.closed = true
    this.#answers.close()
    await this.#call.close()
  }

  /** Resolves when everything that was asked for has been answered. */
  async settled(): Promise<void> {
    await this.#call.idle
    await this.#answers.settled()
  }

  #obey(event: RealtimeClientEvent): void {
    switch (event.type) {
      case "session.update":
        this.#update(event.session)
        return
      case "input_audio_buffer.append":
        this.#input.append(samplesFromBase64(event.audio, this.#shared.settings.audio.input.format))
        return
      case "input_audio_buffer.commit":
        this.#input.commit()
        return
      case "input_audio_buffer.clear":
        this.#input.clear(event.event_id)
        return
      case "conversation.item.create":
        this.#createItem(event)
        return
      case "conversation.item.retrieve":
        this.#shared.send({ type: "conversation.item.retrieved", item: this.#items.get(event.item_id) })
        return
      case "conversation.item.truncate":
        this.#truncate(event)
        return
      case "conversation.item.delete":
        this.#items.delete(event.item_id)
        this.#call.drop()
        return
      case "response.create":
        this.#answers.create(event.response ?? {}, event.event_id)
        return
      case "response.cancel":
        this.#answers.cancel(event.response_id ?? undefined)
        return
      case "output_audio_buffer.clear": // stock clients send it on sockets as well; there is no such buffer here
        this.#shared.parts.warn?.("realtime: event for another transport", { type: event.type })
        return
      case "omni.input_video_frame.append":
        this.#frame(event.image, event.event_id)
        return
    }
  }

  #update(update: RealtimeSessionUpdate): void {
    const { session, ignored } = mergeSession(this.#shared.settings, update, this.#shared.spoken)
    if (ignored.length > 0) this.#shared.parts.warn?.("realtime: settings not honoured", { ignored })
    this.#shared.settings = session
    this.#shared.send({ type: "session.updated", session })
  }

  #createItem(event: Extract<RealtimeClientEvent, { type: "conversation.item.create" }>): void {
    const { parts, settings } = this.#shared
    const { format } = settings.audio.input
    const pictures: Uint8Array[] = []
    const sounds: Float32Array[] = []
    if (event.item.type === "message" && event.item.role === "user") {
      for (const part of event.item.content) {
        if (part.type === "input_image") pictures.push(pictureOf(part.image_url))
        if (part.type === "input_audio" && part.audio !== undefined) sounds.push(samplesFromBase64(part.audio, format))
      }
    }
    const { item, last } = this.#items.create(event.item, event.previous_item_id ?? undefined)
    if (!last) {
      this.#call.drop()
      return
    }
    const text = textOf(item)
    const work = () =>
      this.#call.enqueue(async (call) => {
        if (item.type === "function_call_output") return call.append({ role: "tool", text })
        if (item.type === "function_call") return undefined // the engine remembers the calls that it made
        if (item.role !== "user") return call.append({ role: item.role === "assistant" ? "assistant" : "user", text })
        for (const bytes of pictures) await call.push({ frame: await parts.decodeImage(bytes, "item.content") })
        for (const pcm of sounds) await call.push({ pcm })
        if (text !== "") await call.push({ text })
      }, event.event_id)
    // A message must not meet a running answer.
    const { active } = this.#answers
    if (active) void active.finished.then(work)
    else work()
  }

  #truncate(event: Extract<RealtimeClientEvent, { type: "conversation.item.truncate" }>): void {
    const { audio_end_ms: endMs, event_id } = event
    const { item, soundMs, heardMs, latest } = this.#items.toTruncate(event.item_id, endMs)
    this.#answers.making(item.id)?.writer.finish("cancelled", { reason: "client_cancelled" }, null)
    const cut = (transcript: string) => this.#items.truncated(item, transcript, heardMs, endMs)
    if (latest) this.#call.enqueue(async (call) => cut((await call.interrupt({ heardMs })).text), event_id)
    else {
      const said = textOf(item)
      cut(said.slice(0, Math.floor((said.length * heardMs) / Math.max(1, soundMs))))
      this.#call.drop()
    }
  }

  #frame(image: string, eventId?: string): void {
    const { settings, parts } = this.#shared
    if (!hasExtension(settings, "omni.video")) {
      const expected = 'session.extensions: expected "omni.video", got a frame without it'
      throw fail("invalid_event", expected, "session.extensions")
    }
    const bytes = bytesFromBase64(image, "image")
    const now = (parts.nowMs ?? Date.now)()
    if (now - this.#lastFrameAtMs < FRAME_INTERVAL_MS) return
    this.#lastFrameAtMs = now
    this.#call.enqueue(async (call) => {
      await call.push({ frame: await parts.decodeImage(bytes, "omni.input_video_frame.append") })
    }, eventId)
  }

  #heard(event: CallEvent): void {
    if (this.#shared.closed) return
    switch (event.type) {
      case "speech-start":
        this.#input.speechStart(event)
        return
      case "speech-end":
        this.#input.speechEnd(event)
        return
      case "idle":
        this.#input.idle(event)
        return
      case "context-compacted":
        this.#shared.send({ type: "omni.context.changed", reason: "compacted" })
        return
      case "input-dropped":
        this.#shared.send({ type: "omni.context.changed", reason: "input_dropped" })
        return
      case "perceived":
        return
    }
  }
}

function startSettings(parts: RealtimeSessionParts) {
  const now = (parts.nowMs ?? Date.now)()
  const expiresAt = Math.floor((now + (parts.lifetimeMs ?? LIFETIME_MS)) / 1000)
  const settings = defaultSession(newId("sess"), parts.model, parts.type ?? "realtime", expiresAt)
  if (!parts.initial) return settings
  const { type: _type, model: _model, ...update } = parts.initial
  return mergeSession(settings, update, false).session
}
