/**
 * @file What the user said, written down beside the conversation: questions of their own that never change what the model
 * hears. One after another, and never before the answer to the turn: that is what a person waits for.
 */
import { type ChatOptions, type Sound, transcribe } from "../session/index.ts"
import type { RealtimeAnswers } from "./realtime-answers.ts"
import type { RealtimeItems } from "./realtime-items.ts"
import type { SessionShared } from "./realtime-parts.ts"

/** Turns that may wait to be written down. */
const MAX_WAITING = 8
const EVENT = "conversation.item.input_audio_transcription"

export class RealtimeTranscripts {
  readonly #shared: SessionShared
  readonly #items: RealtimeItems
  readonly #answers: RealtimeAnswers
  readonly #stop = new AbortController()
  #queue: Promise<void> = Promise.resolve()
  #waiting = 0

  constructor(shared: SessionShared, items: RealtimeItems, answers: RealtimeAnswers) {
    this.#shared = shared
    this.#items = items
    this.#answers = answers
  }

  /** Resolves when everything is written down. */
  get idle(): Promise<void> {
    return this.#queue
  }

  close(): void {
    this.#stop.abort()
  }

  /** Writes an item down, if the session wants that. */
  start(itemId: string, sound: Sound | undefined): void {
    const wanted = this.#shared.settings.audio.input.transcription
    if (wanted === null) return
    if (!sound || this.#waiting >= MAX_WAITING) {
      this.#failed(itemId, sound ? "too_many_turns" : "sound_lost")
      return
    }
    this.#waiting++
    this.#queue = this.#queue
      .then(async () => {
        await this.#answers.active?.finished
        if (!this.#shared.closed) await this.#write(itemId, sound, wanted)
      })
      .catch(() => this.#failed(itemId, "transcription_failed"))
      .finally(() => this.#waiting--)
  }

  async #write(
    item_id: string,
    sound: Sound,
    { language, prompt: hint }: { language?: string | undefined; prompt?: string | undefined },
  ): Promise<void> {
    const { parts, send } = this.#shared
    let transcript = ""
    const ask = (question: ChatOptions) => parts.engine.chat(question, this.#stop.signal)
    for await (const piece of transcribe(ask, sound, { language, hint })) {
      if (typeof piece !== "string" || piece === "") continue
      transcript += piece
      send({ type: `${EVENT}.delta`, item_id, content_index: 0, delta: piece })
    }
    const seconds = sound.pcm.length / sound.sampleRateHz
    this.#items.transcribed(item_id, transcript)
    send({
      type: `${EVENT}.completed`,
      ...{ item_id, content_index: 0, transcript, usage: { type: "duration" as const, seconds } },
    })
  }

  #failed(item_id: string, code: string): void {
    const message = "realtime: expected a transcript, got none (the conversation goes on)"
    const error = { type: "server_error", code, message, param: null }
    this.#shared.send({ type: `${EVENT}.failed`, item_id, content_index: 0, error })
  }
}
