/** @file The engine host: owns models and the step queue, obeys commands, posts events. One thread, no platform code. */
import type { TextChatEvent, TextChatOptions } from "../session/index.ts"
import { ConfigError } from "../util/index.ts"
import { type Command, type EngineEvent, errorToData, type LoadOptions, type ModelInfo } from "./messages.ts"
import { StepQueue } from "./step-queue.ts"

/** A loaded model as the host sees it. */
export type EngineModel = AsyncDisposable & {
  readonly info: ModelInfo
  chat(options: TextChatOptions): AsyncGenerator<TextChatEvent | undefined, void, void>
  /** What makes the model faster but need not be there to answer; run while nobody waits, once. */
  loadRest?(): AsyncGenerator<unknown, void, void>
}

export type EngineHostParts = {
  readonly load: (
    options: LoadOptions,
    onProgress: (stage: string, fraction: number) => void,
    signal: AbortSignal,
  ) => Promise<EngineModel>
  readonly post: (event: EngineEvent) => void
  /** Lets messages in between two steps. */
  readonly breathe: () => Promise<void>
}

/** A command at work; `model` is the one that an answer comes from. */
type Running = {
  readonly controller: AbortController
  readonly model: EngineModel | undefined
  readonly ended: Promise<void>
}

export class EngineHost {
  private readonly parts: EngineHostParts
  private readonly queue: StepQueue
  private readonly running = new Map<number, Running>()
  private model: EngineModel | undefined
  /** Stops loading the rest of the model, and resolves when it has stopped. */
  private stopRest: () => Promise<void> = async () => {}

  constructor(parts: EngineHostParts) {
    this.parts = parts
    this.queue = new StepQueue(parts.breathe)
  }

  /** Obeys one command; failures become error events, never exceptions. */
  async handle(command: Command): Promise<void> {
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

  private async load(id: number, options: LoadOptions, signal: AbortSignal): Promise<void> {
    const onProgress = (stage: string, fraction: number) => this.parts.post({ type: "progress", id, stage, fraction })
    const model = await this.parts.load(options, onProgress, signal)
    if (signal.aborted) {
      await model[Symbol.asyncDispose]()
      throw signal.reason
    }
    const replaced = this.model
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
      ? this.queue.run(steps, undefined, controller.signal, { background: true }).catch(() => {})
      : Promise.resolve()
    this.stopRest = async () => {
      controller.abort(new DOMException("closed", "AbortError"))
      await ended
    }
  }

  private async chat(id: number, options: TextChatOptions, signal: AbortSignal): Promise<void> {
    if (!this.model) throw new ConfigError("engine: expected a loaded model, got none (load one first)")
    const onEvent = (event: TextChatEvent | undefined) => {
      if (event) this.parts.post({ type: "chat", id, event })
    }
    await this.queue.run(this.model.chat(options), onEvent, signal)
    this.parts.post({ type: "done", id })
  }
}
