/**
 * @file The step queue: several pieces of work share one engine, one step each in turn. Cancelling takes effect between
 * steps; the generator's own `finally` blocks clean up.
 */

/**
 * `background`: stepped while nothing else waits, and rarely otherwise. `urgent`: short steps that go before others, though
 * never twice in a row while others wait: whoever floods them slows the rest by one short step each.
 */
export type Priority = "background" | "normal" | "urgent"

/** Work whose every `next()` is one step; what it yields goes to `onValue`. */
type Task = {
  readonly steps: AsyncGenerator<unknown, unknown, void>
  readonly onValue: (value: unknown) => void
  readonly signal: AbortSignal | undefined
  readonly priority: Priority
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
  private wasUrgent: boolean = false
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
    priority: Priority = "normal",
  ): Promise<R> {
    return new Promise<R>((resolve, reject) => {
      this.tasks.push({
        steps,
        onValue: onValue as (value: unknown) => void,
        signal,
        priority,
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
    const order: Priority[] = this.wasUrgent ? ["normal", "urgent"] : ["urgent", "normal"]
    const first = this.others >= BACKGROUND_TURN ? "background" : undefined
    const places = [...(first ? [first] : []), ...order].map((wanted) =>
      this.tasks.findIndex(({ priority }) => priority === wanted),
    )
    const [task] = this.tasks.splice(places.find((at) => at >= 0) ?? 0, 1)
    this.others = task?.priority === "background" ? 0 : this.others + 1
    this.wasUrgent = task?.priority === "urgent"
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
