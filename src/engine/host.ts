/** @file The engine host: owns models and the step queue, obeys commands, posts events. One thread, no platform code. */
import type { RunRecord } from "../runtime/index.ts"
import type { AnswerEvent, Call, CallOptions, CallSnapshot, ChatOptions } from "../session/index.ts"
import { ConfigError, InputError, type Steps } from "../util/index.ts"
import { CallHost } from "./call-host.ts"
import type { EngineStats } from "./engine.ts"
import { type Command, type EngineEvent, errorToData, type LoadOptions, type ModelInfo } from "./messages.ts"
import { StepQueue } from "./step-queue.ts"

/** A loaded model as the host sees it. */
export type EngineModel = AsyncDisposable & {
  readonly info: ModelInfo
  chat(options: ChatOptions): AsyncGenerator<AnswerEvent | undefined, void, void>
  call(options: CallOptions, snapshot?: CallSnapshot): Steps<Call>
  /** What was run since the last time, when loading asked for it. */
  trace?(): readonly RunRecord[]
  /** What makes the model faster but need not be there to answer; run while nobody waits, once. */
  loadRest?(): AsyncGenerator<unknown, void, void>
}

export type EngineHostParts<Load = LoadOptions> = {
  readonly load: (
    options: Load,
    onProgress: (stage: string, fraction: number) => void,
    signal: AbortSignal,
  ) => Promise<EngineModel>
  readonly post: (event: EngineEvent) => void
  /** Resident memory of this process. */
  readonly memoryBytes?: () => number
  /** Lets messages in between two steps. */
  readonly breathe: () => Promise<void>
}

/** A command at work; `model` is the one that an answer comes from. */
type Running = {
  readonly controller: AbortController
  readonly model: EngineModel | undefined
  readonly ended: Promise<void>
}

export class EngineHost<Load = LoadOptions> {
  private readonly parts: EngineHostParts<Load>
  private readonly queue: StepQueue
  private readonly running = new Map<number, Running>()
  private readonly calls = new Map<number, { readonly host: CallHost; readonly model: EngineModel }>()
  private model: EngineModel | undefined
  /** Stops loading the rest of the model, and resolves when it has stopped. */
  private stopRest: () => Promise<void> = async () => {}

  constructor(parts: EngineHostParts<Load>) {
    this.parts = parts
    this.queue = new StepQueue(parts.breathe)
  }

  /** Obeys one command; failures become error events, never exceptions. */
  async handle(command: Command<Load>): Promise<void> {
    switch (command.type) {
      case "cancel":
        this.running.get(command.id)?.controller.abort(new DOMException("cancelled", "AbortError"))
        return
      case "close":
        for (const { controller } of this.running.values()) controller.abort(new DOMException("closed", "AbortError"))
        await this.settled(() => true)
        await this.stopRest()
        await this.model?.[Symbol.asyncDispose]()
        this.model = undefined
        return
      case "load":
        await this.attempt(command.id, undefined, (signal) => this.load(command.id, command.options, signal))
        return
      case "chat":
        await this.attempt(command.id, this.model, (signal) => this.chat(command.id, command.options, signal))
        return
      case "call":
        await this.attempt(command.id, this.model, (signal) => this.openCall(command, signal))
        return
      case "act":
        await this.attempt(command.id, this.calls.get(command.call)?.model, (signal) => this.act(command, signal))
        return
      case "trace":
        this.parts.post({ type: "result", id: command.id, value: this.model?.trace?.() ?? [] })
        return
      case "stats":
        this.parts.post({ type: "result", id: command.id, value: this.stats() })
        return
    }
  }

  private async attempt(
    id: number,
    model: EngineModel | undefined,
    work: (signal: AbortSignal) => Promise<void>,
  ): Promise<void> {
    const controller = new AbortController()
    const ended = work(controller.signal)
      .catch((error: unknown) => this.parts.post({ type: "error", id, error: errorToData(error) }))
      .finally(() => this.running.delete(id))
    this.running.set(id, { controller, model, ended })
    await ended
  }

  /** Waits for commands at work: a model must not be freed under a running step. */
  private async settled(selected: (command: Running) => boolean): Promise<void> {
    await Promise.all([...this.running.values()].filter(selected).map(({ ended }) => ended))
  }

  private async load(id: number, options: Load, signal: AbortSignal): Promise<void> {
    const onProgress = (stage: string, fraction: number) => this.parts.post({ type: "progress", id, stage, fraction })
    const model = await this.parts.load(options, onProgress, signal)
    if (signal.aborted) {
      await model[Symbol.asyncDispose]()
      throw signal.reason
    }
    const replaced = this.model
    for (const [call, { host, model: of }] of this.calls) {
      if (of !== replaced) continue
      this.calls.delete(call)
      await host.close()
    }
    const stopRest = this.stopRest
    this.model = model
    this.loadRest(model)
    this.parts.post({ type: "loaded", id, info: model.info })
    if (!replaced) return
    await this.settled((command) => command.model === replaced)
    await stopRest()
    await replaced[Symbol.asyncDispose]()
  }

  /** A failure is told to the answer that needs the rest: loading it starts anew there. */
  private loadRest(model: EngineModel): void {
    const controller = new AbortController()
    const steps = model.loadRest?.()
    const ended = steps
      ? this.queue.run(steps, undefined, controller.signal, "background").catch(() => {})
      : Promise.resolve()
    this.stopRest = async () => {
      controller.abort(new DOMException("closed", "AbortError"))
      await ended
    }
  }

  private loaded(): EngineModel {
    if (this.model) return this.model
    throw new ConfigError("engine: expected a loaded model, got none (load one first)")
  }

  private async chat(id: number, options: ChatOptions, signal: AbortSignal): Promise<void> {
    const onEvent = (event: AnswerEvent | undefined) => {
      if (event) this.parts.post({ type: "answer", id, event })
    }
    await this.queue.run(this.loaded().chat(options), onEvent, signal)
    this.parts.post({ type: "done", id })
  }

  private async openCall(
    { id, options, snapshot }: Extract<Command<Load>, { type: "call" }>,
    signal: AbortSignal,
  ): Promise<void> {
    const model = this.loaded()
    const call = await this.queue.run(model.call(options, snapshot), () => {}, signal)
    const host = new CallHost(call, this.queue, (event) => this.parts.post({ type: "call-event", id, event }))
    this.calls.set(id, { host, model })
    this.parts.post({ type: "result", id, value: undefined })
  }

  private async act({ id, call, action }: Extract<Command<Load>, { type: "act" }>, signal: AbortSignal): Promise<void> {
    const open = this.calls.get(call)
    if (!open) throw new InputError(`call: expected an open call for ${action.type}, got one that is not open`)
    if (action.type === "hang-up") this.calls.delete(call)
    const onAnswer = (event: AnswerEvent) => this.parts.post({ type: "answer", id, event })
    const value = await open.host.act(action, onAnswer, signal)
    if (action.type === "respond") this.parts.post({ type: "done", id })
    else this.parts.post({ type: "result", id, value })
  }

  private stats(): EngineStats {
    return {
      activeTasks: this.queue.length,
      openCalls: this.calls.size,
      answering: [...this.calls.values()].reduce((sum, { host }) => sum + host.answering, 0),
      ...this.queue.load,
      memoryBytes: this.parts.memoryBytes?.() ?? 0,
    }
  }
}
