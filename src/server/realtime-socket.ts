/**
 * @file The WebSocket of `/v1/realtime`: who may open it, how large and slow it may be, and how it ends. What is said on it
 * is a {@link RealtimeSession}'s business. Close codes: 1003 binary, 1008 policy, 1009 too large, 1001 going away.
 */
import { randomBytes, timingSafeEqual } from "node:crypto"
import type { IncomingMessage, Server } from "node:http"
import type { Duplex } from "node:stream"
import { type WebSocket, WebSocketServer } from "ws"
import { eventToBeta, printEvent, type RealtimeServerEvent } from "../protocol/index.ts"
import type { ClientSecret, ClientSecrets } from "./client-secrets.ts"
import type { RealtimeSessionParts } from "./realtime-parts.ts"
import { RealtimeSession } from "./realtime-session.ts"

export type RealtimeOptions = Omit<RealtimeSessionParts, "send" | "initial" | "type"> & {
  /** Keys that open sessions; without keys every loopback client may. */
  readonly keys?: readonly string[]
  readonly secrets: ClientSecrets
  /** Pages besides our own that may connect, such as `https://example.org`. */
  readonly origins?: readonly string[]
  readonly maxSessions?: number
  readonly maxFrameBytes?: number
  /** A reader this far behind is cut. */
  readonly maxUnsentBytes?: number
  /** Without any frame for so long the session ends. */
  readonly idleMs?: number
  readonly pingMs?: number
}

export type RealtimeServer = {
  readonly sessions: number
  /** Ends all sessions, politely first. */
  close(graceMs?: number): Promise<void>
}

const KEY_PROTOCOL = "openai-insecure-api-key."
const MAX_UNREAD = 256

/** Serves Realtime on an HTTP server's upgrades; other paths are left to others. */
export function attachRealtime(server: Server, options: RealtimeOptions): RealtimeServer {
  const open = new Map<WebSocket, RealtimeSession>()
  const webSockets = new WebSocketServer({
    noServer: true,
    maxPayload: options.maxFrameBytes ?? 24 * 1024 * 1024,
    perMessageDeflate: false,
    handleProtocols: (offered) => (offered.has("realtime") ? "realtime" : false),
  })
  let draining = false

  const upgrade = (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    const url = new URL(request.url ?? "/", "http://local")
    if (url.pathname !== "/v1/realtime") return
    socket.on("error", () => socket.destroy())
    const access = authorize(request, options)
    if (draining) return refuse(socket, 503, "the server is stopping")
    if (access === undefined)
      return refuse(socket, 401, "expected a valid key, got none (send Authorization: Bearer KEY)")
    if (!originAllowed(request, options.origins ?? []))
      return refuse(socket, 403, "expected a page of this server, got another origin")
    if (open.size >= (options.maxSessions ?? 64)) return refuse(socket, 503, "too many sessions (try again later)")
    webSockets.handleUpgrade(request, socket, head, (webSocket) => start(webSocket, url, request, access.secret))
  }

  const start = (socket: WebSocket, url: URL, request: IncomingMessage, secret: ClientSecret | undefined) => {
    const beta = url.searchParams.get("dialect") === "beta" || request.headers["openai-beta"] === "realtime=v1"
    const maxUnsentBytes = options.maxUnsentBytes ?? 16 * 1024 * 1024
    let cut = false
    const session = new RealtimeSession({
      ...options,
      type: url.searchParams.get("intent") === "transcription" ? "transcription" : "realtime",
      ...(secret ? { initial: secret.session } : {}),
      send: (message) => {
        if (cut || socket.readyState !== socket.OPEN) return
        const event: RealtimeServerEvent = { ...message, event_id: `event_${randomBytes(12).toString("base64url")}` }
        const translated = beta ? eventToBeta(event) : event
        if (translated === undefined) return
        socket.send(beta ? JSON.stringify(translated) : printEvent(event))
        if (socket.bufferedAmount <= maxUnsentBytes) return
        cut = true // its own close frame would wait behind what it does not read
        socket.terminate()
      },
    })
    open.set(socket, session)
    let lastFrameAt = Date.now()
    let alive = true
    let paused = false
    const beat = setInterval(() => {
      if (!alive) return socket.terminate()
      if (Date.now() - lastFrameAt > (options.idleMs ?? 600_000)) return socket.close(1008, "idle for too long")
      alive = false
      socket.ping()
    }, options.pingMs ?? 30_000)
    const lifetime = setTimeout(() => socket.close(1008, "session expired"), options.lifetimeMs ?? 3_600_000)
    const resume = setInterval(() => {
      if (!paused || session.unread > MAX_UNREAD / 2) return
      paused = false
      socket.resume()
    }, 50)
    socket.on("pong", () => {
      alive = true
    })
    socket.on("message", (data: Buffer, binary) => {
      lastFrameAt = Date.now()
      alive = true
      if (binary) return socket.close(1003, "expected text frames")
      session.receive(data.toString("utf8"))
      if (session.unread <= MAX_UNREAD || paused) return
      paused = true
      socket.pause()
    })
    socket.on("error", () => undefined) // `ws` closes with the fitting code by itself
    socket.on("close", () => {
      clearInterval(beat)
      clearTimeout(lifetime)
      clearInterval(resume)
      open.delete(socket)
      void session.close()
    })
  }

  server.on("upgrade", upgrade)
  return {
    get sessions() {
      return open.size
    },
    async close(graceMs = 2000) {
      draining = true
      server.off("upgrade", upgrade)
      const sessions = [...open.values()]
      for (const socket of open.keys()) socket.close(1001, "the server is stopping")
      const deadline = Date.now() + graceMs
      while (open.size > 0 && Date.now() < deadline) await new Promise((done) => setTimeout(done, 20))
      for (const socket of open.keys()) socket.terminate()
      await Promise.all(sessions.map((session) => session.close()))
      webSockets.close()
    },
  }
}

