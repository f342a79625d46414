/** @file The server: the API's routes, Realtime beside them, and their life from listening to a graceful end. */
import { createServer as createHttpServer, type Server } from "node:http"
import { createServer as createHttpsServer } from "node:https"
import type { AddressInfo } from "node:net"
import { setTimeout as sleep } from "node:timers/promises"
import { getRequestListener } from "@hono/node-server"
import { decodeImage } from "../image/index.node.ts"
import { SoundWriter } from "../media/index.ts"
import { ConfigError } from "../util/index.ts"
import { Admission } from "./admission.ts"
import { createApp, type Route } from "./app.ts"
import { isLoopback, RateLimit } from "./auth.ts"
import { ClientSecrets } from "./client-secrets.ts"
import { DEFAULT_LIMITS, type EngineSource, type ServerContext, type ServerLimits } from "./context.ts"
import { HttpError } from "./errors.ts"
import type { LogFields, Logger } from "./log.ts"
import { createMetrics } from "./metrics.ts"
import { attachRealtime, type RealtimeLimits, type RealtimeServer } from "./realtime-socket.ts"
import { fetchRemote, type RemoteParts } from "./remote.ts"
import { SavedStates } from "./saved-states.ts"
import { SpokenAnswers } from "./spoken-answers.ts"
import { Voices } from "./voices.ts"

export type ServerOptions = {
  readonly source: EngineSource
  /** Name of the model on the wire. */
  readonly model: string
  readonly log: Logger
  /** Keys that are accepted; without any, only this machine may ask. */
  readonly keys?: readonly string[]
  /** Other pages that may ask. */
  readonly origins?: readonly string[]
  /** Requests per minute and key; unlimited when absent. */
  readonly requestsPerMinute?: number
  /** Requests, and Realtime sessions, at once. */
  readonly maxSessions?: number
  readonly maxQueue?: number
  readonly limits?: Partial<ServerLimits>
  readonly realtime?: RealtimeLimits
  /** Nothing new starts while a call hears sound so much later than it came. */
  readonly maxBehindMs?: number
  /** Folder of stored voices; they are kept in memory when absent. */
  readonly voicesFolder?: string
  /** Folder of the built page. */
  readonly webRoot?: string
  /** Writes answers' sound; with the ffmpeg in PATH when absent. */
  readonly sounds?: SoundWriter
  /** Fetch files that requests name by URL. Off when absent. */
  readonly remoteFiles?: RemoteParts
  readonly tls?: { readonly cert: string; readonly key: string }
  readonly nowMs?: () => number
}

export type OmniServer = {
  readonly context: ServerContext
  /** What HTTP requests may ask for. */
  readonly routes: readonly Route[]
  /** For tests and other hosts: answers one request. */
  readonly fetch: (request: Request) => Response | Promise<Response>
  /** @returns the address of the page and the API */
  listen(port: number, host: string): Promise<string>
  /** Takes nothing new, lets work end for so long, then ends it. */
  close(graceMs?: number): Promise<void>
}

/** @throws ConfigError when others could ask without a key */
export function checkHost(host: string, keys: readonly string[]): void {
  if (isLoopback(host) || keys.length > 0) return
  throw new ConfigError(`--host: expected an address of this machine alone, got ${host} (give --api-key for others)`)
}

/** Calls that hear so much too late cannot keep up: nobody joins them. */
const MAX_BEHIND_MS = 4000
const MAX_CONNECTIONS = 4096
/** The engine answers between two steps: metrics that are asked for in a longer one, or while it hangs, come without it. */
const STATS_MS = 2000

