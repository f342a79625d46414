/**
 * @file One Realtime session: client events in, server events out, an engine call behind. It knows no socket. Its parts:
 *
 *   receive ──► items (realtime-items.ts), input (realtime-input.ts), answers (realtime-answers.ts)
 *                                            └──────── call (realtime-call.ts) ────────┘──► engine
 *   and beside them transcripts (realtime-transcripts.ts) of what the user said.
 */
import type { EngineCall } from "../engine/index.ts"
import {
  parseClientEvent,
  type RealtimeClientEvent,
  type RealtimeSessionObject,
  type RealtimeSessionUpdate,
  type RealtimeStoredItem,
} from "../protocol/index.ts"
import type { CallEvent } from "../session/index.ts"
import { RealtimeAnswers } from "./realtime-answers.ts"
import { bytesFromBase64, samplesFromBase64 } from "./realtime-audio.ts"
import { SessionCall } from "./realtime-call.ts"
import { pictureOf, shown, textOf } from "./realtime-context.ts"
import { RealtimeInput } from "./realtime-input.ts"
import { RealtimeItems } from "./realtime-items.ts"
import { errorEvent, fail, newId, type RealtimeSessionParts, type SessionShared } from "./realtime-parts.ts"
import { defaultSession, hasExtension, mergeSession } from "./realtime-settings.ts"
import { RealtimeTranscripts } from "./realtime-transcripts.ts"

/** The model sees one frame per second. */
const FRAME_INTERVAL_MS = 950
const LIFETIME_MS = 3_600_000

export class RealtimeSession {
  readonly #shared: SessionShared
  readonly #items: RealtimeItems
  readonly #call: SessionCall
  readonly #answers: RealtimeAnswers
  readonly #input: RealtimeInput
  readonly #transcripts: RealtimeTranscripts
  readonly #stop = new AbortController()
  #lastFrameAtMs = Number.NEGATIVE_INFINITY

