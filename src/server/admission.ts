/**
 * @file Who is served when: at most so many requests at once, the others in a queue that takes owners in turn, so that one
 * with many requests does not keep others waiting.
 */
import { HttpError } from "./errors.ts"

type Waiting = { readonly owner: string; readonly start: () => void }

export type AdmissionLimits = {
  /** Requests at work at once. */
  readonly maxRunning: number
  /** Requests that may wait; more are refused. */
  readonly maxWaiting: number
}

export class Admission {
  readonly #limits: AdmissionLimits
  readonly #queue: Waiting[] = []
  #running = 0
  #lastOwner: string | undefined
  #closed: boolean = false as boolean

  constructor(limits: AdmissionLimits) {
    this.#limits = limits
  }

  get running(): number {
    return this.#running
  }

  get waiting(): number {
    return this.#queue.length
  }

  /** Refuses everything new, and everything that waits is refused when its turn comes. */
  close(): void {
    this.#closed = true
  }

  /**
   * Waits for its turn.
   * @param onQueued gets the number of those before it, when it has to wait
   * @returns gives the place back; calling it again does nothing
   * @throws HttpError 503 when the queue is full or the server stops; the signal's reason
   */
  async enter(owner: string, signal: AbortSignal, onQueued?: (before: number) => void): Promise<() => void> {
    signal.throwIfAborted()
    this.#checkOpen()
    const { maxRunning, maxWaiting } = this.#limits
    if (this.#running < maxRunning) return this.#take(owner)
    const before = this.#queue.length
    if (before >= maxWaiting)
      throw new HttpError(503, `server: expected a free place, got ${before} waiting requests (try again later)`, {
        code: "queue_full",
        headers: { "retry-after": String(Math.min(60, 2 + before)), "x-omni-queue-length": String(before) },
      })
    onQueued?.(before)
    const taken = await new Promise<() => void>((resolve, reject) => {
      const waiting: Waiting = {
        owner,
        start: () => {
          signal.removeEventListener("abort", leave)
          resolve(this.#take(owner))
        },
      }
      const leave = () => {
        this.#queue.splice(this.#queue.indexOf(waiting), 1)
        reject(signal.reason)
      }
      signal.addEventListener("abort", leave, { once: true })
      this.#queue.push(waiting)
    })
    try {
      this.#checkOpen()
    } catch (error) {
      taken()
      throw error
    }
    return taken
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
    let given = false
    return () => {
      if (given) return
      given = true
      this.#running--
      this.#next()
    }
  }

  /** The first of another owner than the last one served, else the first. */
  #next(): void {
    if (this.#queue.length === 0 || this.#running >= this.#limits.maxRunning) return
    const other = this.#queue.findIndex(({ owner }) => owner !== this.#lastOwner)
    const [next] = this.#queue.splice(Math.max(0, other), 1)
    next!.start()
  }
}
