/** @file A bundle read whole into memory, where nothing can be mapped: browsers. */
import type { FileSource } from "../checkpoint/index.ts"
import { CheckpointError, ConfigError, errorText, sizeText } from "../util/index.ts"
import { type BundleManifest, WEIGHTS_FILE } from "./bundle.ts"
import type { TaskOptions } from "./bundle-writer.ts"
import { OWN_BUNDLE_FOLDER } from "./model-folder.ts"
import { bundleWeights, type ModelWeights, type ReadAt } from "./model-weights.ts"

const PIECE_BYTES = 32 * 2 ** 20

/**
 * Reads the bundle of a model folder.
 * @throws CheckpointError when it is incomplete, ConfigError when memory has no room for it, the signal's reason when aborted
 */
export async function readOwnBundle(
  source: FileSource,
  manifest: BundleManifest,
  { onProgress, signal }: TaskOptions = {},
): Promise<ModelWeights> {
  const path = `${OWN_BUNDLE_FOLDER}/${WEIGHTS_FILE}`
  const totalBytes = manifest.sizeBytes
  const sizeBytes = await source.size(path)
  if (sizeBytes !== totalBytes) {
    const problem = `expected ${totalBytes} bytes, got ${sizeBytes}`
    throw new CheckpointError(`${path}: ${problem} (the bundle is incomplete; fetch or make the model again)`)
  }
  let whole: Uint8Array | undefined = allocate(totalBytes)
  for (let doneBytes = 0; doneBytes < totalBytes; ) {
    signal?.throwIfAborted()
    const piece = await source.read(path, doneBytes, Math.min(PIECE_BYTES, totalBytes - doneBytes))
    whole.set(piece, doneBytes)
    doneBytes += piece.length
    onProgress?.({ name: path, doneBytes, totalBytes })
  }
  const read: ReadAt = (offset, bytes) => {
    if (!whole) throw new CheckpointError(`${path}: expected an open bundle, got one that was closed`)
    bytes.set(whole.subarray(offset, offset + bytes.length))
  }
  const close = (): void => {
    whole = undefined
  }
  return { ...bundleWeights(manifest, read, `${source.name}/${OWN_BUNDLE_FOLDER}`), close, [Symbol.dispose]: close }
}

function allocate(sizeBytes: number): Uint8Array {
  try {
    return new Uint8Array(sizeBytes)
  } catch (cause) {
    const advice = "close other pages, or take a smaller model"
    throw new ConfigError(
      `memory: expected ${sizeText(sizeBytes)} for the weights, got none: ${errorText(cause)} (${advice})`,
      { cause },
    )
  }
}
