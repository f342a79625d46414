/**
 * @file The routes of OpenAI's HTTP API and the page. Every request passes one door: id, access, rate, time limit, metrics,
 * one line of log.
 */
import { randomUUID } from "node:crypto"
import { type Context, Hono } from "hono"
import { RealtimeInputError } from "../protocol/index.ts"
import { createAccess, type RateLimit } from "./auth.ts"
import { BodyBudget, parseJson, readBody } from "./body.ts"
import { chatCompletions } from "./chat-routes.ts"
import type { ClientSecrets } from "./client-secrets.ts"
import type { RequestInfo, ServerContext } from "./context.ts"
import { errorBody, HttpError, toHttpError } from "./errors.ts"
import { checkModel, modelObject } from "./models.ts"
import { openApiDocument } from "./openapi.ts"
import { addVoice, deleteVoice, listVoices, speech } from "./speech-routes.ts"
import { createStaticFiles } from "./static-files.ts"
import { transcriptions } from "./transcription-routes.ts"

export type AppOptions = {
  readonly keys: readonly string[]
  /** Other pages that may ask. */
  readonly origins: readonly string[]
  readonly rate: RateLimit | undefined
  readonly webRoot: string | undefined
  readonly secrets: ClientSecrets
  /** Ends what runs. */
  readonly stop: AbortSignal
}

export type Route = { readonly method: string; readonly path: string }
type Env = { Variables: { info: RequestInfo } }
type Work = (c: Context<Env>, info: RequestInfo) => Response | Promise<Response>

/** Routes by method and path; the path's pattern names them in metrics and logs. */
/** The application, and the routes of its API. */
export function createApp(
  context: ServerContext,
  options: AppOptions,
): { readonly app: Hono<Env>; readonly routes: readonly Route[] } {
  const routes: Route[] = []
  const bodies = new BodyBudget(context.limits.maxBodiesBytes)
  const { keys, origins, rate, secrets, stop } = options
  const app = new Hono<Env>()
  const access = createAccess({ keys, origins })
  const page = options.webRoot === undefined ? undefined : createStaticFiles(options.webRoot)

  const route = (method: string, path: string, work: Work, open = false) => {
    routes.push({ method, path })
    app.on(method, path, async (c) => {
      const started = performance.now()
      const id = `req_${randomUUID().replaceAll("-", "")}`
      const noted: Record<string, string | number | boolean> = {}
      const headers = new Headers({ "x-request-id": id })
      const signal = AbortSignal.any([c.req.raw.signal, stop, AbortSignal.timeout(context.limits.totalMs)])
      const finish = (response: Response): Response => {
        for (const [name, value] of headers) response.headers.set(name, value)
        corsHeaders(c.req.raw, response.headers, origins)
        secureHeaders(response.headers)
        const ms = Math.round(performance.now() - started)
        context.metrics.request(path, response.status, ms)
        context.log("info", "request", { id, method, route: path, status: response.status, ms, ...noted })
        return response
      }
      let held = 0
      const hold = (bytes: number) => {
        bodies.take(bytes)
        held += bytes
      }
      try {
        const owner = open ? "" : access(c.req.raw.headers)
        if (!open) for (const [name, value] of Object.entries(rate?.count(owner) ?? {})) headers.set(name, value)
        if (owner !== "") noted.key = owner
        const info: RequestInfo = {
          ...{ id, owner, signal, hold },
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
      } finally {
        bodies.giveBack(held)
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
    const text = new TextDecoder().decode(await readBody(c.req.raw, 1024 * 1024, info))
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
    corsHeaders(c.req.raw, response.headers, origins)
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
  return { app, routes }
}

function readiness({ source, admission, sessions }: ServerContext): Response {
  const body = {
    ...{ ready: source.ready, running: admission.running, queue: admission.waiting },
    ...{ sessions: sessions.running, sessionQueue: sessions.waiting },
  }
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
