/**
 * @file The step queue: several pieces of work share one engine in equal parts of time, step by step: work of short steps has
 * more of them, so that a long prompt does not slow a speaking call to its own pace. Cancelling takes effect between steps; the
 * generator's own `finally` blocks clean up.
 */

/**
 * `background`: stepped while nothing else waits, and rarely otherwise. `urgent`: short steps that go before others: between
 * two of those, all urgent work that waits has one step. Whoever floods them slows the rest by one short step each.
 */
export type Priority = "background" | "normal" | "urgent"

/** What tells work to stop: a signal, or several in one. */
export type Stop = Pick<AbortSignal, "aborted" | "reason">

/** Work whose every `next()` is one step; what it yields goes to `onValue`. */
type Task = {
  readonly steps: AsyncGenerator<unknown, unknown, void>
  readonly onValue: (value: unknown) => void
  readonly signal: Stop | undefined
  readonly priority: Priority
  /** Time that its steps took, counted from what others had when it came. */
  usedMs: number
  /** Of urgent work: the round of others that has to be over before its next step. */
  round: number
  readonly resolve: (value: unknown) => void
  readonly reject: (reason: unknown) => void
}

/** How much the queue has to do. */
export type QueueLoad = {
  /** Share of the last ten seconds in which steps ran, 0 to 1; others wait longer the nearer it is to 1. */
  readonly busy: number
  /** Lengths of the latest steps: whoever comes waits for one, and then for one of each other's. */
  readonly stepMs: { readonly p50: number; readonly p95: number; readonly longest: number }
}

/** Of a queue that has done nothing. */
export const IDLE: QueueLoad = { busy: 0, stepMs: { p50: 0, p95: 0, longest: 0 } }

/** Steps whose lengths are remembered. */
const STEPS_KEPT = 256
const BUSY_WINDOW_MS = 10_000
/** Every step counts for at least so much: quick ones simply take turns. */
const LEAST_CHARGE_MS = 50

/** Background work is given one of so many steps even where others always wait. */
const BACKGROUND_TURN = 64

export class StepQueue {
  private readonly tasks: Task[] = []
  private draining: Promise<void> | undefined
  /** Steps since background work had one. */
  private others = 0
  /** Steps that were not urgent. */
  private rounds = 0
  private isUrgent: boolean = false
  /** What normal work has used by now: who comes starts from there. */
  private reachedMs = 0
  private readonly breathe: () => Promise<void>
  private readonly now: () => number
  private readonly startMs: number
  /** The latest steps, oldest first. */
  private readonly steps: { readonly endMs: number; readonly lengthMs: number }[] = []

  /**
   * @param breathe lets messages in between two steps; resolves soon
   * @param now milliseconds of any clock
   */
  constructor(breathe: () => Promise<void>, now: () => number = () => performance.now()) {
    this.breathe = breathe
    this.now = now
    this.startMs = now()
  }

  get load(): QueueLoad {
    const now = this.now()
    const window = Math.min(BUSY_WINDOW_MS, now - this.startMs)
    const since = now - window
    const oldest = this.steps[0]
    // Where the remembered steps do not reach back far enough, they stand for the rest.
    const seen =
      this.steps.length < STEPS_KEPT || !oldest ? window : Math.min(window, now - oldest.endMs + oldest.lengthMs)
    const work = this.steps.reduce(
      (sum, { endMs, lengthMs }) => sum + Math.max(0, Math.min(lengthMs, endMs - since)),
      0,
    )
    const sorted = this.steps.map(({ lengthMs }) => lengthMs).sort((a, b) => a - b)
    const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0
    return {
      busy: seen > 0 ? Math.min(1, work / seen) : 0,
      stepMs: { p50: at(0.5), p95: at(0.95), longest: sorted.at(-1) ?? 0 },
    }
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
    signal?: Stop,
    priority: Priority = "normal",
  ): Promise<R> {
    return new Promise<R>((resolve, reject) => {
      this.tasks.push({
        steps,
        onValue: onValue as (value: unknown) => void,
        signal,
        priority,
        usedMs: this.reachedMs,
        // Who comes while others run is next; who comes while urgent work has its steps waits for others, or a flood would
        // never end.
        round: this.isUrgent ? this.rounds : this.rounds - 1,
        resolve: resolve as (value: unknown) => void,
        reject,
      })
      this.draining ??= this.drain()
    })
  }

  private async drain(): Promise<void> {
    for (let task = this.next(); task; task = this.next()) {
      this.tasks.splice(this.tasks.indexOf(task), 1)
      const startMs = this.now()
      const isLeft = await this.step(task)
      const endMs = this.now()
      task.usedMs += Math.max(LEAST_CHARGE_MS, endMs - startMs)
      if (isLeft) this.tasks.push(task)
      this.steps.push({ endMs, lengthMs: endMs - startMs })
      if (this.steps.length > STEPS_KEPT) this.steps.shift()
      await this.breathe()
    }
    this.draining = undefined
  }

  private next(): Task | undefined {
    // Ending work is quick, and somebody waits for it.
    const ended = this.tasks.find(({ signal }) => signal?.aborted)
    if (ended) return ended
    const isDue = this.others >= BACKGROUND_TURN
    const task =
      this.fewest("urgent", (urgent) => urgent.round < this.rounds) ??
      (isDue ? this.fewest("background") : undefined) ??
      this.fewest("normal") ??
      this.fewest("urgent") ??
      this.fewest("background")
    this.others = task?.priority === "background" ? 0 : this.others + 1
    this.isUrgent = task?.priority === "urgent"
    if (task?.priority === "normal") this.reachedMs = Math.max(this.reachedMs, task.usedMs)
    if (this.isUrgent) task!.round = this.rounds
    else this.rounds++
    return task
  }

  /** The work that had the least time, of equals the one that waits longest. */
  private fewest(wanted: Priority, may: (task: Task) => boolean = () => true): Task | undefined {
    return this.tasks.reduce<Task | undefined>((least, task) => {
      if (task.priority !== wanted || !may(task)) return least
      return least && least.usedMs <= task.usedMs ? least : task
    }, undefined)
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
