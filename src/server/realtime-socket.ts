/**
 * @file The WebSocket of `/v1/realtime`: who may open it, who waits for a place, how large and slow it may be, and how it ends.
 * What is said on it is a {@link RealtimeSession}'s business. Close codes: 1003 binary, 1008 policy, 1009 too large, 1001
 * going away.
 */
import type { IncomingMessage, Server } from "node:http"
import type { Duplex } from "node:stream"
import { type WebSocket, WebSocketServer } from "ws"
import type { Sound } from "../session/index.ts"
import type { Admission, QueuePlace } from "./admission.ts"
import { createKeyCheck, type RateState } from "./auth.ts"
import type { ClientSecret, ClientSecrets } from "./client-secrets.ts"
import { HttpError } from "./errors.ts"
import { type LogLevel, ownerOf } from "./log.ts"
import { RealtimeConnection } from "./realtime-connection.ts"
import type { RealtimeSessionParts } from "./realtime-parts.ts"

export type RealtimeLimits = {
  readonly maxFrameBytes?: number
  /** A reader this far behind is cut. */
  readonly maxUnsentBytes?: number
  /** Without any frame for so long the session ends. */
  readonly idleMs?: number
  /** A session ends after so long. */
  readonly lifetimeMs?: number
  readonly pingMs?: number
  /** Larger states of calls are not saved for an engine that dies. */
  readonly maxSavedBytes?: number
}

export type RealtimeOptions = RealtimeLimits &
  Omit<RealtimeSessionParts, "send" | "initial" | "type" | "voice" | "countResponse" | "warn"> & {
    /** Keys that open sessions; without keys every loopback client may. */
    readonly keys?: readonly string[]
    readonly secrets: ClientSecrets
    /** Pages besides our own that may connect, such as `https://example.org`. */
    readonly origins?: readonly string[]
    readonly admission: Admission
    /** The recording behind an owner's voice. @throws HttpError for an unknown one */
    readonly voiceOf?: (name: string, owner: string) => Sound | undefined
    readonly countResponse?: (owner: string) => RateState
    /** Told when the server itself ends a connection. */
    readonly onCut?: (reason: string) => void
    readonly log?: (level: LogLevel, text: string, fields: Readonly<Record<string, unknown>>) => void
  }

export type RealtimeServer = {
  readonly sessions: number
  /** Sound that the slowest session waits to be heard. */
  readonly behindMs: number
  /** Takes nothing new, lets answers end for so long, and closes. */
  close(graceMs?: number): Promise<void>
}

/** Who opens a session; the key that minted a secret owns its sessions. */
type Access = { readonly owner: string; readonly secret?: ClientSecret }

const KEY_PROTOCOL = "openai-insecure-api-key."

