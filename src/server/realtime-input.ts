/** @file The sound of a Realtime session on its way to the engine: turns that the client commits, and turns that the engine finds. */
import { concatPcm } from "../audio/index.ts"
import type { CallEvent } from "../session/index.ts"
import type { RealtimeAnswers } from "./realtime-answers.ts"
import { rateOf } from "./realtime-audio.ts"
import type { SessionCall } from "./realtime-call.ts"
import type { RealtimeItems } from "./realtime-items.ts"
import { fail, newId, type SessionShared } from "./realtime-parts.ts"

/** Shorter turns are a slip of the client. */
const SHORTEST_TURN_MS = 100
const MAX_BUFFER_MS = 600_000

export class RealtimeInput {
  readonly #shared: SessionShared
  readonly #items: RealtimeItems
  readonly #call: SessionCall
  readonly #answers: RealtimeAnswers
  /** Sound of the turn that the client will commit. */
  #manual: Float32Array[] = []
  #manualMs = 0
  #speechItem: string | undefined
  #speechStartMs = 0
  /** Sound that was sent since the session began. */
  clockMs = 0

  constructor(shared: SessionShared, items: RealtimeItems, call: SessionCall, answers: RealtimeAnswers) {
    this.#shared = shared
    this.#items = items
    this.#call = call
    this.#answers = answers
  }

  /** @throws RealtimeInputError when too much is uncommitted */
  append(pcm: Float32Array): void {
    if (pcm.length === 0) return
    const { input } = this.#shared.settings.audio
    const ms = (pcm.length * 1000) / rateOf(input.format)
    if (input.turn_detection === null) {
      const most = this.#shared.parts.maxBufferMs ?? MAX_BUFFER_MS
      const expected = `input_audio_buffer: expected at most ${most} ms, got more (commit or clear)`
      if (this.#manualMs + ms > most) throw fail("invalid_value", expected, "audio")
      this.#manual.push(pcm)
      this.#manualMs += ms
    } else this.#call.enqueue((call) => call.push({ pcm }))
    this.clockMs += ms
  }

  clear(eventId?: string): void {
    this.#dropManual()
    if (this.#call.isOpen) this.#call.enqueue((call) => call.clear(), eventId)
    this.#shared.send({ type: "input_audio_buffer.cleared" })
  }

  /** @throws RealtimeInputError when there is next to nothing to commit */
  commit(): void {
    if (this.#shared.settings.audio.input.turn_detection !== null && this.#speechItem !== undefined) {
      this.#commitTurn(this.#takeSpeechItem())
      return
    }
    if (this.#manualMs < SHORTEST_TURN_MS) {
      const got = `${Math.round(this.#manualMs)} ms`
      const expected = `input_audio_buffer: expected at least ${SHORTEST_TURN_MS} ms, got ${got} (append sound)`
      throw fail("input_audio_buffer_commit_empty", expected)
    }
    const pcm = concatPcm(this.#manual)
    this.#dropManual()
    this.#call.enqueue((call) => call.push({ pcm }))
    this.#commitTurn(newId("item"))
  }

  /** The engine heard speech begin. */
  speechStart({ startMs }: Extract<CallEvent, { type: "speech-start" }>): void {
    const turns = this.#shared.settings.audio.input.turn_detection
    if (turns === null) return
    this.#speechItem = newId("item")
    this.#speechStartMs = this.#call.startMs + startMs
    const audio_start_ms = Math.max(0, Math.round(this.#speechStartMs))
    this.#shared.send({ type: "input_audio_buffer.speech_started", audio_start_ms, item_id: this.#speechItem })
    const { active } = this.#answers
    if (active && turns.interrupt_response !== false) this.#answers.stop(active, "turn_detected")
  }

  /** The engine heard speech end. */
  speechEnd({ endMs }: Extract<CallEvent, { type: "speech-end" }>): void {
    const turns = this.#shared.settings.audio.input.turn_detection
    if (turns === null || this.#speechItem === undefined) return
    const item_id = this.#takeSpeechItem()
    const audio_end_ms = Math.max(0, Math.round(this.#call.startMs + endMs))
    this.#shared.send({ type: "input_audio_buffer.speech_stopped", audio_end_ms, item_id })
    this.#endTurn(item_id, turns.create_response !== false)
  }

  /** Nobody spoke for the time that the client set: the assistant says something. */
  idle({ atMs }: Extract<CallEvent, { type: "idle" }>): void {
    if (this.#shared.settings.audio.input.turn_detection === null || this.#answers.active) return
    const audio_end_ms = Math.round(this.#call.startMs + atMs)
    const audio_start_ms = Math.min(audio_end_ms, Math.round(this.#speechStartMs))
    const item_id = newId("item")
    this.#shared.send({ type: "input_audio_buffer.timeout_triggered", audio_start_ms, audio_end_ms, item_id })
    this.#endTurn(item_id, true)
  }

  #dropManual(): void {
    this.#manual = []
    this.#manualMs = 0
  }

  #takeSpeechItem(): string {
    const id = this.#speechItem ?? newId("item")
    this.#speechItem = undefined
    return id
  }

  #endTurn(id: string, reply: boolean): void {
    this.#commitTurn(id)
    if (reply && this.#shared.settings.type !== "transcription") this.#answers.reply()
  }

  #commitTurn(id: string): void {
    const previous_item_id = this.#items.all.at(-1)?.id ?? null
    this.#shared.send({ type: "input_audio_buffer.committed", previous_item_id, item_id: id })
    this.#items.add({
      ...{ id, object: "realtime.item", type: "message", role: "user", status: "completed" },
      content: [{ type: "input_audio", transcript: null }],
    })
  }
}
