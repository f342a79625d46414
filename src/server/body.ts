/** @file Bodies of requests, measured while they arrive: JSON with bounded size and depth, and multipart forms. */
import type { z } from "zod"
import { firstIssue, ignoredFields } from "../protocol/index.ts"
import { exactJson } from "../util/index.ts"
import type { RequestInfo, ServerContext } from "./context.ts"
import { HttpError } from "./errors.ts"

/** Deeper JSON is nobody's request. Schemas of tools are limited further by the grammar. */
const MAX_DEPTH = 100

/** Bytes of all bodies that are being read or worked on: many large ones at once are refused before they fill the memory. */
export class BodyBudget {
  readonly #mostBytes: number
  #bytes = 0

  constructor(mostBytes: number) {
    this.#mostBytes = mostBytes
  }

  get bytes(): number {
    return this.#bytes
  }

  /** @throws HttpError 503 when too many bytes are there already */
  take(bytes: number): void {
    if (this.#bytes + bytes > this.#mostBytes)
      throw new HttpError(503, "server: expected room for another body, got too many at once (try again)", {
        code: "server_busy",
        headers: { "retry-after": "5", connection: "close" },
      })
    this.#bytes += bytes
  }

  giveBack(bytes: number): void {
    this.#bytes -= bytes
  }
}

/** The whole body. @throws HttpError 413, 503 when the server holds too many, 408 when it stops arriving */
export async function readBody(
  request: Request,
  maxBytes: number,
  { hold }: Pick<RequestInfo, "hold">,
): Promise<Uint8Array<ArrayBuffer>> {
  const tooLarge = () =>
    new HttpError(413, `body: expected at most ${maxBytes} bytes, got more (send smaller files)`, {
      code: "body_too_large",
      headers: { connection: "close" },
    })
  const claimed = Number(request.headers.get("content-length") ?? 0)
  if (claimed > maxBytes) throw tooLarge()
  const pieces: Uint8Array[] = []
  let size = 0
  for await (const piece of (request.body ?? []) as AsyncIterable<Uint8Array>) {
    size += piece.length
    if (size > maxBytes) throw tooLarge()
    hold(piece.length)
    pieces.push(piece)
  }
  const bytes = new Uint8Array(size)
  let at = 0
  for (const piece of pieces) {
    bytes.set(piece, at)
    at += piece.length
  }
  return bytes
}

/** A request's body by its schema. Fields that we do not know are ignored, and named in the log. @throws HttpError 400, 413, 415 */
export async function readJson<T>(
  request: Request,
  schema: z.ZodType<T>,
  { limits, log }: Pick<ServerContext, "limits" | "log">,
  info: Pick<RequestInfo, "id" | "hold">,
): Promise<T> {
  const type = request.headers.get("content-type") ?? ""
  if (!/^application\/json\b/i.test(type))
    throw new HttpError(415, "content-type: expected application/json, got another")
  const bytes = await readBody(request, limits.maxBodyBytes, info)
  const value = parseJson(new TextDecoder().decode(bytes))
  const parsed = schema.safeParse(value)
  if (parsed.success) {
    const ignored = ignoredFields(value, parsed.data)
    if (ignored.length > 0) log("warn", "fields not known", { id: info.id, fields: ignored.join(" ") })
    return parsed.data
  }
  const { message, param } = firstIssue(parsed.error)
  throw new HttpError(400, message, { param, code: "invalid_value" })
}

/** @throws HttpError 400 for no JSON, or JSON that is too deep; nothing of it is shown */
export function parseJson(text: string): unknown {
  let depth = 0
  let quoted = false
  for (let i = 0; i < text.length; i++) {
    const char = text.charCodeAt(i)
    if (quoted) {
      if (char === 92) i++
      else if (char === 34) quoted = false
    } else if (char === 34) quoted = true
    else if (char === 91 || char === 123) {
      if (++depth > MAX_DEPTH) throw new HttpError(400, `body: expected at most ${MAX_DEPTH} levels, got more`)
    } else if (char === 93 || char === 125) depth--
  }
  try {
    return exactJson(text)
  } catch {
    throw new HttpError(400, "body: expected JSON, got something else (check quotes and commas)")
  }
}

export type Form = {
  readonly fields: Readonly<Record<string, string | undefined>>
  readonly files: ReadonlyMap<string, Uint8Array>
}

/**
 * A multipart form; of fields and files with the same name the last one counts, `name[]` counts as `name`.
 * @throws HttpError 400, 413, 415
 */
export async function readForm(request: Request, maxBytes: number, info: Pick<RequestInfo, "hold">): Promise<Form> {
  const type = request.headers.get("content-type") ?? ""
  if (!/^multipart\/form-data\b/i.test(type))
    throw new HttpError(415, "content-type: expected multipart/form-data, got another")
  const bytes = await readBody(request, maxBytes, info)
  let form: FormData
  try {
    form = await new Response(bytes, { headers: { "content-type": type } }).formData()
  } catch {
    throw new HttpError(400, "body: expected a multipart form, got something else")
  }
  const fields: Record<string, string> = Object.create(null)
  const files = new Map<string, Uint8Array>()
  for (const [name, value] of form) {
    if (typeof value === "string") fields[name.replace(/\[\]$/, "")] = value
    else files.set(name, new Uint8Array(await value.arrayBuffer()))
  }
  return { fields, files }
}

/**
 * Bytes of strict base64.
 * @throws HttpError 400, 413; the text is not shown
 */
export function fromBase64(text: string, param: string, maxBytes: number): Uint8Array {
  if (text.length > Math.ceil(maxBytes / 3) * 4)
    throw new HttpError(413, `${param}: expected at most ${maxBytes} bytes, got more`, {
      param,
      code: "file_too_large",
    })
  if (text === "" || text.length % 4 !== 0 || !/^[A-Za-z0-9+/]*={0,2}$/.test(text))
    throw new HttpError(400, `${param}: expected base64, got other characters or length`, {
      param,
      code: "invalid_value",
    })
  return Buffer.from(text, "base64")
}
