/**
 * @file Who may ask: API keys, how often each may, and which pages. Without keys the server listens on this machine alone; then
 * `Host` and `Origin` are what keeps web pages of others out (DNS rebinding, forms that post across sites).
 */
import { createHash, timingSafeEqual } from "node:crypto"
import { HttpError } from "./errors.ts"
import { ownerOf } from "./log.ts"

const digest = (text: string) => createHash("sha256").update(text).digest()

/** Compares against every key, in a time that depends on none of them. */
export function createKeyCheck(keys: readonly string[]): (given: string) => boolean {
  const digests = keys.map(digest)
  return (given) => {
    const wanted = digest(given)
    let found = false
    for (const one of digests) found = timingSafeEqual(one, wanted) || found
    return found
  }
}

/** The key in `Authorization: Bearer KEY`; undefined when there is none. */
export function bearerOf(header: string | undefined): string | undefined {
  return header === undefined ? undefined : /^Bearer +([\x21-\x7e]{1,512}) *$/i.exec(header)?.[1]
}

const LOCAL = /^(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d+)?$/i
export const isLoopback = (host: string) => /^(localhost|127(\.\d{1,3}){3}|::1)$/i.test(host)

export type AccessRules = {
  readonly keys: readonly string[]
  /** Pages besides our own that may ask, such as `https://example.org`. */
  readonly origins: readonly string[]
}

/**
 * Who is asking: the owner's short hash, empty when no key is needed.
 * @throws HttpError 401 without a valid key, 403 for pages of others
 */
export function createAccess({ keys, origins }: AccessRules): (headers: Headers) => string {
  const isKey = createKeyCheck(keys)
  return (headers) => {
    const host = headers.get("host") ?? ""
    const origin = headers.get("origin")
    const own = origin !== null && URL.canParse(origin) && new URL(origin).host === host
    if (origin !== null && !own && !origins.includes(origin))
      throw new HttpError(403, "origin: expected a page of this server, got another (allow it with --origin)")
    if (keys.length === 0) {
      if (!LOCAL.test(host)) throw new HttpError(403, "host: expected this machine's own name, got another")
      return ""
    }
    const given = bearerOf(headers.get("authorization") ?? undefined)
    if (given === undefined || !isKey(given))
      throw new HttpError(
        401,
        `key: expected a valid API key, got ${given === undefined ? "none" : "another"} (send Authorization: Bearer KEY)`,
        {
          code: "invalid_api_key",
          headers: { "www-authenticate": "Bearer" },
        },
      )
    return ownerOf(given)
  }
}

/** Where an owner stands. */
export type RateState = {
  readonly allowed: boolean
  readonly limit: number
  readonly remaining: number
  /** Until all is there again. */
  readonly resetSeconds: number
  /** Until the next place. */
  readonly waitSeconds: number
}

/** Requests per minute and owner: a bucket that refills steadily. */
export class RateLimit {
  readonly #perMinute: number
  readonly #nowMs: () => number
  readonly #buckets = new Map<string, { level: number; atMs: number }>()

  constructor(perMinute: number, nowMs: () => number) {
    this.#perMinute = perMinute
    this.#nowMs = nowMs
  }

  /** Takes one place, if there is one, and says where the owner stands. */
  take(owner: string): RateState {
    const limit = this.#perMinute
    const now = this.#nowMs()
    const before = this.#buckets.get(owner) ?? { level: limit, atMs: now }
    const level = Math.min(limit, before.level + ((now - before.atMs) / 60_000) * limit)
    const allowed = level >= 1
    const left = allowed ? level - 1 : level
    this.#buckets.set(owner, { level: left, atMs: now })
    return {
      ...{ allowed, limit, remaining: Math.floor(left) },
      resetSeconds: ((limit - left) / limit) * 60,
      waitSeconds: allowed ? 0 : Math.max(1, Math.ceil(((1 - left) / limit) * 60)),
    }
  }

  /** Counts a request; gives the headers that tell where the owner stands. @throws HttpError 429 with `Retry-After` */
  count(owner: string): Readonly<Record<string, string>> {
    const { allowed, limit, remaining, resetSeconds, waitSeconds } = this.take(owner)
    const headers = {
      "x-ratelimit-limit-requests": String(limit),
      "x-ratelimit-remaining-requests": String(remaining),
      "x-ratelimit-reset-requests": `${Math.ceil(resetSeconds)}s`,
    }
    if (allowed) return headers
    throw new HttpError(429, `key: expected at most ${limit} requests per minute, got more (wait ${waitSeconds} s)`, {
      code: "rate_limit_exceeded",
      headers: { ...headers, "retry-after": String(waitSeconds) },
    })
  }
}
