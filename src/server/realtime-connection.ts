/**
 * @file One Realtime connection: waits for a place if it must, then carries a session. Slow readers, floods, silence and age
 * end it; a full engine makes it stop reading.
 */
import { randomBytes } from "node:crypto"
import type { WebSocket } from "ws"
import { eventToBeta, printEvent, type RealtimeServerEvent, type RealtimeServerMessage } from "../protocol/index.ts"
import type { QueuePlace } from "./admission.ts"
import type { RealtimeSessionParts } from "./realtime-parts.ts"
import { RealtimeSession } from "./realtime-session.ts"

export type RealtimeConnectionParts = Omit<RealtimeSessionParts, "send"> & {
  /** Speaks the beta dialect. */
  readonly beta: boolean
  readonly maxUnsentBytes?: number
  readonly idleMs?: number
  readonly pingMs?: number
  readonly onCut?: (reason: string) => void
}

type Enter = (signal: AbortSignal, onPlace: (place: QueuePlace) => void) => Promise<() => void>

/** Pieces of work that the engine may leave waiting before the socket is not read. */
const MAX_UNREAD = 256
const RESUME_MS = 50
/** What a client may send before it has a session. */
const MAX_EARLY_FRAMES = 64
const MAX_EARLY_CHARACTERS = 1024 * 1024

export class RealtimeConnection {
  readonly #socket: WebSocket
  readonly #parts: RealtimeConnectionParts
  readonly #left = new AbortController()
  #session: RealtimeSession | undefined
  #early: string[] = []
  #leave: () => void = () => undefined
  #cut: boolean = false as boolean
  #lastFrameAt = Date.now()
  #isAlive: boolean = true as boolean
  #isPaused: boolean = false as boolean
  /** For the log. */
  readonly counts = { framesIn: 0, framesOut: 0 }

  constructor(socket: WebSocket, parts: RealtimeConnectionParts) {
    this.#socket = socket
    this.#parts = parts
    const beat = setInterval(() => this.#beat(), parts.pingMs ?? 30_000)
    const lifetime = setTimeout(() => this.#end("expired", "session expired"), parts.lifetimeMs ?? 3_600_000)
    const resume = setInterval(() => this.#resume(), RESUME_MS)
    socket.on("pong", () => {
      this.#isAlive = true
    })
    socket.on("message", (data: Buffer, binary) => this.#receive(data, binary))
    socket.on("error", () => undefined) // `ws` closes with the fitting code by itself
    socket.on("close", () => {
      clearInterval(beat)
      clearTimeout(lifetime)
      clearInterval(resume)
      this.#left.abort(new DOMException("the client left", "AbortError"))
      this.#leave()
      void this.#session?.close()
    })
  }

  get isWaiting(): boolean {
    return this.#session === undefined
  }

  get behindMs(): number {
    return this.#session?.behindMs ?? 0
  }

  /** Waits for a place, telling the client where it stands, then begins. */
  wait(enter: Enter): void {
    let told = false
    const onPlace = ({ before: position, length }: QueuePlace) => {
      this.#send({ type: told ? "session.queue_update" : "session.queued", position, length })
      told = true
    }
    enter(this.#left.signal, onPlace).then(
      (leave) => this.begin(leave),
      () => this.#socket.close(1001, "the server is stopping"),
    )
  }

  /** @param leave gives the place back */
  begin(leave: () => void): void {
    if (this.#left.signal.aborted) {
      leave()
      return
    }
    this.#leave = leave
    this.#session = new RealtimeSession({ ...this.#parts, send: (event) => this.#send(event) })
    for (const frame of this.#early.splice(0)) this.#session.receive(frame)
  }

  /** Ends it when its answer is over, or after so long. */
  async drain(graceMs: number): Promise<void> {
    const deadline = Date.now() + graceMs
    const wait = () => new Promise((done) => setTimeout(done, 20))
    while (this.#session?.isAnswering && Date.now() < deadline) await wait()
    this.#socket.close(1001, "the server is stopping")
    const last = Math.max(deadline, Date.now() + 200)
    while (this.#socket.readyState !== this.#socket.CLOSED && Date.now() < last) await wait()
    this.#socket.terminate()
    await this.#session?.close()
  }

  #receive(data: Buffer, binary: boolean): void {
    this.#lastFrameAt = Date.now()
    this.#isAlive = true
    this.counts.framesIn++
    if (binary) {
      this.#parts.onCut?.("binary")
      this.#socket.close(1003, "expected text frames")
      return
    }
    const frame = data.toString("utf8")
    if (this.#session) this.#session.receive(frame)
    else this.#keepEarly(frame)
    if (this.#isPaused || (this.#session?.unread ?? 0) <= MAX_UNREAD) return
    this.#isPaused = true
    this.#socket.pause()
  }

  #keepEarly(frame: string): void {
    this.#early.push(frame)
    const characters = this.#early.reduce((sum, { length }) => sum + length, 0)
    if (this.#early.length <= MAX_EARLY_FRAMES && characters <= MAX_EARLY_CHARACTERS) return
    this.#early = []
    this.#end("early_frames", "expected session.created to be waited for")
  }

  #send(message: RealtimeServerMessage): void {
    const socket = this.#socket
    if (this.#cut || socket.readyState !== socket.OPEN) return
    const event: RealtimeServerEvent = { ...message, event_id: `event_${randomBytes(12).toString("base64url")}` }
    const translated = this.#parts.beta ? eventToBeta(event) : event
    if (translated === undefined) return
    socket.send(this.#parts.beta ? JSON.stringify(translated) : printEvent(event))
    this.counts.framesOut++
    if (socket.bufferedAmount <= (this.#parts.maxUnsentBytes ?? 16 * 1024 * 1024)) return
    this.#cut = true
    this.#parts.onCut?.("slow_reader")
    socket.terminate() // its own close frame would wait behind what it does not read
  }

  #end(reason: string, text: string): void {
    this.#parts.onCut?.(reason)
    this.#socket.close(1008, text)
  }

  #beat(): void {
    if (this.#isPaused) return // its pongs are not read either
    if (!this.#isAlive) {
      this.#parts.onCut?.("gone")
      this.#socket.terminate()
      return
    }
    if (Date.now() - this.#lastFrameAt > (this.#parts.idleMs ?? 600_000)) {
      this.#end("idle", "idle for too long")
      return
    }
    this.#isAlive = false
    this.#socket.ping()
  }

  #resume(): void {
    if (!this.#isPaused || (this.#session?.unread ?? 0) > MAX_UNREAD / 2) return
    this.#isPaused = false
    this.#socket.resume()
  }
}
