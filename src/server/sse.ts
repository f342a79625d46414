/** @file Server-sent events: one `data:` line per JSON object, errors inside the stream once it has begun. */
import { byteStream } from "./byte-stream.ts"
import type { RequestInfo, ServerContext } from "./context.ts"
import { errorBody, toHttpError } from "./errors.ts"

const encoder = new TextEncoder()
const line = (value: unknown) =>
  encoder.encode(`data: ${typeof value === "string" ? value : JSON.stringify(value)}\n\n`)

async function* lines(
  values: AsyncGenerator<unknown, void, void>,
): AsyncGenerator<Uint8Array<ArrayBuffer>, void, void> {
  for await (const value of values) yield line(value)
}

/**
 * A response that carries what `values` yields. The first value is waited for, so that a failure before it keeps its status.
 * @param done called once the stream has ended, for whatever reason
 */
export async function eventStream(
  values: AsyncGenerator<unknown, void, void>,
  done: () => void,
  { limits }: Pick<ServerContext, "limits">,
  info: RequestInfo,
): Promise<Response> {
  const onError = (error: unknown) => {
    info.note({ streamError: error instanceof Error ? error.name : "unknown" })
    return line(errorBody(toHttpError(error, info.id)))
  }
  const body = await byteStream(lines(values), { done, stallMs: limits.stallMs, onError })
  return new Response(body, {
    headers: {
      "content-type": "text/event-stream; charset=utf-8",
      "cache-control": "no-cache",
      "x-accel-buffering": "no",
    },
  })
}
