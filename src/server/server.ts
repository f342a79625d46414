/**
 * @file The server: routes of OpenAI's HTTP API, Realtime beside them, the page, and its life from listening to a graceful end.
 * Every request passes one door: id, access, rate, time limit, metrics, one line of log.
 */
import { randomUUID } from "node:crypto"
import { createServer as createHttpServer, type Server } from "node:http"
import { createServer as createHttpsServer } from "node:https"
import type { AddressInfo } from "node:net"
import { getRequestListener } from "@hono/node-server"
import { type Context, Hono } from "hono"
import { decodeImage } from "../image/index.node.ts"
import { RealtimeInputError } from "../protocol/index.ts"
import { ConfigError } from "../util/index.ts"
import { Admission } from "./admission.ts"
import { createAccess, isLoopback, RateLimit } from "./auth.ts"
import { parseJson, readBody } from "./body.ts"
import { chatCompletions } from "./chat-routes.ts"
import { ClientSecrets } from "./client-secrets.ts"
import {
  DEFAULT_LIMITS,
  type EngineSource,
  type RequestInfo,
  type ServerContext,
  type ServerLimits,
} from "./context.ts"
import { errorBody, HttpError, toHttpError } from "./errors.ts"
import type { LogFields, Logger } from "./log.ts"
import { createMetrics } from "./metrics.ts"
import { checkModel, modelObject } from "./models.ts"
import { openApiDocument } from "./openapi.ts"
import { attachRealtime, type RealtimeServer } from "./realtime-socket.ts"
import { fetchRemote, type RemoteParts } from "./remote.ts"
import { addVoice, deleteVoice, listVoices, speech } from "./speech-routes.ts"
import { SpokenAnswers } from "./spoken-answers.ts"
import { createStaticFiles } from "./static-files.ts"
import { transcriptions } from "./transcription-routes.ts"
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
  /** Folder of stored voices; they are kept in memory when absent. */
  readonly voicesFolder?: string
  /** Folder of the built page. */
  readonly webRoot?: string
  /** Fetch files that requests name by URL. Off when absent. */
  readonly remoteFiles?: RemoteParts
  readonly tls?: { readonly cert: string; readonly key: string }
  readonly nowMs?: () => number
}

