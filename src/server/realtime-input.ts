/**
 * @file The sound of a Realtime session on its way to the engine, which hears it while it is spoken: turns that the client
 * commits, and turns that the engine finds.
 */
import type { CallEvent, Sound } from "../session/index.ts"
import { RecentSound } from "./item-sounds.ts"
import type { RealtimeAnswers } from "./realtime-answers.ts"
import { rateOf } from "./realtime-audio.ts"
import type { SessionCall } from "./realtime-call.ts"
import type { RealtimeItems } from "./realtime-items.ts"
import { fail, newId, type SessionShared } from "./realtime-parts.ts"
import { hasExtension } from "./realtime-settings.ts"
import type { RealtimeTranscripts } from "./realtime-transcripts.ts"

/** Shorter turns are a slip of the client. */
const SHORTEST_TURN_MS = 100
const MAX_BUFFER_MS = 600_000
/** Sound of a turn that is not over which another call is given at most: as much as the engine holds. */
const MAX_AGAIN_MS = 60_000

/** Sound for a call that takes over. */
export type Uncommitted = {
  readonly sound: Sound
  /** Where it begins on the session's clock. */
  readonly clockMs: number
  /** Whether it is all that was said. */
  readonly isWhole: boolean
}

type Others = {
  readonly items: RealtimeItems
  readonly call: SessionCall
  readonly answers: RealtimeAnswers
  readonly transcripts: RealtimeTranscripts
}

export class RealtimeInput {
  readonly #shared: SessionShared
  readonly #others: Others
  /** The turn that the client will commit; it was given to the call as it came. */
  readonly #open: RecentSound
  #openMs = 0
  readonly #recent = new RecentSound()
  #speechItem: string | undefined
  #speechStartMs = 0
  /** Sound before this belongs to turns that are over, or was cleared. */
  #settledMs = 0

  constructor(shared: SessionShared, others: Others) {
    this.#shared = shared
    this.#others = others
    this.#open = new RecentSound(shared.parts.maxBufferMs ?? MAX_BUFFER_MS)
  }

  /** @throws RealtimeInputError when too much is uncommitted */
  append(pcm: Float32Array): void {
    if (pcm.length === 0) return
    const { input } = this.#shared.settings.audio
    const rateHz = rateOf(input.format)
    const clockMs = this.#recent.endMs
    if (input.turn_detection === null) {
      const ms = (pcm.length * 1000) / rateHz
      const most = this.#shared.parts.maxBufferMs ?? MAX_BUFFER_MS
      const expected = `input_audio_buffer: expected at most ${most} ms, got more (commit or clear)`
      if (this.#openMs + ms > most) throw fail("invalid_value", expected, "audio")
      this.#give(pcm, rateHz, clockMs)
      this.#open.push(pcm, rateHz)
      this.#openMs += ms
      this.#recent.skip(ms)
      return
    }
    this.#give(pcm, rateHz, clockMs)
    this.#recent.push(pcm, rateHz)
  }

  /** A call that opens for it does not know it yet. */
  #give(pcm: Float32Array, sampleRateHz: number, clockMs: number): void {
    if (this.#needsCall) this.#others.call.push({ pcm, sampleRateHz }, clockMs)
  }

  /** Nobody answers in a transcription session: its call only finds turns. */
  get #needsCall(): boolean {
    const { type, audio } = this.#shared.settings
    return type === "realtime" || audio.input.turn_detection !== null
  }

