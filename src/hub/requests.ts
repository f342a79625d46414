/**
 * @file Requests to a hub: redirects followed by hand so that the token stays with its host, failures told apart into
 * those that may pass and those that will not, and the waiting between attempts.
 */
import { ConfigError, errorText, OmniError } from "../util/index.ts"

/** A hub, and what is needed to ask it. Time, chance and network come from outside. */
export type HubAccess = {
  /** Its address, without a slash at the end. */
  readonly endpoint: string
  readonly token?: string | undefined
  readonly fetch: typeof fetch
  /** Rejects with the signal's reason when aborted. */
  readonly sleep: (delayMs: number, signal: AbortSignal | undefined) => Promise<void>
  /** Numbers in [0, 1). */
  readonly random: () => number
  /** A connection that brings nothing for so long is given up. */
  readonly stallMs: number
  /** Failures in a row, without one new byte between them, that end a download. */
  readonly attempts: number
  readonly onRetry?: ((problem: string, delayMs: number) => void) | undefined
}

/** A failure that may pass: the connection was cut, the server is busy. */
export class PassingError extends Error {
  /** What the server asked to wait, when it did. */
  readonly retryAfterMs: number | undefined
  constructor(message: string, retryAfterMs?: number) {
    super(message)
    this.retryAfterMs = retryAfterMs
  }
}

/** The network or the server ended an attempt for good: neither the user's input nor a file is wrong. */
export function networkError(message: string, cause?: unknown): OmniError {
  return new OmniError("network", message, { cause })
}

const MOST_REDIRECTS = 5
const BASE_DELAY_MS = 500
const MOST_DELAY_MS = 30_000
/** A server that asks for more patience than this is told of instead. */
const MOST_RETRY_AFTER_MS = 300_000

/** @throws ConfigError unless it is an http address without user name; returns it without trailing slashes */
export function checkEndpoint(endpoint: string): string {
  const url = URL.canParse(endpoint) ? new URL(endpoint) : undefined
  if (!url || !/^https?:$/.test(url.protocol) || url.username || url.password || url.search || url.hash) {
    const shown = url?.username || url?.password ? "one with a user name" : JSON.stringify(endpoint)
    throw new ConfigError(`HF_ENDPOINT: expected an address such as https://huggingface.co, got ${shown}`)
  }
  return url.href.replace(/\/+$/, "")
}

/** An answer with a body, and the checksum that the hub announced for a large file before redirecting to its storage. */
export type Answer = { readonly response: Response; readonly linkedEtag: string | undefined }

/**
 * One attempt to get `path` of the hub.
 * @param what names what is asked for in errors: the model, or a file of it
 * @throws PassingError when trying again may help, ConfigError or a network error when not, the signal's reason
 */
export async function ask(
  hub: HubAccess,
  what: string,
  path: string,
  headers: { readonly [name: string]: string },
  signal: AbortSignal,
): Promise<Answer> {
  const home = new URL(hub.endpoint).origin
  let url = new URL(hub.endpoint + path)
  let linkedEtag: string | undefined
  for (let redirects = 0; redirects <= MOST_REDIRECTS; redirects++) {
    const authorization = hub.token && url.origin === home ? { authorization: `Bearer ${hub.token}` } : {}
    const response = await hub
      .fetch(url, { headers: { ...headers, ...authorization }, redirect: "manual", signal })
      .catch((error: unknown) => {
        throw signal.aborted ? signal.reason : connectionError(what, url, error)
      })
    linkedEtag ??= plainEtag(response.headers.get("x-linked-etag"))
    if (response.ok) return { response, linkedEtag }
    await response.body?.cancel().catch(() => {})
    if (response.status === 416) return { response, linkedEtag }
    const location = response.headers.get("location")
    if (response.status < 300 || response.status >= 400 || location === null)
      throw refusal(hub, what, url, response, linkedEtag)
    url = nextUrl(what, url, location)
  }
  throw networkError(`${what}: expected at most ${MOST_REDIRECTS} redirects, got more from ${home}`)
}

function nextUrl(what: string, from: URL, location: string): URL {
  const url = URL.canParse(location, from) ? new URL(location, from) : undefined
  const secure = url?.protocol === "https:" || (url?.protocol === "http:" && from.protocol === "http:")
  if (url && secure && !url.username && !url.password) return url
  throw networkError(`${what}: expected a redirect to a web address as safe as ${from.origin}, got another`)
}

/** Problems of certificates and addresses stay as they are, whoever asks again. */
const LASTING = /CERT|SELF_SIGNED|UNABLE_TO|ERR_TLS|ERR_SSL|INVALID_URL|BAD_PORT|bad port/

