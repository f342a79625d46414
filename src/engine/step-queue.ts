/**
 * @file The step queue: several pieces of work share one engine, one step each in turn. Cancelling takes effect between
 * steps; the generator's own `finally` blocks clean up.
 */

/** Work whose every `next()` is one step; what it yields goes to `onValue`. */
type Task = {
  readonly steps: AsyncGenerator<unknown, unknown, void>
  readonly onValue: (value: unknown) => void
  readonly signal: AbortSignal | undefined
  /** Stepped while nothing else waits, and rarely otherwise. */
  readonly background: boolean
  readonly resolve: (value: unknown) => void
  readonly reject: (reason: unknown) => void
}

/** Background work is given one of so many steps even where others always wait. */
const BACKGROUND_TURN = 64

export class StepQueue {
  private readonly tasks: Task[] = []
  private draining: Promise<void> | undefined
  /** Steps since background work had one. */
  private others = 0
  private readonly breathe: () => Promise<void>

  /** @param breathe lets messages in between two steps; resolves soon */
  constructor(breathe: () => Promise<void>) {
    this.breathe = breathe
  }

  get length(): number {
    return this.tasks.length
  }

  /**
   * Queues work and resolves with its return value.
   * @param options.background steps are run while no other work waits, and rarely otherwise
   * @throws the signal's reason when it aborts before the work is done; a running step is finished first
   */
  run<V, R>(
    steps: AsyncGenerator<V, R, void>,
    onValue: (value: V) => void = () => {},
    signal?: AbortSignal,
    options: { readonly background?: boolean } = {},
  ): Promise<R> {
    return new Promise<R>((resolve, reject) => {
      this.tasks.push({
        steps,
        onValue: onValue as (value: unknown) => void,
        signal,
        background: options.background ?? false,
        resolve: resolve as (value: unknown) => void,
        reject,
      })
      this.draining ??= this.drain()
    })
  }

  private async drain(): Promise<void> {
    for (let task = this.next(); task; task = this.next()) {
      if (await this.step(task)) this.tasks.push(task)
      await this.breathe()
    }
    this.draining = undefined
  }

  private next(): Task | undefined {
    const isDue = this.others >= BACKGROUND_TURN
    const wanted = this.tasks.findIndex(({ background }) => background === isDue)
    const [task] = this.tasks.splice(Math.max(0, wanted), 1)
    this.others = task?.background ? 0 : this.others + 1
    return task
  }

  /** Runs one step; true when more follow. */
  private async step(task: Task): Promise<boolean> {
    try {
      if (task.signal?.aborted) {
        await task.steps.return(undefined)
        throw task.signal.reason
      }
      const { done, value } = await task.steps.next()
      if (done) task.resolve(value)
      else await this.hand(task, value)
      return !done
    } catch (error) {
      task.reject(error)
      return false
    }
  }

  /** Gives a value to its receiver; work whose receiver fails is cleaned up like cancelled work. */
  private async hand(task: Task, value: unknown): Promise<void> {
    try {
      task.onValue(value)
    } catch (error) {
      await task.steps.return(undefined)
      throw error
    }
  }
}
