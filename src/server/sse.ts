/** @file Server-sent events: one `data:` line per JSON object, errors inside the stream once it has begun. */
import { errorBody, toHttpError } from "./errors.ts"

const encoder = new TextEncoder()
const line = (value: unknown) =>
  encoder.encode(`data: ${typeof value === "string" ? value : JSON.stringify(value)}\n\n`)

/**
 * A response that carries what `values` yields. The first value is waited for, so that a failure before it keeps its status.
 * @param done called once the stream has ended, for whatever reason
 */
export async function eventStream(
  values: AsyncGenerator<unknown, void, void>,
  { done, requestId, onError }: { done: () => void; requestId: string; onError: (error: unknown) => void },
): Promise<Response> {
  let next: Promise<IteratorResult<unknown, void>>
  try {
    next = Promise.resolve(await values.next())
  } catch (error) {
    done()
    throw error
  }
  const body = new ReadableStream<Uint8Array<ArrayBuffer>>({
    async pull(controller) {
      try {
        const { done: ended, value } = await next
        if (ended) {
          done()
          controller.close()
          return
        }
        controller.enqueue(line(value))
        next = values.next()
        next.catch(() => undefined) // it is awaited at the next pull
      } catch (error) {
        onError(error)
        done()
        controller.enqueue(line(errorBody(toHttpError(error, requestId))))
        controller.close()
      }
    },
    async cancel() {
      done()
      await values.return(undefined).catch(() => undefined)
    },
  })
  return new Response(body, {
    headers: {
      "content-type": "text/event-stream; charset=utf-8",
      "cache-control": "no-cache",
      "x-accel-buffering": "no",
    },
  })
}
