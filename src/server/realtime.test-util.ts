/** @file Realtime for tests: a session without a socket, and clients of a listening server; every event is checked by its schema. */
import { type ClientOptions, WebSocket } from "ws"
import { parseServerEvent, type RealtimeServerEvent, serverEventSchema } from "../protocol/index.ts"
import { type FakeEngine, fakeEngine } from "./fake-engine.test-util.ts"
import type { RealtimeSessionParts } from "./realtime-parts.ts"
import { RealtimeSession } from "./realtime-session.ts"

type Of<T extends RealtimeServerEvent["type"]> = Extract<RealtimeServerEvent, { type: T }>

/** What was received so far, and waiting for more. */
export class Received {
  readonly events: RealtimeServerEvent[] = []

  /** @throws what is wrong with an event */
  take(event: unknown): void {
    this.events.push(serverEventSchema.parse(event))
  }

  of<T extends RealtimeServerEvent["type"]>(type: T): Of<T>[] {
    return this.events.filter((event): event is Of<T> => event.type === type)
  }

  /** The n-th event of a type, which may still have to come. */
  async seen<T extends RealtimeServerEvent["type"]>(type: T, times = 1): Promise<Of<T>> {
    const deadline = Date.now() + 25_000 // a busy machine takes seconds for an engine to come back
    for (;;) {
      const found = this.of(type)[times - 1]
      if (found) return found
      if (Date.now() > deadline)
        throw new Error(`expected ${type} (${times}), got ${this.events.map((event) => event.type).join(" ")}`)
      await new Promise((done) => setTimeout(done, 2))
    }
  }

  /** Types in their order, repeated deltas left out. */
  get order(): string[] {
    return this.events
      .map(({ type }) => type)
      .filter((type, i, all) => all[i - 1] !== type)
      .filter((type) => !type.endsWith(".delta"))
  }

  get errors(): { code: string | null; event_id?: string | null | undefined; message: string }[] {
    return this.of("error").map(({ error }) => error)
  }

  /** Samples of sound at 24 kHz 16 bit that were sent. */
  get samples(): number {
    return this.of("response.output_audio.delta").reduce((sum, { delta }) => sum + atob(delta).length / 2, 0)
  }
}

export type TestSession = Received & {
  readonly session: RealtimeSession
  readonly engine: FakeEngine
  readonly warned: { text: string; fields: object }[]
  send(...events: object[]): void
}

/** A session with a fake engine and no socket. */
export function openSession(parts: Partial<RealtimeSessionParts> & { stepMs?: number } = {}): TestSession {
  const { stepMs, ...rest } = parts
  const engine = fakeEngine(stepMs)
  const received = new Received()
  const warned: TestSession["warned"] = []
  let count = 0
  const session = new RealtimeSession({
    ...{ engine, model: "fake-o", whenReady: (signal) => engine.whenReady(signal) },
    send: (event) => received.take({ ...event, event_id: `e${count++}` }),
    decodeImage: async () => ({ width: 2, height: 2, data: new Uint8Array(12) }),
    warn: (text, fields) => void warned.push({ text, fields }),
    ...rest,
  })
  const send = (...events: object[]) => {
    for (const event of events) session.receive(JSON.stringify(event))
  }
  return Object.assign(received, { session, engine, warned, send })
}

export type TestClient = Received & {
  readonly socket: WebSocket
  readonly closed: Promise<number>
  send(...events: object[]): void
}

/** A client of `/v1/realtime`. */
export function connect(
  url: string,
  { protocols = [], ...options }: ClientOptions & { protocols?: string[] } = {},
): TestClient {
  const socket = new WebSocket(url, protocols, options)
  const received = new Received()
  socket.on("message", (data: Buffer) => received.take(parseServerEvent(data.toString("utf8"))))
  socket.on("error", () => undefined)
  const closed = new Promise<number>((resolve) => {
    socket.once("close", resolve)
  })
  const send = (...events: object[]) => {
    for (const event of events) socket.send(JSON.stringify(event))
  }
  return Object.assign(received, { socket, closed, send })
}

/** Base64 of 16-bit samples at 24 kHz; loud ones are speech for the fake engine. */
export const sound = (value: number, ms = 100) =>
  Buffer.from(new Int16Array(24 * ms).fill(value).buffer).toString("base64")
export const LOUD = 9000
export const append = (value: number, ms?: number) => ({ type: "input_audio_buffer.append", audio: sound(value, ms) })
export const COMMIT = { type: "input_audio_buffer.commit" }
export const CLEAR = { type: "input_audio_buffer.clear" }
export const RESPOND = { type: "response.create" }
/** Turns by the client's hand. */
export const MANUAL = {
  type: "session.update",
  session: { type: "realtime", audio: { input: { turn_detection: null } } },
}
export const said = (text: string, id?: string) => ({
  type: "conversation.item.create",
  item: { type: "message", role: "user", content: [{ type: "input_text", text }], ...(id ? { id } : {}) },
})
