/** @file Keys of bundles: which weights, quantized how. */
import type { Checkpoint } from "../checkpoint/index.ts"
import type { TensorSpec } from "../tensor/index.ts"
import { BUNDLE_VERSION, type BundleOptions } from "./bundle.ts"

/** Changes whenever the same weights and options give other codes. */
const QUANTIZER_VERSION = 2

/**
 * A hash of what a bundle is made of: options, and for each tensor its name, dtype, shape and middle row. Training or
 * merging changes whole tensors, so one row of each tells checkpoints apart without reading gigabytes; a hand-made
 * change to other rows alone goes unseen, and then the bundle has to be deleted.
 * @returns 32 hexadecimal digits
 */
export async function bundleKey(
  checkpoint: Checkpoint,
  specs: ReadonlyMap<string, TensorSpec>,
  options: BundleOptions,
  signal?: AbortSignal,
): Promise<string> {
  // Blocks mean nothing to int8 alone.
  const used = options.quantize === "int8" ? { quantize: options.quantize } : options
  const tensors: unknown[] = []
  for (const [name, { ignored }] of specs) {
    if (ignored !== undefined) continue
    signal?.throwIfAborted()
    const { dtype, shape } = checkpoint.info(name)
    const rows = shape[0] ?? 1
    const { data } = await checkpoint.readRows(name, rows >> 1, Math.min(1, rows))
    tensors.push([name, dtype, shape, await digest(new Uint8Array(data.buffer, data.byteOffset, data.byteLength))])
  }
  const text = JSON.stringify([BUNDLE_VERSION, QUANTIZER_VERSION, used, tensors])
  return (await digest(new TextEncoder().encode(text))).slice(0, 32)
}

async function digest(bytes: Uint8Array): Promise<string> {
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes as Uint8Array<ArrayBuffer>))
  return Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("")
}
