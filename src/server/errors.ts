/** @file Everything that goes wrong as OpenAI's error object: the one place where statuses, types and codes are chosen. */
import type { ApiErrorBody } from "../protocol/index.ts"
import { BackendError, ConfigError, InputError } from "../util/index.ts"

/** A refusal with its status; the message is for the client and holds nothing of the request's content. */
export class HttpError extends Error {
  readonly status: number
  readonly type: string
  readonly code: string | null
  readonly param: string | null
  readonly headers: Readonly<Record<string, string>>
  constructor(
    status: number,
    message: string,
    {
      code = null,
      param = null,
      headers = {},
    }: { code?: string | null; param?: string | null; headers?: Readonly<Record<string, string>> } = {},
  ) {
    super(message)
    this.status = status
    this.type = typeOf(status)
    this.code = code
    this.param = param
    this.headers = headers
  }
}

function typeOf(status: number): string {
  if (status === 429) return "rate_limit_exceeded"
  return status >= 500 ? "server_error" : "invalid_request_error"
}

/** An InputError names its field before the first colon: `messages: expected …`. */
function paramOf(message: string): string | null {
  return /^([\w.[\]]{1,80}): /.exec(message)?.[1] ?? null
}

/** What the client is told. Errors that we did not foresee say only where to look: the request's id in the log. */
export function toHttpError(error: unknown, requestId: string): HttpError {
  if (error instanceof HttpError) return error
  if (error instanceof InputError) return new HttpError(400, error.message, { param: paramOf(error.message) })
  // What the loaded model cannot do (see, hear, speak), or a request that needs a program that is not there.
  if (error instanceof ConfigError) return new HttpError(400, error.message, { code: "unsupported" })
  if (error instanceof BackendError)
    return new HttpError(503, "engine: expected a running engine, got one that stopped (try again)", {
      code: "engine_stopped",
      headers: { "retry-after": "2" },
    })
  if (error instanceof DOMException && error.name === "TimeoutError")
    return new HttpError(504, "request: expected an answer in time, got none (ask for less)", { code: "timeout" })
  // Nobody reads this: the status is for the log and the metrics.
  if (error instanceof Error && error.name === "AbortError")
    return new HttpError(499, "request: expected a client that waits, got one that left", { code: "cancelled" })
  return new HttpError(500, `internal error (the server's log tells more under ${requestId})`, {
    code: "internal_error",
  })
}

export function errorBody({ message, type, param, code }: HttpError): ApiErrorBody {
  return { error: { message, type, param, code } }
}