/** Serves Realtime on an HTTP server's upgrades; other paths are left to others. */
export function attachRealtime(server: Server, options: RealtimeOptions): RealtimeServer {
  const open = new Set<RealtimeConnection>()
  const webSockets = new WebSocketServer({
    noServer: true,
    maxPayload: options.maxFrameBytes ?? 24 * 1024 * 1024,
    perMessageDeflate: false,
    handleProtocols: (offered) => (offered.has("realtime") ? "realtime" : false),
  })
  const authorize = createAuthorize(options)
  let draining = false

  const upgrade = (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    const url = new URL(request.url ?? "/", "http://local")
    if (url.pathname !== "/v1/realtime") return
    socket.on("error", () => socket.destroy())
    try {
      if (draining) throw new HttpError(503, "realtime: expected a running server, got one that stops")
      const access = authorize(request)
      checkOrigin(request, options.origins ?? [])
      if (url.searchParams.has("call_id"))
        throw new HttpError(404, "realtime: call_id: expected none, got one (there are no calls to attach to)")
      const waits = url.searchParams.get("queue") === "true"
      const leave = placeFor(options.admission, access.owner, waits)
      webSockets.handleUpgrade(request, socket, head, (webSocket) => start(webSocket, url, request, access, leave))
    } catch (error) {
      if (!(error instanceof HttpError)) throw error
      refuse(socket, error)
    }
  }

  const start = (
    socket: WebSocket,
    url: URL,
    request: IncomingMessage,
    { owner, secret }: Access,
    leave: (() => void) | undefined,
  ) => {
    const { voiceOf, countResponse, log, ...parts } = options
    const connection = new RealtimeConnection(socket, {
      ...parts,
      beta: url.searchParams.get("dialect") === "beta" || request.headers["openai-beta"] === "realtime=v1",
      type: url.searchParams.get("intent") === "transcription" ? "transcription" : "realtime",
      ...(secret ? { initial: secret.session } : {}),
      ...(voiceOf ? { voice: (name) => voiceOf(name, owner) } : {}),
      ...(countResponse ? { countResponse: () => countResponse(owner) } : {}),
      warn: (text, fields) => log?.("warn", text, fields),
    })
    open.add(connection)
    const startedMs = Date.now()
    socket.on("close", (code: number) => {
      open.delete(connection)
      log?.("info", "realtime session", { key: owner, code, ms: Date.now() - startedMs, ...connection.counts })
    })
    if (leave) connection.begin(leave)
    else
      connection.wait((signal: AbortSignal, onPlace: (place: QueuePlace) => void) =>
        options.admission.enter(owner, signal, onPlace),
      )
  }

  server.on("upgrade", upgrade)
  return {
    get sessions() {
      return [...open].filter(({ isWaiting }) => !isWaiting).length
    },
    get behindMs() {
      return Math.max(0, ...[...open].map(({ behindMs }) => behindMs))
    },
    async close(graceMs = 2000) {
      draining = true
      server.off("upgrade", upgrade)
      await Promise.all([...open].map((connection) => connection.drain(graceMs)))
      webSockets.close()
    },
  }
}

/** A place at once, or none yet for one that may wait. @throws HttpError 503 when there is none */
function placeFor(admission: Admission, owner: string, waits: boolean): (() => void) | undefined {
  try {
    return admission.enterNow(owner)
  } catch (error) {
    if (waits && admission.hasQueueRoom) return undefined
    throw error
  }
}

/** @returns who asks @throws HttpError 401 */
function createAuthorize({ keys = [], secrets }: RealtimeOptions): (request: IncomingMessage) => Access {
  const isKey = createKeyCheck(keys)
  return (request) => {
    const bearer = /^Bearer (.+)$/i.exec(request.headers.authorization ?? "")?.[1]
    const offered = (request.headers["sec-websocket-protocol"] ?? "").split(",").map((one) => one.trim())
    const given = bearer ?? offered.find((one) => one.startsWith(KEY_PROTOCOL))?.slice(KEY_PROTOCOL.length)
    const secret = given === undefined ? undefined : secrets.find(given)
    if (secret) return { owner: secret.owner, secret }
    if (keys.length > 0) {
      if (given !== undefined && isKey(given)) return { owner: ownerOf(given) }
    } else if (/^(?:::ffff:)?127\.|^::1$/.test(request.socket.remoteAddress ?? "")) return { owner: "" }
    throw new HttpError(
      401,
      `realtime: expected a valid key, got ${given === undefined ? "none" : "another"} (send Authorization: Bearer KEY)`,
      { code: "invalid_api_key" },
    )
  }
}

/** Browsers send the page's origin with every upgrade; other programs send none. @throws HttpError 403 */
function checkOrigin({ headers }: IncomingMessage, origins: readonly string[]): void {
  const { origin, host } = headers
  if (origin === undefined || origins.includes(origin)) return
  if (URL.canParse(origin) && new URL(origin).host === host) return
  throw new HttpError(403, "realtime: expected a page of this server, got another origin (allow it with --origin)")
}

function refuse(socket: Duplex, { status, message, type, param, code, headers }: HttpError): void {
  const body = JSON.stringify({ error: { message, type, param, code } })
  const head = [
    `HTTP/1.1 ${status} Refused`,
    "Content-Type: application/json",
    `Content-Length: ${Buffer.byteLength(body)}`,
    ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`),
    "Connection: close",
  ]
  socket.end(`${head.join("\r\n")}\r\n\r\n${body}`)
}