  clear(eventId?: string): void {
    this.turnsChanged()
    if (this.#others.call.isOpen) this.#others.call.clear(undefined, eventId)
    this.#shared.send({ type: "input_audio_buffer.cleared" })
  }

  /**
   * Does something that comes before the turn that is not over: the call forgets its sound, and hears it again afterwards.
   * The work must begin with the call's commands at once.
   */
  beforeOpenTurn(work: () => void): void {
    const { call } = this.#others
    const open = this.isMidTurn && call.isOpen ? this.uncommitted(this.#recent.endMs) : undefined
    // Where everything is perceived, what was seen would be forgotten as well.
    const isStream = !this.hasOpenTurn && hasExtension(this.#shared.settings, "omni.video")
    if (!open?.isWhole || isStream) {
      work()
      return
    }
    try {
      call.clear(work)
    } finally {
      call.push(open.sound, open.clockMs)
    }
  }

  /** Whether a turn of the client is open, or speech goes on. */
  get isMidTurn(): boolean {
    return this.hasOpenTurn || this.#speechItem !== undefined
  }

  /** Whether there is sound that the client will commit. */
  get hasOpenTurn(): boolean {
    return this.#openMs > 0
  }

  /**
   * Sound that no item has, for a call that does not know it: of a turn that is not over, or that no call has listened to.
   * @param fromMs calls found all speech that began before
   */
  uncommitted(fromMs: number): Uncommitted | undefined {
    if (!this.#needsCall) return undefined
    const { endMs } = this.#recent
    if (this.#shared.settings.audio.input.turn_detection === null) {
      const sound = this.#openSound
      return sound && { sound, clockMs: endMs - this.#openMs, isWhole: true }
    }
    const isSpeaking = this.#speechItem !== undefined
    const wantedMs = isSpeaking ? this.#speechStartMs : Math.max(this.#settledMs, fromMs)
    const sound = this.#recent.cut(Math.max(wantedMs, endMs - MAX_AGAIN_MS), endMs)
    return sound && { sound, clockMs: sound.startMs, isWhole: sound.startMs <= wantedMs }
  }

  get #openSound(): Sound | undefined {
    return this.hasOpenTurn ? this.#open.cut(0, Number.POSITIVE_INFINITY) : undefined
  }

  #takeOpen(): Sound | undefined {
    const sound = this.#openSound
    this.#open.clear()
    this.#openMs = 0
    return sound
  }

  /** @throws RealtimeInputError when there is next to nothing to commit */
  commit(): void {
    if (this.commitSpeech()) return
    if (this.#openMs < SHORTEST_TURN_MS) {
      const got = `${Math.round(this.#openMs)} ms`
      const expected = `input_audio_buffer: expected at least ${SHORTEST_TURN_MS} ms, got ${got} (append sound)`
      throw fail("input_audio_buffer_commit_empty", expected)
    }
    this.#commitTurn(newId("item"), this.#takeOpen())
  }

  /** Ends the speech that the engine hears, by hand. @returns whether there was some */
  commitSpeech(): boolean {
    if (this.#shared.settings.audio.input.turn_detection === null || this.#speechItem === undefined) return false
    this.#settledMs = this.#recent.endMs
    this.#commitTurn(this.#takeSpeechItem(), this.#recent.cut(this.#speechStartMs, this.#recent.endMs))
    return true
  }

  /** Turns are found, or committed, in another way from now on: none goes on. */
  turnsChanged(): void {
    this.#takeOpen()
    this.#speechItem = undefined
    this.#settledMs = this.#recent.endMs
  }

  /** The engine heard speech begin. */
  speechStart({ startMs }: Extract<CallEvent, { type: "speech-start" }>): void {
    const turns = this.#shared.settings.audio.input.turn_detection
    // A call that took over in the middle of speech finds its beginning again.
    if (turns === null || this.#speechItem !== undefined) return
    this.#speechItem = newId("item")
    this.#speechStartMs = Math.max(0, this.#others.call.startMs + startMs)
    const audio_start_ms = Math.round(this.#speechStartMs)
    this.#shared.send({ type: "input_audio_buffer.speech_started", audio_start_ms, item_id: this.#speechItem })
    const { active } = this.#others.answers
    if (active && turns.interrupt_response !== false) this.#others.answers.stop(active, "turn_detected")
  }

  /** The engine heard speech end. */
  speechEnd({ endMs }: Extract<CallEvent, { type: "speech-end" }>): void {
    const turns = this.#shared.settings.audio.input.turn_detection
    if (turns === null || this.#speechItem === undefined) return
    const item_id = this.#takeSpeechItem()
    const speechEndMs = Math.max(0, this.#others.call.startMs + endMs)
    this.#settledMs = speechEndMs
    this.#shared.send({
      type: "input_audio_buffer.speech_stopped",
      ...{ audio_end_ms: Math.round(speechEndMs), item_id },
    })
    this.#endTurn(item_id, turns.create_response !== false, this.#recent.cut(this.#speechStartMs, speechEndMs))
  }

  /** Nobody spoke for the time that the client set: the assistant says something. */
  idle({ atMs }: Extract<CallEvent, { type: "idle" }>): void {
    const { answers, call } = this.#others
    if (this.#shared.settings.audio.input.turn_detection === null || answers.active) return
    const audio_end_ms = Math.max(0, Math.round(call.startMs + atMs))
    const audio_start_ms = Math.min(audio_end_ms, Math.round(this.#speechStartMs))
    const item_id = newId("item")
    this.#shared.send({ type: "input_audio_buffer.timeout_triggered", audio_start_ms, audio_end_ms, item_id })
    this.#endTurn(item_id, true, undefined)
  }

  #takeSpeechItem(): string {
    const id = this.#speechItem ?? newId("item")
    this.#speechItem = undefined
    return id
  }

  #endTurn(id: string, reply: boolean, sound: Sound | undefined): void {
    this.#commitTurn(id, sound)
    if (reply && this.#shared.settings.type !== "transcription") this.#others.answers.reply()
  }

  #commitTurn(id: string, sound: Sound | undefined): void {
    const { items, call, transcripts } = this.#others
    if (call.isOpen) void call.enqueue(async (open) => ({ rest: open.keep() }))
    if (sound) items.sounds.set(id, sound)
    const previous_item_id = items.all.at(-1)?.id ?? null
    this.#shared.send({ type: "input_audio_buffer.committed", previous_item_id, item_id: id })
    items.add({
      ...{ id, object: "realtime.item", type: "message", role: "user", status: "completed" },
      content: [{ type: "input_audio", transcript: null }],
    })
    if (sound) transcripts.start(id, sound)
  }
}
