/**
 * @file The engine call behind a Realtime session: opened with the settings of now, replaced when they ask for another one,
 * and given commands one after another.
 */
import type { EngineCall } from "../engine/index.ts"
import { RealtimeInputError } from "../protocol/index.ts"
import type { CallEvent } from "../session/index.ts"
import { textOf } from "./realtime-context.ts"
import type { RealtimeItems } from "./realtime-items.ts"
import type { SessionShared } from "./realtime-parts.ts"
import { callOptions } from "./realtime-settings.ts"

export class SessionCall {
  readonly #shared: SessionShared
  readonly #items: RealtimeItems
  readonly #onEvent: (event: CallEvent) => void
  readonly #clockMs: () => number
  #call: Promise<EngineCall> | undefined
  #key = ""
  #queue: Promise<void> = Promise.resolve()
  #unread = 0
  /** Where the session's clock stood when the call began. */
  startMs = 0

  constructor(
    shared: SessionShared,
    items: RealtimeItems,
    { onEvent, clockMs }: { onEvent: (event: CallEvent) => void; clockMs: () => number },
  ) {
    this.#shared = shared
    this.#items = items
    this.#onEvent = onEvent
    this.#clockMs = clockMs
  }

  /** Pieces of work that the engine has not taken yet. */
  get unread(): number {
    return this.#unread
  }

  get isOpen(): boolean {
    return this.#call !== undefined
  }

  /** Resolves when what was asked so far is done. */
  get idle(): Promise<void> {
    return this.#queue
  }

  /** Does work with the call when all before it is done; its failure becomes an `error` event. */
  enqueue(work: (call: EngineCall) => Promise<void>, eventId?: string): void {
    this.#unread++
    this.#queue = this.#queue
      .then(async () => {
        if (!this.#shared.closed) await work(await this.open())
      })
      .catch((error: unknown) => {
        this.#shared.tell(error, eventId ?? null)
        if (!(error instanceof RealtimeInputError)) this.drop()
      })
      .finally(() => this.#unread--)
  }

  /** The call with the settings of now. Another one replaces it when they ask for it, and gets the conversation's text. */
  open(): Promise<EngineCall> {
    const { settings, parts } = this.#shared
    const { voice } = settings.audio.output
    const options = callOptions(settings, parts.voice?.(typeof voice === "string" ? voice : voice.id))
    const key = JSON.stringify({ ...options, voice })
    if (this.#call && key === this.#key) return this.#call
    this.drop()
    this.#key = key
    this.startMs = this.#clockMs()
    const made = this.#make(options)
    this.#call = made
    return made
  }

  async #make(options: ReturnType<typeof callOptions>): Promise<EngineCall> {
    const history = this.#items.all.filter((item) => item.status !== "in_progress")
    const call = await this.#shared.parts.engine.call(options, { onEvent: this.#onEvent })
    for (const item of history) {
      const text = textOf(item)
      if (text === "" || item.type === "function_call") continue
      const role = item.type === "function_call_output" ? "tool" : item.role === "assistant" ? "assistant" : "user"
      await call.append({ role, text })
    }
    if (history.length > 0) this.#shared.send({ type: "omni.context.changed", reason: "rebuilt" })
    return call
  }

  /** The next command gets a new call. */
  drop(): void {
    const call = this.#call
    this.#call = undefined
    void call?.then((open) => open.close()).catch(() => undefined)
  }

  async close(): Promise<void> {
    await this.#call?.then((open) => open.close()).catch(() => undefined)
  }
}