export type OmniServer = {
  readonly context: ServerContext
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

type Env = { Variables: { info: RequestInfo } }

/** @throws ConfigError, or what opening the voices throws */
export async function createServer(options: ServerOptions): Promise<OmniServer> {
  const { source, model, log, keys = [], maxSessions = 8, maxQueue = 64, nowMs = Date.now } = options
  const limits = { ...DEFAULT_LIMITS, ...options.limits }
  const admission = new Admission({ maxRunning: maxSessions, maxWaiting: maxQueue })
  let realtime: RealtimeServer | undefined
  const { remoteFiles } = options
  const context: ServerContext = {
    ...{ source, model, limits, admission, log, nowMs, createdAt: Math.floor(nowMs() / 1000) },
    metrics: createMetrics({
      sessions: () => realtime?.sessions ?? 0,
      running: () => admission.running,
      waiting: () => admission.waiting,
      ready: () => source.ready,
      engineStarts: () => source.starts,
      stats: async () => (source.ready ? await source.engine.stats().catch(() => undefined) : undefined),
    }),
    voices: await Voices.open(options.voicesFolder),
    spoken: new SpokenAnswers(nowMs),
    decodeImage: (bytes, name) => decodeImage(bytes, { behaviour: "live", maxPixels: limits.maxPixels, source: name }),
    fetchRemote: remoteFiles && ((url, maxBytes, signal) => fetchRemote(url, maxBytes, signal, remoteFiles)),
  }
  const secrets = new ClientSecrets({ nowMs })
  const stop = new AbortController()
  const app = createApp(context, options, secrets, stop.signal)
  const listener = getRequestListener(app.fetch, { overrideGlobalObjects: false })
  const server: Server = options.tls ? createHttpsServer(options.tls, listener) : createHttpServer(listener)
  server.headersTimeout = 20_000
  server.requestTimeout = 300_000
  server.maxHeadersCount = 100
  realtime = attachRealtime(server, {
    ...{ engine: source.engine, model, keys, secrets, origins: options.origins ?? [], maxSessions, nowMs },
    decodeImage: context.decodeImage,
    voice: (name) => context.voices.findShared(name),
    warn: (text, fields) => log("warn", text, fields as LogFields),
  })
  server.on("upgrade", (request, socket) => {
    if (new URL(request.url ?? "/", "http://local").pathname !== "/v1/realtime") socket.destroy()
  })
  return {
    context,
    fetch: (request) => app.fetch(request),
    async listen(port, host) {
      if (!isLoopback(host) && keys.length === 0)
        throw new ConfigError(
          `--host: expected an address of this machine alone, got ${host} (give --api-key for others)`,
        )
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
      const closed = new Promise<void>((resolve) => server.close(() => resolve()))
      server.closeIdleConnections()
      const deadline = Date.now() + graceMs
      const ended = realtime?.close(Math.min(graceMs, 2000))
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

/** Routes by method and path; the path's pattern names them in metrics and logs. */
function createApp(
  context: ServerContext,
  options: ServerOptions,
  secrets: ClientSecrets,
  stop: AbortSignal,
): Hono<Env> {
  const app = new Hono<Env>()
  const access = createAccess({ keys: options.keys ?? [], origins: options.origins ?? [] })
  const rate =
    options.requestsPerMinute === undefined ? undefined : new RateLimit(options.requestsPerMinute, context.nowMs)
  const page = options.webRoot === undefined ? undefined : createStaticFiles(options.webRoot)

  const route = (
    method: string,
    path: string,
    work: (c: Context<Env>, info: RequestInfo) => Response | Promise<Response>,
    open = false,
  ) => {
    app.on(method, path, async (c) => {
      const started = performance.now()
      const id = `req_${randomUUID().replaceAll("-", "")}`
      const noted: Record<string, string | number | boolean> = {}
      const headers = new Headers({ "x-request-id": id })
      const signal = AbortSignal.any([c.req.raw.signal, stop, AbortSignal.timeout(context.limits.totalMs)])
      const finish = (response: Response): Response => {
        for (const [name, value] of headers) response.headers.set(name, value)
        corsHeaders(c.req.raw, response.headers, options.origins ?? [])
        secureHeaders(response.headers)
        const ms = Math.round(performance.now() - started)
        context.metrics.request(path, response.status, ms)
        context.log("info", "request", { id, method, route: path, status: response.status, ms, ...noted })
        return response
      }
      try {
        const owner = open ? "" : access(c.req.raw.headers)
        if (!open) for (const [name, value] of Object.entries(rate?.count(owner) ?? {})) headers.set(name, value)
        if (owner !== "") noted.key = owner
        const info: RequestInfo = {
          ...{ id, owner, signal },
          note: (fields) => void Object.assign(noted, fields),
          header: (name, value) => headers.set(name, value),
        }
        return finish(await work(c, info))
      } catch (error) {
        const refusal = toHttpError(error, id)
        if (refusal.status >= 500) noted.error = error instanceof Error ? error.name : "unknown"
        // Our own mistakes are told in full; what requests bring about may hold their content.
        if (refusal.code === "internal_error" && error instanceof Error && error.message.startsWith("internal: "))
          noted.reason = error.message
        for (const [name, value] of Object.entries(refusal.headers)) headers.set(name, value)
        return finish(Response.json(errorBody(refusal), { status: refusal.status }))
      }
    })
  }

  route("POST", "/v1/chat/completions", (c, info) => chatCompletions(c.req.raw, context, info))
  route("POST", "/v1/audio/speech", (c, info) => speech(c.req.raw, context, info))
  route("POST", "/v1/audio/transcriptions", (c, info) => transcriptions("transcribe", c.req.raw, context, info))
  route("POST", "/v1/audio/translations", (c, info) => transcriptions("translate", c.req.raw, context, info))
  route("GET", "/v1/audio/voices", (_, info) => listVoices(context, info))
  route("POST", "/v1/audio/voices", (c, info) => addVoice(c.req.raw, context, info))
  route("DELETE", "/v1/audio/voices/:id", (c, info) => deleteVoice(c.req.param("id") ?? "", context, info))
  route("GET", "/v1/models", () => Response.json({ object: "list", data: [modelObject(context)] }))
  route("GET", "/v1/models/:id{.+}", (c) => {
    checkModel(c.req.param("id") ?? "", context)
    return Response.json(modelObject(context))
  })
  route("POST", "/v1/realtime/client_secrets", async (c, info) => {
    const text = new TextDecoder().decode(await readBody(c.req.raw, 1024 * 1024))
    try {
      const { owner: _, ...secret } = secrets.create(text.trim() === "" ? undefined : parseJson(text), info.owner)
      return Response.json(secret)
    } catch (error) {
      if (!(error instanceof RealtimeInputError)) throw error
      throw new HttpError(400, error.message, { param: error.param, code: error.wireCode })
    }
  })
  route("GET", "/health", () => Response.json({ status: "ok" }), true)
  route("GET", "/ready", () => readiness(context), true)
  route("GET", "/metrics", async () => {
    return new Response(await context.metrics.print(), { headers: { "content-type": context.metrics.contentType } })
  })
  route("GET", "/openapi.json", () => Response.json(openApiDocument(context.model)), true)
  app.options("*", (c) => {
    const response = new Response(null, { status: 204 })
    corsHeaders(c.req.raw, response.headers, options.origins ?? [])
    return response
  })
  app.notFound((c) => {
    const file = page?.(c.req.raw)
    if (file) {
      secureHeaders(file.headers)
      return file
    }
    return c.json(
      errorBody(new HttpError(404, "path: expected a route of the API, got another (see /openapi.json)")),
      404,
    )
  })
  return app
}

function readiness({ source, admission }: ServerContext): Response {
  const body = { ready: source.ready, running: admission.running, queue: admission.waiting }
  return Response.json(body, {
    status: source.ready ? 200 : 503,
    ...(source.ready ? {} : { headers: { "retry-after": "2" } }),
  })
}

function corsHeaders({ headers }: Request, response: Headers, origins: readonly string[]): void {
  const origin = headers.get("origin")
  if (origin === null || !origins.includes(origin)) return
  response.set("access-control-allow-origin", origin)
  response.set("vary", "origin")
  response.set("access-control-allow-methods", "GET, POST, DELETE")
  response.set("access-control-allow-headers", "authorization, content-type, openai-beta, x-stainless-retry-count")
  response.set("access-control-expose-headers", "location, retry-after, x-request-id, x-omni-queue-position")
  response.set("access-control-max-age", "600")
}

function secureHeaders(headers: Headers): void {
  headers.set("x-content-type-options", "nosniff")
  headers.set("referrer-policy", "no-referrer")
}
