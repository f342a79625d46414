/** @file The engine from outside: typed calls over whatever carries the messages. */
import type { TextChatEvent, TextChatOptions } from "../session/index.ts"
import { BackendError } from "../util/index.ts"
import { type Command, type EngineEvent, errorFromData, type LoadOptions, type ModelInfo } from "./messages.ts"

/** Carries commands to a host and its events back. */
export type EnginePort = {
  post(command: Command): void
  onEvent(listener: (event: EngineEvent) => void): void
  /** Called once when the host is gone, with the reason when it crashed. */
  onExit(listener: (reason: string) => void): void
  close(): Promise<void>
}

type Listener = (event: EngineEvent | { readonly type: "exit"; readonly reason: string }) => void

export class EngineClient {
  private readonly port: EnginePort
  private readonly listeners = new Map<number, Listener>()
  private nextId = 1
  private exitReason: string | undefined

  constructor(port: EnginePort) {
    this.port = port
    port.onEvent((event) => this.listeners.get(event.id)?.(event))
    port.onExit((reason) => {
      this.exitReason = reason
      for (const listener of [...this.listeners.values()]) listener({ type: "exit", reason })
    })
  }

  /** @throws what loading throws, or the signal's reason */
  async load(
    options: LoadOptions,
    { signal, onProgress }: { signal?: AbortSignal; onProgress?: (stage: string, fraction: number) => void } = {},
  ): Promise<ModelInfo> {
    for await (const event of this.call((id) => ({ type: "load", id, options }), signal)) {
      if (event.type === "progress") onProgress?.(event.stage, event.fraction)
      if (event.type === "loaded") return event.info
    }
    throw new BackendError("engine: expected the model to be loaded, got no answer")
  }

  /** The events of one answer. Leaving the loop early cancels it. */
  async *chat(options: TextChatOptions, signal?: AbortSignal): AsyncGenerator<TextChatEvent, void, void> {
    for await (const event of this.call((id) => ({ type: "chat", id, options }), signal)) {
      if (event.type === "chat") yield event.event
    }
  }

  async close(): Promise<void> {
    this.port.post({ type: "close" })
    await this.port.close()
  }

  private async *call(
    command: (id: number) => Command,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<EngineEvent, void, void> {
    signal?.throwIfAborted()
    if (this.exitReason !== undefined) throw new BackendError(`engine: expected a live engine, got: ${this.exitReason}`)
    const id = this.nextId++
    const waiting: Parameters<Listener>[0][] = []
    let wake = () => {}
    this.listeners.set(id, (event) => {
      waiting.push(event)
      wake()
    })
    const cancel = () => this.port.post({ type: "cancel", id })
    signal?.addEventListener("abort", cancel, { once: true })
    let ended = false
    try {
      this.port.post(command(id))
      for (;;) {
        const event = waiting.shift()
        if (!event) {
          await new Promise<void>((resolve) => {
            wake = resolve
          })
          continue
        }
        ended = event.type !== "progress" && event.type !== "chat"
        if (event.type === "exit") throw new BackendError(`engine: expected it to run on, got: ${event.reason}`)
        if (event.type === "error") {
          signal?.throwIfAborted()
          throw errorFromData(event.error)
        }
        if (event.type === "done") return
        yield event
        if (event.type === "loaded") return
      }
    } finally {
      signal?.removeEventListener("abort", cancel)
      this.listeners.delete(id)
      if (!ended) cancel()
    }
  }
}