function connectionError(what: string, url: URL, error: unknown): Error {
  const cause = error instanceof Error && error.cause !== undefined ? error.cause : error
  const code = cause instanceof Error && "code" in cause ? String(cause.code) : ""
  const problem = errorText(cause) || code || "no connection"
  if (!LASTING.test(`${code} ${problem}`)) return new PassingError(`${problem} (${url.host})`)
  return networkError(`${what}: expected a connection to ${url.origin}, got ${problem} (check HF_ENDPOINT)`, error)
}

function refusal(
  hub: HubAccess,
  what: string,
  url: URL,
  { status, headers }: Response,
  linkedEtag: string | undefined,
): Error {
  if (status === 408 || status === 425 || status === 429 || status >= 500)
    return new PassingError(`status ${status} (${url.host})`, retryAfter(headers.get("retry-after")))
  const atHome = url.origin === new URL(hub.endpoint).origin
  // The storage behind a redirect refuses addresses that have expired: the hub gives fresh ones.
  if (!atHome || linkedEtag !== undefined) return new PassingError(`status ${status} (${url.host})`)
  const code = headers.get("x-error-code")
  const { repo, page } = pageOf(hub, what)
  if (status === 401 || status === 403) {
    const login = hub.token ? "check that the token in HF_TOKEN may read it" : "set HF_TOKEN to a token of yours"
    const advice =
      code === "GatedRepo"
        ? `accept its terms at ${page}, then ${login}`
        : `check its name; if it is private or gated, see ${page}, then ${login}`
    return new ConfigError(`${what}: expected access to ${repo}, got status ${status} (${advice})`)
  }
  if (status === 404) {
    const missing = code === "RevisionNotFound" ? "such a revision" : code === "EntryNotFound" ? "such a file" : "it"
    return new ConfigError(
      `${what}: expected ${missing} at ${hub.endpoint}, got status 404 (check the name; see ${page})`,
    )
  }
  return networkError(`${what}: expected an answer from ${url.origin}, got status ${status}`)
}

function pageOf(hub: HubAccess, what: string): { readonly repo: string; readonly page: string } {
  const repo = what.split(/[@:]/, 1)[0]!
  return { repo, page: `${hub.endpoint}/${repo}` }
}

/** Seconds or a date, in milliseconds. */
function retryAfter(header: string | null): number | undefined {
  if (header === null) return undefined
  const ms = /^\d+$/.test(header.trim()) ? Number(header) * 1000 : Date.parse(header) - Date.now()
  return Number.isFinite(ms) && ms >= 0 ? ms : undefined
}

/** An ETag without quotes and the mark of weak ones. */
export function plainEtag(header: string | null): string | undefined {
  return header === null ? undefined : header.replace(/^W\//, "").replace(/^"(.*)"$/, "$1")
}

/**
 * Waits before another attempt, longer after each failure in a row, by chance up to half less than that.
 * @param failures failures in a row, this one included
 * @throws the network error that ends it when there were too many
 */
export async function waitForRetry(
  hub: HubAccess,
  what: string,
  error: PassingError,
  failures: number,
  signal: AbortSignal | undefined,
): Promise<void> {
  const tooLong = error.retryAfterMs !== undefined && error.retryAfterMs > MOST_RETRY_AFTER_MS
  if (failures >= hub.attempts || tooLong) {
    const wait = tooLong ? ", which asks to wait" : ""
    const count = failures > 1 ? ` ${failures} times` : ""
    const advice = "check the network, HF_ENDPOINT and the proxy; what was downloaded is kept"
    throw networkError(
      `${what}: expected an answer from ${hub.endpoint}, got ${error.message}${wait}${count} (${advice})`,
    )
  }
  const backoffMs = Math.min(MOST_DELAY_MS, BASE_DELAY_MS * 2 ** Math.max(0, failures - 1)) * (1 - hub.random() / 2)
  const delayMs = Math.max(error.retryAfterMs ?? 0, failures === 0 ? backoffMs / 4 : backoffMs)
  hub.onRetry?.(`${what}: ${error.message}`, delayMs)
  await hub.sleep(delayMs, signal)
}

/** A signal that follows another one and fires as well when nothing happened for `stallMs`. */
export function stallSignal(
  stallMs: number,
  outer: AbortSignal | undefined,
): { readonly signal: AbortSignal; readonly touch: () => void } & Disposable {
  const controller = new AbortController()
  const stalled = () => controller.abort(new PassingError(`nothing for ${Math.round(stallMs / 1000)} s`))
  const follow = () => controller.abort(outer!.reason)
  let timer = setTimeout(stalled, stallMs)
  if (outer?.aborted) follow()
  else outer?.addEventListener("abort", follow, { once: true })
  return {
    signal: controller.signal,
    touch: () => {
      clearTimeout(timer)
      timer = setTimeout(stalled, stallMs)
    },
    [Symbol.dispose]: () => {
      clearTimeout(timer)
      outer?.removeEventListener("abort", follow)
    },
  }
}
