/** @file The chat: messages, one answer at a time, read aloud when asked for. */
import { pcmFromBase64 } from "../audio/base64.ts"
import { Sound } from "../audio/sound.ts"
import { type CallSettings, instructionsOf } from "../call/settings.ts"
import { concatPcm, writeWav } from "../omni.ts"
import { ServerError, type ServerFailure } from "../server/api.ts"
import { createStore } from "../store.ts"
import { type Attachment, dropAttachment } from "./attachments.ts"
import { type ChatMessage, streamChat } from "./chat-api.ts"

const SPOKEN_HZ = 24_000

export type ChatLine = {
  readonly id: number
  readonly role: "user" | "assistant"
  readonly text: string
  readonly attachments: readonly Attachment[]
  readonly state: "open" | "done" | "stopped" | "failed"
}

export type ChatState = {
  readonly lines: readonly ChatLine[]
  readonly busy: boolean
  readonly failure: { readonly kind: ServerFailure; readonly message: string } | undefined
  readonly firstTextMs: number | undefined
  /** Sound of the answers so far. */
  readonly spokenMs: number
}

const EMPTY: ChatState = { lines: [], busy: false, failure: undefined, firstTextMs: undefined, spokenMs: 0 }

export class ChatController {
  readonly state = createStore<ChatState>(EMPTY)
  #abort: AbortController | undefined
  #sound: Promise<Sound> | undefined
  #speaking: string | undefined
  #spoken: Float32Array[] = []
  #nextId = 1

  /** Sends a message and streams its answer. */
  async send(text: string, attachments: readonly Attachment[], settings: CallSettings, aloud: boolean): Promise<void> {
    if (this.state.get().busy || (text.trim() === "" && attachments.length === 0)) return
    await this.#hush()
    this.#add({ role: "user", text: text.trim(), attachments, state: "done" })
    await this.#answer(settings, aloud)
  }

  /** Asks once more what got no answer. */
  async retry(settings: CallSettings, aloud: boolean): Promise<void> {
    const { busy, lines } = this.state.get()
    if (busy || lines.at(-1)?.state !== "failed") return
    await this.#hush()
    this.#set({ lines: lines.slice(0, -1) })
    await this.#answer(settings, aloud)
  }

  async #answer(settings: CallSettings, aloud: boolean): Promise<void> {
    const messages = this.#messages(settings)
    const id = this.#add({ role: "assistant", text: "", attachments: [], state: "open" })
    const abort = new AbortController()
    this.#abort = abort
    this.#set({ busy: true, failure: undefined, firstTextMs: undefined })
    const beganAtMs = performance.now()
    const item = `chat-${id}`
    try {
      const request = { messages, ...(aloud ? { voice: settings.voice } : {}) }
      for await (const delta of streamChat(request, abort.signal)) {
        if (delta.text !== undefined && delta.text !== "") {
          if (this.state.get().firstTextMs === undefined) this.#set({ firstTextMs: performance.now() - beganAtMs })
          this.#change(id, (line) => ({ ...line, text: line.text + delta.text }))
        }
        if (delta.audio !== undefined) await this.#play(item, delta.audio)
      }
      if (aloud) (await this.#sound)?.end(item)
      this.#change(id, (line) => ({ ...line, state: "done" }))
    } catch (error) {
      if (abort.signal.aborted) this.#change(id, (line) => ({ ...line, state: "stopped" }))
      else {
        const failure = error instanceof ServerError ? error : new ServerError("away", "")
        this.#change(id, (line) => ({ ...line, state: "failed" }))
        this.#set({ failure: { kind: failure.kind, message: failure.message } })
      }
    } finally {
      this.#set({ busy: false })
    }
  }

  /** Ends the answer that is being written or read aloud. */
  async stop(): Promise<void> {
    this.#abort?.abort()
    await this.#hush()
  }

  async clear(): Promise<void> {
    await this.stop()
    for (const { attachments } of this.state.get().lines) for (const one of attachments) dropAttachment(one)
    this.#spoken = []
    this.state.set(EMPTY)
  }

  /** What was read aloud, as a WAV file. */
  wav(): Uint8Array<ArrayBuffer> {
    return writeWav(concatPcm(this.#spoken), { sampleRateHz: SPOKEN_HZ })
  }

  dismiss(): void {
    this.#set({ failure: undefined })
  }

  /** The server answers, and takes the access key: what was said about that is over. */
  reached(unlocked: boolean): void {
    const kind = this.state.get().failure?.kind
    if (kind === "away" || (kind === "locked" && unlocked)) this.dismiss()
  }

  async #play(item: string, audio: string): Promise<void> {
    this.#sound ??= Sound.open(undefined, {})
    this.#speaking = item
    const pcm = pcmFromBase64(audio)
    this.#spoken.push(pcm)
    this.#set({ spokenMs: this.state.get().spokenMs + (pcm.length * 1000) / SPOKEN_HZ })
    const sound = await this.#sound
    sound.play(item, audio)
  }

  async #hush(): Promise<void> {
    const item = this.#speaking
    this.#speaking = undefined
    if (item !== undefined) await (await this.#sound)?.flush(item)
  }

  /** The conversation as the server wants it; attachments before the words about them. */
  #messages(settings: CallSettings): ChatMessage[] {
    const system = instructionsOf(settings)
    const messages: ChatMessage[] = system === "" ? [] : [{ role: "system", content: system }]
    for (const { role, text, attachments, state } of this.state.get().lines) {
      if (state === "failed" || (role === "assistant" && text === "")) continue
      const parts = attachments.flatMap((one) => one.parts)
      if (role === "assistant" || parts.length === 0) messages.push({ role, content: text })
      else messages.push({ role, content: text === "" ? parts : [...parts, { type: "text", text }] })
    }
    return messages
  }

  #add(line: Omit<ChatLine, "id">): number {
    const id = this.#nextId++
    this.#set({ lines: [...this.state.get().lines, { ...line, id }] })
    return id
  }

  #change(id: number, change: (line: ChatLine) => ChatLine): void {
    this.#set({ lines: this.state.get().lines.map((line) => (line.id === id ? change(line) : line)) })
  }

  #set(change: Partial<ChatState>): void {
    this.state.set({ ...this.state.get(), ...change })
  }
}
