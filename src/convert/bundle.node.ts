/** @file Opens a bundle from disk: backends map its file, the rest is read by position when asked for. */
import { closeSync, fstatSync, openSync, readFileSync, readSync } from "node:fs"
import { join } from "node:path"
import { parseJsonObject } from "../checkpoint/index.ts"
import { CheckpointError, errorText } from "../util/index.ts"
import { BUNDLE_FILE, type BundleManifest, parseManifest, WEIGHTS_FILE } from "./bundle.ts"
import { bundleWeights, entriesOf, type ModelWeights, type WeightKind } from "./model-weights.ts"
import { type Prefetch, prefetchFile } from "./prefetch.node.ts"

/** One system call moves at most this much. */
const CALL_BYTES = 2 ** 30

/** Weights of an open bundle. */
export type Bundle = ModelWeights & { readonly directory: string; readonly manifest: BundleManifest }

/**
 * Opens a bundle's folder. The file stays open until `close`.
 * @throws CheckpointError when there is none, or it is of another version, damaged or incomplete
 */
export function openBundle(directory: string): Bundle {
  const manifest = readManifest(directory)
  const path = join(directory, WEIGHTS_FILE)
  const file = openSync(path, "r")
  const sizeBytes = fstatSync(file).size
  if (sizeBytes !== manifest.sizeBytes) {
    closeSync(file)
    const advice = manifest.sourceless ? "fetch or make the model again" : "delete it and convert again"
    const problem = `expected ${manifest.sizeBytes} bytes, got ${sizeBytes}`
    throw new CheckpointError(`${path}: ${problem} (the bundle is incomplete; ${advice})`)
  }
  let open = true
  const read = (offset: number, bytes: Uint8Array): void => {
    if (!open) throw new CheckpointError(`${path}: expected an open bundle, got one that was closed`)
    for (let done = 0; done < bytes.length; ) {
      const count = readSync(file, bytes, done, Math.min(CALL_BYTES, bytes.length - done), offset + done)
      if (count === 0) throw new CheckpointError(`${path}: expected ${bytes.length} bytes at ${offset}, got ${done}`)
      done += count
    }
  }
  const prefetches: Prefetch[] = []
  const prefetch = (kind: WeightKind): void => {
    if (open) prefetches.push(prefetchFile(path, entriesOf(manifest, kind)))
  }
  const close = (): void => {
    for (const { stop } of prefetches) stop()
    if (open) closeSync(file)
    open = false
  }
  return { ...bundleWeights(manifest, read, directory), prefetch, directory, manifest, close, [Symbol.dispose]: close }
}

/** @throws CheckpointError when the folder has no manifest, or one that does not hold */
export function readManifest(directory: string): BundleManifest {
  const path = join(directory, BUNDLE_FILE)
  let text: string
  try {
    text = readFileSync(path, "utf8")
  } catch (cause) {
    const message = `${path}: expected a bundle, got none (${errorText(cause)}; make one with omni convert)`
    throw new CheckpointError(message, { cause })
  }
  return parseManifest(
    parseJsonObject(text, path, (message) => new CheckpointError(message)),
    path,
  )
}
