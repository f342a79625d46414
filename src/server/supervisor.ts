/**
 * @file Keeps an engine running: started in its process, loaded, and started anew when it dies, later each time it dies young.
 * One that hangs is killed, which is the same from there on.
 * Running requests of a dead engine get its error from the client; new ones are refused until the next one is loaded.
 */
import type { EngineProcess } from "../engine/index.node.ts"
import type { Engine, LoadOptions, ModelInfo } from "../engine/index.ts"
import { BackendError, errorText } from "../util/index.ts"
import type { EngineSource } from "./context.ts"
import type { Logger } from "./log.ts"
import { isSilent, type Pause, pause } from "./watchdog.ts"

export type SupervisorOptions = {
  readonly start: () => EngineProcess
  readonly load: LoadOptions
  readonly log: Logger
  readonly onProgress?: (stage: string, fraction: number) => void
  /** First pause before a restart; it doubles up to a minute while engines die young. */
  readonly backoffMs?: number
  /** An engine that lived so long died of something new. */
  readonly steadyMs?: number
  /** An engine that gave no sign of life for so long hangs; 0 lets it. */
  readonly silenceMs?: number
  /** What waits between two questions for a sign of life; tests bring their own. */
  readonly pause?: Pause
}

const MAX_BACKOFF_MS = 60_000
/**
 * Far more than anything may hold the engine's thread: at full size on two cores the longest steps, slices of an image and
 * programs that are compiled, take four seconds, and slow disks and swapping may make ten times as much of them.
 */
export const SILENCE_MS = 120_000

export class Supervisor implements EngineSource, AsyncDisposable {
  readonly engine: Engine
  readonly #options: SupervisorOptions
  readonly #stop = new AbortController()
  #process: EngineProcess | undefined
  #ready: boolean = false
  #starts = 0
  #hangs = 0
  #info: ModelInfo | undefined
  #watching: Promise<void> = Promise.resolve()

  private constructor(options: SupervisorOptions) {
    this.#options = options
    const current = () => this.#current()
    const info = () => this.#loadedInfo()
    this.engine = {
      get info() {
        return info()
      },
      async *chat(chat, signal) {
        yield* current().chat(chat, signal)
      },
      call: async (call, parts) => await current().call(call, parts),
      stats: async () => await current().stats(),
    }
  }

  /**
   * Starts the engine and loads the model for the first time.
   * @throws what loading throws: a model that never loads is the operator's to mend
   */
  static async start(options: SupervisorOptions, signal?: AbortSignal): Promise<Supervisor> {
    const supervisor = new Supervisor(options)
    try {
      await supervisor.#launch(signal)
    } catch (error) {
      await supervisor.#process?.client.close()
      throw error
    }
    supervisor.#watching = supervisor.#watch()
    return supervisor
  }

  get ready(): boolean {
    return this.#ready
  }

  get starts(): number {
    return this.#starts
  }

  get hangs(): number {
    return this.#hangs
  }

  /** Of the engine's process; for people and tests. */
  get pid(): number | undefined {
    return this.#process?.pid
  }

  async whenReady(signal: AbortSignal): Promise<void> {
    while (!this.#ready) {
      const either = AbortSignal.any([signal, this.#stop.signal])
      either.throwIfAborted()
      await pause(50, either)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort()
    this.#ready = false
    await this.#process?.client.close()
    await this.#watching
  }

  #current(): Engine {
    if (this.#ready && this.#process) return this.#process.client
    throw new BackendError("engine: expected a running engine, got one that is being started (try again soon)")
  }

  #loadedInfo(): ModelInfo {
    if (this.#info) return this.#info
    throw new BackendError("engine: expected a loaded model, got none yet")
  }

  async #launch(signal?: AbortSignal): Promise<void> {
    const { start, load, onProgress } = this.#options
    const started = start()
    this.#process = started
    this.#starts++
    void this.#guard(started)
    this.#info = await started.client.load(load, {
      ...(signal ? { signal } : {}),
      ...(onProgress && this.#starts === 1 ? { onProgress } : {}),
    })
    this.#ready = !this.#stop.signal.aborted
  }

  /** Kills an engine that hangs, also while it loads: what waits for it fails, and {@link #watch} starts another one. */
  async #guard({ client, exited, kill }: EngineProcess): Promise<void> {
    const { log, silenceMs = SILENCE_MS, pause: wait } = this.#options
    if (silenceMs === 0) return
    const ended = new AbortController()
    void exited.then(() => ended.abort())
    const either = AbortSignal.any([ended.signal, this.#stop.signal])
    if (!(await isSilent(() => client.stats(), silenceMs, either, wait))) return
    this.#ready = false
    this.#hangs++
    log("error", "the engine hangs", { silentMs: silenceMs, hangs: this.#hangs })
    kill(`it gave no sign of life for ${silenceMs / 1000} s`)
  }

  async #watch(): Promise<void> {
    const { log, backoffMs = 500, steadyMs = 60_000 } = this.#options
    let pauseMs = backoffMs
    while (!this.#stop.signal.aborted) {
      const before = performance.now()
      const reason = await this.#process!.exited
      this.#ready = false
      if (this.#stop.signal.aborted) return
      if (performance.now() - before > steadyMs) pauseMs = backoffMs
      log("error", "the engine ended", { reason, restartInMs: pauseMs, starts: this.#starts })
      await pause(pauseMs, this.#stop.signal)
      if (this.#stop.signal.aborted) return
      pauseMs = Math.min(MAX_BACKOFF_MS, pauseMs * 2)
      try {
        await this.#launch(this.#stop.signal)
        log("info", "the engine runs again", { starts: this.#starts })
      } catch (error) {
        // It is closed, so that the next turn of the loop sees its end and tries again.
        log("error", "the engine did not load", { reason: errorText(error) })
        await this.#process!.client.close()
      }
    }
  }
}
