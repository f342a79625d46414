/** @file Bodies that are made while they are read: whoever stops reading for too long is cut, so that nobody holds a place for nothing. */

export type StreamEnd = {
  /** Called once, however the stream ends. */
  readonly done: () => void
  /** Nobody read for so long. */
  readonly stallMs: number
  /** The last bytes after a failure; none cuts the connection instead. */
  readonly onError?: (error: unknown) => Uint8Array<ArrayBuffer> | undefined
}

/**
 * A body of what `pieces` yields. The first piece is waited for, so that a failure before it keeps its status.
 * @throws what making the first piece throws
 */
export async function byteStream(
  pieces: AsyncGenerator<Uint8Array<ArrayBuffer>, unknown, void>,
  { done, stallMs, onError }: StreamEnd,
): Promise<ReadableStream<Uint8Array<ArrayBuffer>>> {
  let next: Promise<IteratorResult<Uint8Array<ArrayBuffer>, unknown>>
  try {
    next = Promise.resolve(await pieces.next())
  } catch (error) {
    done()
    throw error
  }
  let stalled: NodeJS.Timeout | undefined
  const end = () => {
    clearTimeout(stalled)
    done()
  }
  return new ReadableStream<Uint8Array<ArrayBuffer>>({
    async pull(controller) {
      clearTimeout(stalled)
      try {
        const { done: ended, value } = await next
        if (ended) {
          end()
          controller.close()
          return
        }
        controller.enqueue(value as Uint8Array<ArrayBuffer>)
        next = pieces.next()
        next.catch(() => undefined) // it is awaited at the next pull
        stalled = setTimeout(() => {
          controller.error(new DOMException("the body was not read", "TimeoutError"))
          end()
          pieces.return(undefined).catch(() => undefined)
        }, stallMs)
      } catch (error) {
        const last = onError?.(error)
        end()
        if (!last) return controller.error(error)
        controller.enqueue(last)
        controller.close()
      }
    },
    async cancel() {
      end()
      await pieces.return(undefined).catch(() => undefined)
    },
  })
}