  constructor(parts: RealtimeSessionParts) {
    const send = (event: Parameters<RealtimeSessionParts["send"]>[0]) => {
      if (!this.#shared.closed) parts.send(event)
    }
    this.#shared = {
      ...{ parts, conversationId: newId("conv"), spoken: false, closed: false, send, stop: this.#stop.signal },
      settings: startSettings(parts),
      tell: (error, eventId) => {
        const event = errorEvent(error, eventId)
        const kind = error instanceof Error ? error.name : "unknown"
        if (event.error.type === "server_error") this.#warn("realtime: failure", { error: kind })
        send(event)
      },
    }
    this.#items = new RealtimeItems(this.#shared)
    this.#call = new SessionCall(this.#shared, this.#items, {
      onEvent: (event) => this.#heard(event),
      uncommitted: (fromMs) => this.#input.uncommitted(fromMs),
      isMidTurn: () => this.#input.isMidTurn,
      isAnswering: () => this.isAnswering,
    })
    this.#answers = new RealtimeAnswers(this.#shared, this.#items, this.#call)
    this.#transcripts = new RealtimeTranscripts(this.#shared, this.#items, this.#answers)
    this.#input = new RealtimeInput(this.#shared, {
      ...{ items: this.#items, call: this.#call, answers: this.#answers, transcripts: this.#transcripts },
    })
    send({ type: "session.created", session: this.#shared.settings })
    const conversation = { id: this.#shared.conversationId, object: "realtime.conversation" } as const
    send({ type: "conversation.created", conversation })
  }

  /** Pieces of work that the engine has not taken yet; the socket stops reading when there are many. */
  get unread(): number {
    return this.#call.unread
  }

  /** Sound that came and that the engine has not taken yet. */
  get behindMs(): number {
    return this.#call.behindMs
  }

  /** Whether it answers right now. */
  get isAnswering(): boolean {
    return this.#answers.active !== undefined
  }

  /** Obeys one frame. Never throws: what is wrong becomes an `error` event. */
  receive(frame: string): void {
    if (this.#shared.closed) return
    let event: RealtimeClientEvent | undefined
    try {
      event = parseClientEvent(frame, (fields) =>
        this.#warn("realtime: fields not known", { fields: fields.join(" ") }),
      )
      // What the event brings is for the call of now; one that replaces it later reads it from the items.
      this.#call.refresh()
      this.#obey(event)
    } catch (error) {
      this.#shared.tell(error, event?.event_id ?? null)
    }
  }

  /** Ends answers and the call. */
  async close(): Promise<void> {
    if (this.#shared.closed) return
    this.#shared.closed = true
    this.#stop.abort()
    this.#answers.close()
    this.#transcripts.close()
    await this.#call.close()
  }

  /** Resolves when everything that was asked for has been answered. */
  async settled(): Promise<void> {
    await this.#call.idle
    await this.#answers.settled()
    await this.#transcripts.idle
  }

  #warn(text: string, fields: Readonly<Record<string, unknown>>): void {
    this.#shared.parts.warn?.(text, fields)
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
        this.#shared.send({ type: "conversation.item.retrieved", item: this.#items.retrieve(event.item_id) })
        return
      case "conversation.item.truncate":
        this.#truncate(event)
        return
      case "conversation.item.delete":
        this.#items.delete(event.item_id)
        this.#call.itemChanged(event.item_id)
        this.#call.outdate()
        return
      case "response.create":
        this.#createResponse(event)
        return
      case "response.cancel":
        this.#answers.cancel(event.response_id ?? undefined)
        return
      case "output_audio_buffer.clear": // stock clients send it on sockets as well; there is no such buffer here
        this.#warn("realtime: event for another transport", { type: event.type })
        return
      case "input_video_buffer.append":
        this.#frame(event.image, event.event_id)
        return
    }
  }

  #update(update: RealtimeSessionUpdate): void {
    const before = this.#shared.settings
    const { session, ignored } = mergeSession(before, update, this.#shared.spoken)
    checkVoice(session, this.#shared.parts)
    if (ignored.length > 0) this.#warn("realtime: settings not honoured", { ignored: ignored.join(" ") })
    const turnsWere = before.audio.input.turn_detection
    this.#shared.settings = session
    if ((turnsWere === null) !== (session.audio.input.turn_detection === null)) this.#input.turnsChanged()
    this.#shared.send({ type: "session.updated", session })
  }

  #createResponse({ response, event_id }: Extract<RealtimeClientEvent, { type: "response.create" }>): void {
    const create = () => this.#answers.create(response ?? {}, event_id)
    // One beside the conversation has nothing to do with what is said, and a second one is refused.
    if (response?.conversation === "none" || this.#answers.active) {
      create()
      return
    }
    // An answer in the middle of speech answers what was said so far; the engine reports no end of it.
    this.#input.commitSpeech()
    this.#input.beforeOpenTurn(create)
  }

  #createItem(event: Extract<RealtimeClientEvent, { type: "conversation.item.create" }>): void {
    const pictures: Uint8Array[] = []
    if (event.item.type === "message" && event.item.role === "user") {
      for (const part of event.item.content) if (part.type === "input_image") pictures.push(pictureOf(part.image_url))
    }
    const { item, last } = this.#items.create(event.item, event.previous_item_id ?? undefined)
    if (!last) {
      const next = this.#items.all[this.#items.all.indexOf(item) + 1]
      if (next) this.#call.itemChanged(next.id) // what comes after it was read without it
      this.#call.outdate()
      return
    }
    // A call that opens later reads all items anyway, and one that is open knows the calls of tools that it made.
    if (!this.#call.isOpen || item.type === "function_call") return
    const { event_id: eventId } = event
    const { generation } = this.#call
    const work = () => {
      if (!this.#call.isStill(generation)) return
      void this.#call.enqueue((call) => this.#giveItem(call, item, pictures), { eventId })
    }
    const { active } = this.#answers
    // Pictures alone join what is being said, as a camera's frames do.
    const isPicture = item.type === "message" && item.content.every(({ type }) => type === "input_image")
    if (isPicture) work()
    // A message must not meet a running answer.
    else if (active) void active.finished.then(() => this.#input.beforeOpenTurn(work))
    else this.#input.beforeOpenTurn(work)
  }

  /** What comes after it waits until it was read: if the engine dies meanwhile, another one reads it, and goes on. */
  async #giveItem(call: EngineCall, item: RealtimeStoredItem, pictures: readonly Uint8Array[]): Promise<void> {
    const text = textOf(item)
    if (item.type === "function_call_output") return call.append({ role: "tool", text })
    if (item.type === "function_call") return undefined
    if (item.role !== "user") return call.append({ role: item.role === "assistant" ? "assistant" : "user", text })
    if (pictures.length > 0) {
      const decode = (bytes: Uint8Array) => this.#shared.parts.decodeImage(bytes, "item.content")
      await call.push(shown(await Promise.all(pictures.map(decode))))
    }
    const sound = this.#items.sounds.get(item.id)
    if (sound) return call.append({ role: "user", text, sound })
    if (text !== "") await call.push({ text })
    // Pictures that join sound that is not committed are forgotten with it.
    if (text !== "" || !this.#input.hasOpenTurn) await call.keep()
  }

  #truncate(event: Extract<RealtimeClientEvent, { type: "conversation.item.truncate" }>): void {
    const { audio_end_ms: endMs, event_id } = event
    const { item, soundMs, heardMs, latest } = this.#items.toTruncate(event.item_id, endMs)
    this.#answers.making(item.id)?.writer.finish("cancelled", { reason: "client_cancelled" }, null)
    const cut = (transcript: string) => this.#items.truncated(item, transcript, heardMs, endMs)
    this.#call.itemChanged(item.id)
    const said = textOf(item)
    const about = said.slice(0, Math.floor((said.length * heardMs) / Math.max(1, soundMs)))
    if (!latest || !this.#call.hasWritten(item.id)) {
      cut(about)
      this.#call.outdate()
      return
    }
    let text: string | undefined
    const work = async (call: EngineCall) => ({
      rest: call.interrupt({ heardMs }).then((said) => {
        text = said.text
      }),
    })
    // A call that was replaced meanwhile does not know what lies where.
    void this.#call.enqueue(work, { eventId: event_id }).then(() => cut(text ?? about))
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
    const work = async (call: EngineCall) => {
      const frame = await parts.decodeImage(bytes, "omni.input_video_frame.append")
      return { rest: call.push({ frame }) }
    }
    void this.#call.enqueue(work, { eventId, lasting: true })
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

/** @throws RealtimeInputError for a voice that is not there */
function checkVoice({ audio }: RealtimeSessionObject, { voice }: RealtimeSessionParts): void {
  const wanted = audio.output.voice
  try {
    voice?.(typeof wanted === "string" ? wanted : wanted.id)
  } catch {
    const expected = "session.audio.output.voice: expected a known voice, got another (GET /v1/audio/voices lists them)"
    throw fail("invalid_value", expected, "session.audio.output.voice")
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
