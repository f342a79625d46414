/** @file A checkpoint → the arrays of a bundle, tensor by tensor, with the next one in work while one is written. */
import { type Checkpoint, checkAgainstSpecs } from "../checkpoint/index.ts"
import type { Component, LinearUse } from "../models/minicpmo/index.ts"
import { type DType, flattenSpec, type TensorSpec, widenToF32 } from "../tensor/index.ts"
import { CheckpointError, invariant } from "../util/index.ts"
import {
  type BundleEntry,
  type BundleManifest,
  type BundleOptions,
  type BundlePlan,
  manifestOf,
  type PlannedTensor,
  planBundle,
} from "./bundle.ts"
import type { BundlePiece } from "./bundle-writer.ts"
import { inputFactors } from "./input-balance.ts"
import type { QuantizedArrays, Quantizer } from "./quantize-rows.ts"

const SHOWN_PROBLEMS = 5

/** Bytes of a checkpoint that are read and quantized at a time. */
const CHUNK_BYTES = 8 * 2 ** 20

/** How each tensor's component uses its linear weights. */
function usesOf(components: readonly Component[]): (name: string) => LinearUse {
  const uses = new Map(
    components.flatMap(({ spec, prefix, use }) => [...flattenSpec(spec, prefix).keys()].map((name) => [name, use])),
  )
  return (name) => {
    const use = uses.get(name)
    invariant(use, `${name} belongs to no component`)
    return use
  }
}

/** All specs of the components by name. */
export function componentTensors(components: readonly Component[]): Map<string, TensorSpec> {
  return new Map(components.flatMap(({ spec, prefix }) => [...flattenSpec(spec, prefix)]))
}

/**
 * Lays out the bundle of a checkpoint.
 * @throws CheckpointError when the checkpoint does not have exactly the components' tensors
 */
export function planCheckpoint(
  checkpoint: Checkpoint,
  components: readonly Component[],
  options: BundleOptions,
): BundlePlan {
  const specs = componentTensors(components)
  checkAgainstSpecs(checkpoint, specs, { ownedPrefixes: components.map(({ prefix }) => prefix) })
  const kept = (name: string): DType => {
    const { dtype } = checkpoint.info(name)
    return dtype === "f64" ? "f32" : dtype
  }
  return planComponents(components, kept, options)
}

/**
 * Checks that a bundle has exactly the arrays that its options ask for.
 * @param where names the bundle in errors
 * @throws CheckpointError naming the first ones that are missing, unused or different
 */
export function checkBundle(manifest: BundleManifest, components: readonly Component[], where: string): void {
  const kept = (name: string): DType => manifest.entries[name]?.dtype ?? "f32"
  const plan = planComponents(components, kept, manifest.options)
  const wanted = manifestOf(plan, manifest.key, manifest.sourceless)
  const show = (entry: BundleEntry | undefined) => (entry ? `${entry.dtype} [${entry.shape.join(", ")}]` : "none")
  const problems: string[] = []
  for (const name of new Set([...Object.keys(wanted.entries), ...Object.keys(manifest.entries)])) {
    const [expected, got] = [show(wanted.entries[name]), show(manifest.entries[name])]
    if (expected !== got) problems.push(`${name}: expected ${expected}, got ${got}`)
  }
  for (const [name, forms] of Object.entries(wanted.linear)) {
    if (JSON.stringify(manifest.linear[name]) !== JSON.stringify(forms)) problems.push(`${name}: stored otherwise`)
  }
  if (problems.length === 0) return
  const more = problems.length > SHOWN_PROBLEMS ? `, and ${problems.length - SHOWN_PROBLEMS} more` : ""
  const advice = "config.json and bundle must be of one model"
  throw new CheckpointError(`${where}: ${problems.slice(0, SHOWN_PROBLEMS).join("; ")}${more} (${advice})`)
}

/**
 * Lays out the bundle of components.
 * @param keptAs dtypes of the tables that are read by rows
 */