/** @throws ConfigError, or what opening the voices throws */
export async function createServer(options: ServerOptions): Promise<OmniServer> {
  const { source, model, log, keys = [], origins = [], maxSessions = 8, maxQueue = 64, nowMs = Date.now } = options
  const limits = { ...DEFAULT_LIMITS, ...options.limits }
  const rate = options.requestsPerMinute === undefined ? undefined : new RateLimit(options.requestsPerMinute, nowMs)
  let realtime: RealtimeServer | undefined
  const isOverloaded = () => (realtime?.behindMs ?? 0) > (options.maxBehindMs ?? MAX_BEHIND_MS)
  const places = { maxRunning: maxSessions, maxWaiting: maxQueue, isOverloaded }
  const admission = new Admission(places)
  const sessions = new Admission(places)
  const metrics = createMetrics({
    sessions: () => realtime?.sessions ?? 0,
    sessionsWaiting: () => sessions.waiting,
    behindSeconds: () => (realtime?.behindMs ?? 0) / 1000,
    running: () => admission.running,
    waiting: () => admission.waiting,
    ready: () => source.ready,
    engineStarts: () => source.starts,
    engineHangs: () => source.hangs,
    stats: async () => {
      if (!source.ready) return undefined
      const stats = source.engine.stats().catch(() => undefined)
      return await Promise.race([stats, sleep(STATS_MS, undefined, { ref: false })])
    },
  })
  const { remoteFiles } = options
  const context: ServerContext = {
    ...{ source, model, limits, admission, sessions, metrics, log, nowMs, createdAt: Math.floor(nowMs() / 1000) },
    voices: await Voices.open(options.voicesFolder),
    spoken: new SpokenAnswers(nowMs),
    sounds: options.sounds ?? new SoundWriter(),
    decodeImage: (bytes, name) => decodeImage(bytes, { behaviour: "live", maxPixels: limits.maxPixels, source: name }),
    fetchRemote: remoteFiles && ((url, maxBytes, signal) => fetchRemote(url, maxBytes, signal, remoteFiles)),
  }
  const secrets = new ClientSecrets({ nowMs })
  const stop = new AbortController()
  const { webRoot } = options
  const { app, routes } = createApp(context, { keys, origins, rate, webRoot, secrets, stop: stop.signal })
  const listener = getRequestListener(app.fetch, { overrideGlobalObjects: false })
  const server: Server = options.tls ? createHttpsServer(options.tls, listener) : createHttpServer(listener)
  server.headersTimeout = 20_000
  server.requestTimeout = 300_000
  server.maxHeadersCount = 100
  server.maxConnections = MAX_CONNECTIONS
  realtime = attachRealtime(server, {
    ...{ engine: source.engine, model, keys, secrets, origins, admission: sessions, nowMs },
    whenReady: (signal) => source.whenReady(signal),
    decodeImage: context.decodeImage,
    savedStates: new SavedStates(),
    voiceOf: (name, owner) => context.voices.find(name, owner),
    ...(rate ? { countResponse: (owner) => rate.take(owner) } : {}),
    onAnswer: (end) => metrics.answer(end),
    onCut: (reason) => metrics.cut(reason),
    log: (level, text, fields) => log(level, text, fields as LogFields),
    ...options.realtime,
  })
  server.on("upgrade", (request, socket) => {
    if (new URL(request.url ?? "/", "http://local").pathname !== "/v1/realtime") socket.destroy()
  })
  return {
    ...{ context, routes },
    fetch: (request) => app.fetch(request),
    async listen(port, host) {
      checkHost(host, keys)
      await new Promise<void>((resolve, reject) => {
        server.once("error", (error: NodeJS.ErrnoException) => {
          if (error.code !== "EADDRINUSE") return reject(error)
          reject(
            new ConfigError(`--port: expected a free port, got ${port}, which another program uses (choose another)`),
          )
        })
        server.listen(port, host, () => resolve())
      })
      const { port: bound } = server.address() as AddressInfo
      return `${options.tls ? "https" : "http"}://${host.includes(":") ? `[${host}]` : host}:${bound}`
    },
    async close(graceMs = 10_000) {
      admission.close()
      sessions.close()
      const closed = new Promise<void>((resolve) => server.close(() => resolve()))
      server.closeIdleConnections()
      const deadline = Date.now() + graceMs
      const ended = realtime?.close(graceMs)
      while (admission.running > 0 && Date.now() < deadline) await new Promise((done) => setTimeout(done, 20))
      stop.abort(new HttpError(503, "server: expected a running server, got one that stops", { code: "stopping" }))
      await ended
      // Answers that were just ended are still on their way out.
      await Promise.race([closed, new Promise((done) => setTimeout(done, Math.min(graceMs, 500)))])
      server.closeAllConnections()
      await closed
    },
  }
}
