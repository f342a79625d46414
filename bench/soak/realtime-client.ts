/**
 * @file A Realtime client for load: it speaks at the pace of speech or stays silent, asks after an item now and then, and keeps
 * account of everything that must have come. Plain JSON, as a stranger's client would have it.
 */
import { setTimeout as sleep } from "node:timers/promises"
import { WebSocket } from "ws"

const CHUNK_MS = 100

type Event = { readonly type: string; readonly [field: string]: unknown }
type Answer = { bytes: number; words: string; wholeWords?: string; done?: string; audioMs?: number }

export class LoadClient {
  readonly socket: WebSocket
  /** Milliseconds from a question to its answer, for questions that take no model. */
  readonly latenciesMs: number[] = []
  /** Milliseconds from the end of a turn, as it was told, to the first sound of its answer. */
  readonly firstSoundMs: number[] = []
  /** Time of an answer by the length of its sound. */
  readonly realTimeFactors: number[] = []
  turns = 0
  readonly #asked: number[] = []
  readonly #answers = new Map<string, Answer>()
  readonly #failures: string[] = []
  readonly #ready: Promise<void>
  #committed = 0
  #speaking: boolean = false as boolean
  #turnEndedAt: number | undefined

  constructor(url: string, key: string) {
    this.socket = new WebSocket(`${url}?queue=true`, { headers: { authorization: `Bearer ${key}` } })
    this.socket.on("error", (error) => this.#failures.push(`socket: ${error.message}`))
    this.#ready = new Promise((resolve) => {
      this.socket.on("message", (data: Buffer) => {
        const event = JSON.parse(data.toString("utf8")) as Event
        this.#take(event)
        if (event.type === "conversation.item.done") resolve()
      })
    })
  }

  /** Opens the session, with one item to ask after. */
  async open(): Promise<void> {
    await new Promise<void>((resolve) => this.socket.once("open", () => resolve()))
    const session = { type: "realtime", max_output_tokens: 40, extensions: ["omni.timing"] }
    const item = { id: "known", type: "message", role: "system", content: [{ type: "input_text", text: "Be brief." }] }
    this.send({ type: "session.update", session }, { type: "conversation.item.create", item })
    await this.#ready
  }

  send(...events: object[]): void {
    for (const event of events) this.socket.send(JSON.stringify(event))
  }

  /** Asks after the known item, every so often, until the signal. */
  async ask(everyMs: number, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      this.#asked.push(performance.now())
      this.send({ type: "conversation.item.retrieve", item_id: "known" })
      await sleep(everyMs, undefined, { signal }).catch(() => undefined)
    }
  }

  /** Speaks turn after turn at the pace of speech, until the signal. @param turn 16-bit samples at 24 kHz, pauses included */
  async speak(turn: Buffer, signal: AbortSignal): Promise<void> {
    const size = 48 * CHUNK_MS
    let due = performance.now()
    while (!signal.aborted) {
      for (let at = 0; at < turn.length && !signal.aborted; at += size) {
        this.send({ type: "input_audio_buffer.append", audio: turn.subarray(at, at + size).toString("base64") })
        due += CHUNK_MS
        await sleep(Math.max(0, due - performance.now()), undefined, { signal }).catch(() => undefined)
      }
    }
  }

  /** Lets answers end, leaves, and says what went wrong. */
  async close(): Promise<string[]> {
    const open = () => [...this.#answers.values()].some(({ done }) => done === undefined) || this.#asked.length > 0
    for (let i = 0; i < 300 && open(); i++) await sleep(50)
    this.socket.close()
    return [...this.#failures, ...this.#missing()]
  }

  #missing(): string[] {
    const found: string[] = []
    if (this.#asked.length > 0) found.push(`${this.#asked.length} questions without an answer`)
    if (this.#committed !== this.turns) found.push(`${this.turns} turns, ${this.#committed} committed`)
    for (const { done, words, wholeWords, bytes, audioMs } of this.#answers.values()) {
      if (done === undefined) found.push("an answer without its end")
      if (wholeWords !== undefined && wholeWords !== words) found.push("words that are not the sum of their pieces")
      if (done !== "completed" && done !== "incomplete") continue
      if (audioMs !== undefined && Math.abs(bytes / 48 - audioMs) > 1) found.push("less sound than there was")
    }
    return found
  }

  #take(event: Event): void {
    const id = event.response_id as string
    switch (event.type) {
      case "conversation.item.retrieved": {
        const at = this.#asked.shift()
        if (at === undefined) this.#failures.push("an answer without a question")
        else this.latenciesMs.push(performance.now() - at)
        return
      }
      case "input_audio_buffer.speech_started":
        if (this.#speaking) this.#failures.push("speech started twice")
        this.#speaking = true
        return
      case "input_audio_buffer.speech_stopped":
        if (!this.#speaking) this.#failures.push("speech stopped without its start")
        this.#speaking = false
        this.turns++
        this.#turnEndedAt = performance.now()
        return
      case "input_audio_buffer.committed":
        this.#committed++
        return
      case "response.created":
        this.#answers.set((event.response as { id: string }).id, { bytes: 0, words: "" })
        return
      case "response.output_audio.delta": {
        if (this.#turnEndedAt !== undefined) this.firstSoundMs.push(performance.now() - this.#turnEndedAt)
        this.#turnEndedAt = undefined
        const text = event.delta as string
        this.#answer(id).bytes += (text.length * 3) / 4 - (text.endsWith("==") ? 2 : text.endsWith("=") ? 1 : 0)
        return
      }
      case "response.output_audio_transcript.delta":
        this.#answer(id).words += event.delta as string
        return
      case "response.output_audio_transcript.done":
        this.#answer(id).wholeWords = event.transcript as string
        return
      case "response.done": {
        const { id: ended, status } = event.response as { id: string; status: string }
        const answer = this.#answer(ended)
        if (answer.done !== undefined) this.#failures.push("an answer that ended twice")
        answer.done = status
        if (status === "failed") this.#failures.push("an answer that failed")
        return
      }
      case "omni.response.timing": {
        this.#answer(id).audioMs = event.audio_ms as number
        if (typeof event.real_time_factor === "number") this.realTimeFactors.push(event.real_time_factor)
        return
      }
      case "error":
        this.#failures.push(`error: ${(event.error as { code: string }).code}`)
        return
      default:
    }
  }

  #answer(id: string): Answer {
    const answer = this.#answers.get(id)
    if (answer) return answer
    this.#failures.push("an event of an answer before its beginning")
    const made = { bytes: 0, words: "" }
    this.#answers.set(id, made)
    return made
  }
}