export function planComponents(
  components: readonly Component[],
  keptAs: (name: string) => DType,
  options: BundleOptions,
): BundlePlan {
  const byRow = new Map(components.flatMap((component) => component.byRow.map((name) => [name, keptAs(name)] as const)))
  const oneRow = new Set(components.flatMap((component) => component.oneRow))
  return planBundle({ specs: componentTensors(components), byRow, oneRow, useOf: usesOf(components) }, options)
}

/** All arrays of the plan in order. Holds at most two weights in quantized form, and a few chunks of rows. */
export async function* quantizeCheckpoint(
  checkpoint: Checkpoint,
  plan: BundlePlan,
  quantizer: Quantizer,
  signal?: AbortSignal,
): AsyncGenerator<BundlePiece, void, undefined> {
  const waiting = plan.tensors.filter(({ forms }) => forms.length > 0)
  const balances = new Map<string, Float32Array>()
  const quantize = async (tensor: PlannedTensor): Promise<readonly ArrayBufferView[]> => {
    const [first] = tensor.siblings
    const balance = balances.get(first!) ?? (await inputFactors(checkpoint, tensor.siblings, signal))
    balances.set(first!, balance)
    const arrays = await quantizeTensor(checkpoint, tensor, balance, quantizer, signal)
    const bytes = arrays.flatMap(({ codes, scales }) => [codes, scales])
    return first === tensor.name ? [balance, ...bytes] : bytes
  }
  const startNext = (): Promise<readonly ArrayBufferView[]> | undefined => {
    const next = waiting.shift()
    if (!next) return undefined
    const arrays = quantize(next)
    arrays.catch(() => {}) // reported when its turn comes
    return arrays
  }
  let ahead = startNext()
  try {
    for (const tensor of plan.tensors) {
      if (tensor.forms.length === 0) {
        yield* wholeTensor(checkpoint, tensor)
        continue
      }
      const bytes = await ahead!
      ahead = startNext()
      for (const [i, part] of tensor.parts.entries()) yield { part: part.name, bytes: bytes[i]! }
    }
  } finally {
    await ahead?.catch(() => {}) // nothing may still read when the caller closes the files
  }
}

/** A tensor as it is, in the part's dtype. */
async function* wholeTensor(checkpoint: Checkpoint, { name, parts }: PlannedTensor): AsyncGenerator<BundlePiece> {
  const part = parts[0]!
  for await (const { tensor } of checkpoint.rowChunks(name, CHUNK_BYTES)) {
    yield { part: part.name, bytes: part.dtype === tensor.dtype ? tensor.data : widenToF32(tensor.dtype, tensor.data) }
  }
}

async function quantizeTensor(
  checkpoint: Checkpoint,
  tensor: PlannedTensor,
  balance: Float32Array,
  quantizer: Quantizer,
  signal: AbortSignal | undefined,
): Promise<QuantizedArrays[]> {
  const arrays = allocateArrays(tensor, quantizer)
  const running = new Set<Promise<void>>()
  const failures: unknown[] = []
  for await (const { firstRow, tensor: rows } of checkpoint.rowChunks(tensor.name, CHUNK_BYTES)) {
    if (signal?.aborted || failures.length > 0) break
    const job = quantizer
      .quantize({ name: tensor.name, firstRow, tensor: rows, balance }, arrays)
      .catch((error: unknown) => void failures.push(error))
      .finally(() => running.delete(job))
    running.add(job)
    if (running.size > quantizer.parallel) await Promise.race(running)
  }
  await Promise.all(running)
  signal?.throwIfAborted()
  if (failures.length > 0) throw failures[0]
  return arrays
}

/** The parts of a quantized tensor are codes and scales of each form in turn, after its inputs' factors if it has them. */
function allocateArrays({ forms, parts }: PlannedTensor, { allocate }: Quantizer): QuantizedArrays[] {
  const own = parts.filter(({ role }) => role !== "balance")
  return forms.map((form, i) => {
    const [codes, scales] = [own[2 * i]!, own[2 * i + 1]!]
    return {
      form,
      codes: new Uint8Array(allocate(codes.sizeBytes)),
      scales: new Float32Array(allocate(scales.sizeBytes)),
    }
  })
}
