/** @file Writes a bundle as a stream, array after array, in bounded memory. */
import { type FileSink, type FileWriter, writeFile, writeText } from "../checkpoint/index.ts"
import { invariant } from "../util/index.ts"
import { BUNDLE_FILE, type BundlePlan, manifestOf, WEIGHTS_FILE } from "./bundle.ts"

/** How far a long task is, in bytes written. */
export type Progress = { readonly name: string; readonly doneBytes: number; readonly totalBytes: number }

export type TaskOptions = {
  readonly onProgress?: ((progress: Progress) => void) | undefined
  readonly signal?: AbortSignal | undefined
}

/** Bytes of an array of the bundle; `part` is its name. */
export type BundlePiece = { readonly part: string; readonly bytes: ArrayBufferView }

/**
 * Writes `weights.bin`, then `bundle.json`, so that a folder with a `bundle.json` is whole.
 * @param pieces all arrays in the plan's order, each in one or more pieces. The next piece is asked for while the last
 *   one is being written: a producer may reuse a buffer for every other piece
 * @throws the signal's reason when aborted; nothing appears under the files' names then
 */
export async function writeBundle(
  sink: FileSink,
  plan: BundlePlan,
  pieces: AsyncIterable<BundlePiece> | Iterable<BundlePiece>,
  {
    key,
    sourceless,
    origin,
    onProgress,
    signal,
  }: { readonly key: string; readonly sourceless: boolean; readonly origin?: string } & TaskOptions,
): Promise<void> {
  const parts = plan.tensors.flatMap((tensor) => tensor.parts)
  await writeFile(sink, WEIGHTS_FILE, async (file) => {
    const writer = overlapped(file)
    let index = -1
    let at = 0
    let end = 0
    for await (const { part, bytes } of pieces) {
      signal?.throwIfAborted()
      if (index < 0 || parts[index]!.name !== part) {
        const next = parts[++index]
        invariant(
          next?.name === part && at === end,
          `bundle: expected ${parts[index]?.name} at ${end}, got ${part} at ${at}`,
        )
        await writer.write(new Uint8Array(next.offset - at))
        at = next.offset
        end = at + next.sizeBytes
      }
      at += bytes.byteLength
      invariant(at <= end, `bundle: ${part} has more than ${parts[index]!.sizeBytes} bytes`)
      await writer.write(new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength))
      onProgress?.({ name: part, doneBytes: at, totalBytes: plan.sizeBytes })
    }
    invariant(index === parts.length - 1 && at === end, `bundle: ended at ${at} of ${plan.sizeBytes} bytes`)
    await writer.flush()
  })
  await writeText(sink, BUNDLE_FILE, `${JSON.stringify(manifestOf(plan, key, sourceless, origin), undefined, 1)}\n`)
}

/** Lets one write run while its producer works on the next bytes. */
function overlapped(file: FileWriter) {
  let pending: Promise<void> = Promise.resolve()
  return {
    write: async (bytes: Uint8Array): Promise<void> => {
      await pending
      pending = file.write(bytes)
      pending.catch(() => {}) // reported by the next await
    },
    flush: () => pending,
  }
}
