/**
 * @file The step queue: several pieces of work share one engine, one step each in turn. Cancelling takes effect between
 * steps; the generator's own `finally` blocks clean up.
 */

/** Work whose every `next()` is one step; what it yields goes to `onValue`. */
type Task = {
  readonly steps: AsyncGenerator<unknown, unknown, void>
  readonly onValue: (value: unknown) => void
  readonly signal: AbortSignal | undefined
  readonly resolve: (value: unknown) => void
  readonly reject: (reason: unknown) => void
}

export class StepQueue {
  private readonly tasks: Task[] = []
  private draining: Promise<void> | undefined
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
   * @throws the signal's reason when it aborts before the work is done; a running step is finished first
   */
  run<V, R>(
    steps: AsyncGenerator<V, R, void>,
    onValue: (value: V) => void = () => {},
    signal?: AbortSignal,
  ): Promise<R> {
    return new Promise<R>((resolve, reject) => {
      this.tasks.push({
        steps,
        onValue: onValue as (value: unknown) => void,
        signal,
        resolve: resolve as (value: unknown) => void,
        reject,
      })
      this.draining ??= this.drain()
    })
  }

  private async drain(): Promise<void> {
    for (let task = this.tasks.shift(); task; task = this.tasks.shift()) {
      if (await this.step(task)) this.tasks.push(task)
      await this.breathe()
    }
    this.draining = undefined
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