/** Undefined when the request has no right to a session. */
function authorize(
  request: IncomingMessage,
  { keys = [], secrets }: RealtimeOptions,
): { secret?: ClientSecret } | undefined {
  const bearer = /^Bearer (.+)$/i.exec(request.headers.authorization ?? "")?.[1]
  const offered = (request.headers["sec-websocket-protocol"] ?? "").split(",").map((one) => one.trim())
  const given = bearer ?? offered.find((one) => one.startsWith(KEY_PROTOCOL))?.slice(KEY_PROTOCOL.length)
  const secret = given === undefined ? undefined : secrets.find(given)
  if (secret) return { secret }
  if (keys.length > 0) return given !== undefined && keys.some((key) => sameText(key, given)) ? {} : undefined
  const address = request.socket.remoteAddress ?? ""
  return /^(?:::ffff:)?127\.|^::1$/.test(address) ? {} : undefined
}

function sameText(a: string, b: string): boolean {
  const [x, y] = [Buffer.from(a), Buffer.from(b)]
  return x.length === y.length && timingSafeEqual(x, y)
}

/** Browsers send the page's origin with every upgrade; other programs send none. */
function originAllowed({ headers }: IncomingMessage, origins: readonly string[]): boolean {
  const { origin, host } = headers
  if (origin === undefined || origins.includes(origin)) return true
  return URL.canParse(origin) && new URL(origin).host === host
}

function refuse(socket: Duplex, status: number, message: string): void {
  const type = status === 503 ? "server_error" : "invalid_request_error"
  const body = JSON.stringify({ error: { message: `realtime: ${message}`, type, param: null, code: null } })
  const head = [
    `HTTP/1.1 ${status} Refused`,
    "Content-Type: application/json",
    `Content-Length: ${Buffer.byteLength(body)}`,
  ]
  socket.end(`${[...head, "Connection: close"].join("\r\n")}\r\n\r\n${body}`)
}
