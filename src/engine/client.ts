/** @file The engine from outside: typed calls over whatever carries the messages. */
import type { RunRecord } from "../runtime/index.ts"
import type {
  AnswerEvent,
  AppendedMessage,
  CallEvent,
  CallInput,
  CallOptions,
  CallSnapshot,
  ChatOptions,
  Interruption,
  RespondOptions,
} from "../session/index.ts"
import { BackendError } from "../util/index.ts"
import type { CallParts, Engine, EngineCall, EngineStats } from "./engine.ts"
import {
  type CallAction,
  type Command,
  type EngineEvent,
  errorFromData,
  type LoadOptions,
  type ModelInfo,
} from "./messages.ts"

/** Carries commands to a host and its events back. */
export type EnginePort<Load = LoadOptions> = {
  post(command: Command<Load>): void
  onEvent(listener: (event: EngineEvent) => void): void
  /** Called once when the host is gone, with the reason when it crashed. */
  onExit(listener: (reason: string) => void): void
  close(): Promise<void>
}

type Listener = (event: EngineEvent | { readonly type: "exit"; readonly reason: string }) => void

export class EngineClient<Load = LoadOptions> implements Engine {
  private readonly port: EnginePort<Load>
  private readonly listeners = new Map<number, Listener>()
  private nextId = 1
  private exitReason: string | undefined
  private loaded: ModelInfo | undefined

  constructor(port: EnginePort<Load>) {
    this.port = port
    port.onEvent((event) => this.listeners.get(event.id)?.(event))
    port.onExit((reason) => {
      this.exitReason = reason
      for (const listener of [...this.listeners.values()]) listener({ type: "exit", reason })
    })
  }

  /** The loaded model. @throws BackendError before one is loaded */
  get info(): ModelInfo {
    if (this.loaded) return this.loaded
    throw new BackendError("engine: expected a loaded model, got none (load one first)")
  }

  /** @throws what loading throws, or the signal's reason */
  async load(
    options: Load,
    { signal, onProgress }: { signal?: AbortSignal; onProgress?: (stage: string, fraction: number) => void } = {},
  ): Promise<ModelInfo> {
    for await (const event of this.command((id) => ({ type: "load", id, options }), signal)) {
      if (event.type === "progress") onProgress?.(event.stage, event.fraction)
      if (event.type !== "loaded") continue
      this.loaded = event.info
      return event.info
    }
    throw new BackendError("engine: expected the model to be loaded, got no answer")
  }

  /** The events of one answer. Leaving the loop early cancels it. */
  async *chat(options: ChatOptions, signal?: AbortSignal): AsyncGenerator<AnswerEvent, void, void> {
    yield* this.answers((id) => ({ type: "chat", id, options }), signal)
  }

  async call(options: CallOptions, { onEvent, snapshot, signal }: CallParts = {}): Promise<EngineCall> {
    const id = this.nextId++
    const listener = (event: CallEvent) => onEvent?.(event)
    const open = { type: "call" as const, id, options, ...(snapshot ? { snapshot } : {}) }
    await this.result(() => open, signal, id)
    // The call's own events come under the id that opened it.
    this.listeners.set(id, (event) => {
      if (event.type === "call-event") listener(event.event)
    })
    return new ClientCall(this, id)
  }

  async stats(): Promise<EngineStats> {
    return (await this.result((id) => ({ type: "stats", id }))) as EngineStats
  }

  /** What was run since the last time, when loading asked for it; times in milliseconds since 1970. */
  async trace(): Promise<RunRecord[]> {
    return (await this.result((id) => ({ type: "trace", id }))) as RunRecord[]
  }

  /** @internal */
  async act(call: number, action: CallAction, signal?: AbortSignal): Promise<unknown> {
    return await this.result((id) => ({ type: "act", id, call, action }), signal)
  }

  /** @internal */
  async *respond(call: number, options: RespondOptions, signal?: AbortSignal): AsyncGenerator<AnswerEvent, void, void> {
    yield* this.answers((id) => ({ type: "act", id, call, action: { type: "respond", options } }), signal)
  }

  /** @internal */
  forget(call: number): void {
    this.listeners.delete(call)
  }

  private async *answers(
    command: (id: number) => Command<Load>,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<AnswerEvent, void, void> {
    for await (const event of this.command(command, signal)) {
      if (event.type === "answer") yield event.event
    }
  }

  private async result(command: (id: number) => Command<Load>, signal?: AbortSignal, id?: number): Promise<unknown> {
    for await (const event of this.command(command, signal, id)) {
      if (event.type === "result") return event.value
    }
    throw new BackendError("engine: expected a result, got none")
  }

  async close(): Promise<void> {
    this.port.post({ type: "close" })
    await this.port.close()
  }

  private async *command(
    command: (id: number) => Command<Load>,
    signal: AbortSignal | undefined,
    id = this.nextId++,
  ): AsyncGenerator<EngineEvent, void, void> {
    signal?.throwIfAborted()
    if (this.exitReason !== undefined) throw new BackendError(`engine: expected a live engine, got: ${this.exitReason}`)
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
        ended = !["progress", "answer", "call-event"].includes(event.type)
        if (event.type === "exit") throw new BackendError(`engine: expected it to run on, got: ${event.reason}`)
        if (event.type === "error") {
          signal?.throwIfAborted()
          throw errorFromData(event.error)
        }
        if (event.type === "done") return
        yield event
        if (event.type === "loaded" || event.type === "result") return
      }
    } finally {
      signal?.removeEventListener("abort", cancel)
      this.listeners.delete(id)
      if (!ended) cancel()
    }
  }
}

/** What a call needs of its engine's client. */
type Carrier = Pick<EngineClient, "act" | "respond" | "forget">

/** A call on the other side of the port. */
class ClientCall implements EngineCall {
  private readonly client: Carrier
  private readonly id: number
  private closing: Promise<void> | undefined

  constructor(client: Carrier, id: number) {
    this.client = client
    this.id = id
  }

  async push(input: CallInput): Promise<void> {
    await this.client.act(this.id, { type: "push", input })
  }

  async append(message: AppendedMessage): Promise<void> {
    await this.client.act(this.id, { type: "append", message })
  }

  async *respond(options: RespondOptions = {}, signal?: AbortSignal): AsyncGenerator<AnswerEvent, void, void> {
    yield* this.client.respond(this.id, options, signal)
  }

  async interrupt({ heardMs }: { readonly heardMs?: number } = {}): Promise<Interruption> {
    const action = { type: "interrupt" as const, ...(heardMs === undefined ? {} : { heardMs }) }
    return (await this.client.act(this.id, action)) as Interruption
  }

  async keep(): Promise<void> {
    await this.client.act(this.id, { type: "keep" })
  }

  async clear(): Promise<void> {
    await this.client.act(this.id, { type: "clear" })
  }

  async snapshot(): Promise<CallSnapshot> {
    return (await this.client.act(this.id, { type: "snapshot" })) as CallSnapshot
  }

  /** Once: later calls wait for the first. */
  close(): Promise<void> {
    this.closing ??= this.client
      .act(this.id, { type: "hang-up" })
      .then(() => {})
      .finally(() => this.client.forget(this.id))
    return this.closing
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }
}
