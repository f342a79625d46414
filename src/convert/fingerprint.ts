/** @file What weights are told apart by: keys of bundles, and the origin of a language model whatever its storage. */
import type { Checkpoint } from "../checkpoint/index.ts"
import { LLM_PREFIX } from "../models/minicpmo/index.ts"
import { type HostTensor, type TensorSpec, widenToF32 } from "../tensor/index.ts"
import { BUNDLE_VERSION, type BundleOptions } from "./bundle.ts"

/** Changes whenever the same weights and options give other codes. */
const QUANTIZER_VERSION = 2

/** Hexadecimal digits of a key. */
const KEY_LENGTH = 32

export type BundleKeys = {
  /** A hash of what a bundle is made of: options, and each tensor's name, dtype, shape and middle row. */
  readonly key: string
  /** As {@link originOf}. */
  readonly origin: string
}

/**
 * Training or merging changes whole tensors, so one row of each tells checkpoints apart without reading gigabytes; a
 * hand-made change to other rows alone goes unseen, and then the bundle has to be deleted.
 */
export async function bundleKeys(
  checkpoint: Checkpoint,
  specs: ReadonlyMap<string, TensorSpec>,
  options: BundleOptions,
  signal?: AbortSignal,
): Promise<BundleKeys> {
  // Blocks mean nothing to int8 alone.
  const used = options.quantize === "int8" ? { quantize: options.quantize } : options
  const rows = await middleRows(checkpoint, specs, signal)
  const tensors: unknown[] = []
  for (const [name, { shape, row }] of rows) tensors.push([name, row.dtype, shape, await digest(bytesOf(row.data))])
  return { key: await keyOf([BUNDLE_VERSION, QUANTIZER_VERSION, used, tensors]), origin: await originKey(rows) }
}

/**
 * A hash of the language model's weights before they were quantized: the same for all storages of the same values.
 * It sees what the keys of bundles see.
 */
export async function originOf(
  checkpoint: Checkpoint,
  specs: ReadonlyMap<string, TensorSpec>,
  signal?: AbortSignal,
): Promise<string> {
  return await originKey(await middleRows(checkpoint, specs, signal))
}

type MiddleRow = { readonly shape: readonly number[]; readonly row: HostTensor }

async function middleRows(
  checkpoint: Checkpoint,
  specs: ReadonlyMap<string, TensorSpec>,
  signal: AbortSignal | undefined,
): Promise<Map<string, MiddleRow>> {
  const rows = new Map<string, MiddleRow>()
  for (const [name, { ignored }] of specs) {
    if (ignored !== undefined) continue
    signal?.throwIfAborted()
    const { shape } = checkpoint.info(name)
    const count = shape[0] ?? 1
    rows.set(name, { shape, row: await checkpoint.readRows(name, count >> 1, Math.min(1, count)) })
  }
  return rows
}

async function originKey(rows: ReadonlyMap<string, MiddleRow>): Promise<string> {
  const tensors: unknown[] = []
  for (const [name, { shape, row }] of rows) {
    if (!name.startsWith(`${LLM_PREFIX}.`)) continue
    tensors.push([name, shape, await digest(bytesOf(widenToF32(row.dtype, row.data)))])
  }
  return await keyOf(tensors)
}

const bytesOf = ({ buffer, byteOffset, byteLength }: ArrayBufferView) => new Uint8Array(buffer, byteOffset, byteLength)

async function keyOf(content: readonly unknown[]): Promise<string> {
  return (await digest(new TextEncoder().encode(JSON.stringify(content)))).slice(0, KEY_LENGTH)
}

async function digest(bytes: Uint8Array): Promise<string> {
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes as Uint8Array<ArrayBuffer>))
  return Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("")
}
