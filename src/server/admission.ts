/**
 * @file Who is served when: at most so many at once, the others in a queue that tells its length and takes owners in turn, so
 * that one with many requests does not keep others waiting. Nothing new starts while those at work cannot keep up.
 */
import { HttpError } from "./errors.ts"

/** Where somebody stands: so many are served before, so many wait in all. */
export type QueuePlace = { readonly before: number; readonly length: number }

type Waiting = {
  readonly owner: string
  /** @param taken whether a place was taken for it; else the server stops */
  readonly start: (taken: boolean) => void
  readonly onPlace: ((place: QueuePlace) => void) | undefined
  told: QueuePlace | undefined
}

export type AdmissionLimits = {
  /** At work at once. */
  readonly maxRunning: number
  /** In the queue; more are refused. */
  readonly maxWaiting: number
  /** Whether those at work are too slow already: then nobody joins them. */
  readonly isOverloaded?: () => boolean
}

/** How often an overload is looked at again while somebody waits. */
const RECHECK_MS = 250

export class Admission {
  readonly #limits: AdmissionLimits
  #queue: Waiting[] = []
  #running = 0
  #lastOwner: string | undefined
  #closed: boolean = false as boolean
  #recheck: NodeJS.Timeout | undefined

  constructor(limits: AdmissionLimits) {
    this.#limits = limits
  }

  get running(): number {
    return this.#running
  }

  get waiting(): number {
    return this.#queue.length
  }

  /** Refuses everything new, and everything that waits. */
  close(): void {
    this.#closed = true
    for (const { start } of this.#queue.splice(0)) start(false)
  }

  /** A place at once, without waiting for one. @throws HttpError 503 when there is none */
  enterNow(owner: string): () => void {
    this.#checkOpen()
    if (this.#queue.length === 0 && this.#hasRoom()) return this.#take(owner)
    throw this.#full()
  }

  /**
   * Waits for its turn.
   * @param onPlace told where it stands when it has to wait, and whenever that changes
   * @returns gives the place back; calling it again does nothing
   * @throws HttpError 503 when the queue is full or the server stops; the signal's reason
   */
  async enter(owner: string, signal: AbortSignal, onPlace?: (place: QueuePlace) => void): Promise<() => void> {
    signal.throwIfAborted()
    this.#checkOpen()
    if (this.#queue.length === 0 && this.#hasRoom()) return this.#take(owner)
    if (this.#queue.length >= this.#limits.maxWaiting) throw this.#full()
    const taken = await new Promise<boolean>((resolve, reject) => {
      const waiting: Waiting = {
        owner,
        onPlace,
        told: undefined,
        start: (taken) => {
          signal.removeEventListener("abort", leave)
          resolve(taken)
        },
      }
      const leave = () => {
        this.#queue = this.#queue.filter((one) => one !== waiting)
        this.#tell()
        reject(signal.reason)
      }
      signal.addEventListener("abort", leave, { once: true })
      this.#queue.push(waiting)
      this.#tell()
      this.#watch()
    })
    const leave = taken ? this.#place() : () => undefined
    try {
      this.#checkOpen()
      return leave
    } catch (error) {
      leave()
      throw error
    }
  }

  /** Whether somebody may wait. */
  get hasQueueRoom(): boolean {
    return this.#queue.length < this.#limits.maxWaiting
  }

  #hasRoom(): boolean {
    const { maxRunning, isOverloaded } = this.#limits
    return this.#running < maxRunning && !(this.#running > 0 && isOverloaded?.() === true)
  }

  #full(): HttpError {
    const before = this.#queue.length
    return new HttpError(503, `server: expected a free place, got ${before} waiting (try again later)`, {
      code: "queue_full",
      headers: { "retry-after": String(Math.min(60, 2 + before)), "x-omni-queue-length": String(before) },
    })
  }

  #checkOpen(): void {
    if (this.#closed)
      throw new HttpError(503, "server: expected a running server, got one that stops", {
        code: "stopping",
        headers: { "retry-after": "5" },
      })
  }

  #take(owner: string): () => void {
    this.#running++
    this.#lastOwner = owner
    return this.#place()
  }

  /** What gives a place back that was taken. */
  #place(): () => void {
    let given = false
    return () => {
      if (given) return
      given = true
      this.#running--
      this.#next()
    }
  }

  /** The queue in the order of service: the first of another owner than the last one served, else the first. */
  #inOrder(): Waiting[] {
    const left = [...this.#queue]
    const order: Waiting[] = []
    let lastOwner = this.#lastOwner
    while (left.length > 0) {
      const other = left.findIndex(({ owner }) => owner !== lastOwner)
      const [next] = left.splice(Math.max(0, other), 1)
      order.push(next!)
      lastOwner = next!.owner
    }
    return order
  }

  #next(): void {
    while (this.#queue.length > 0 && this.#hasRoom()) {
      const [next] = this.#inOrder()
      this.#queue = this.#queue.filter((one) => one !== next)
      // The place is taken before others can come in between.
      this.#running++
      this.#lastOwner = next!.owner
      next!.start(true)
    }
    this.#tell()
  }

  #tell(): void {
    const { length } = this.#queue
    for (const [before, waiting] of this.#inOrder().entries()) {
      if (waiting.told?.before === before && waiting.told.length === length) continue
      waiting.told = { before, length }
      waiting.onPlace?.(waiting.told)
    }
  }

  /** An overload ends without anybody leaving. */
  #watch(): void {
    if (this.#limits.isOverloaded === undefined || this.#recheck !== undefined) return
    this.#recheck = setInterval(() => {
      if (this.#queue.length > 0) return this.#next()
      clearInterval(this.#recheck)
      this.#recheck = undefined
    }, RECHECK_MS)
    this.#recheck.unref()
  }
}
