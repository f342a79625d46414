/** @file A model's weights as graphs and embeddings ask for them, from a bundle or from floats in memory. */
import { type Checkpoint, checkAgainstSpecs } from "../checkpoint/index.ts"
import { storedNames } from "../graph/index.ts"
import { memoryWeights, type WeightStore } from "../runtime/index.ts"
import {
  allocate,
  type DType,
  dtypeBytes,
  f32Data,
  type HostTensor,
  isFloat,
  sizeOf,
  type TensorSpec,
  widenToF32,
} from "../tensor/index.ts"
import { CheckpointError, ShapeError } from "../util/index.ts"
import { type BundleEntry, type BundleManifest, type StoredLinear, WEIGHTS_FILE } from "./bundle.ts"
import type { TaskOptions } from "./bundle-writer.ts"
import { originOf } from "./fingerprint.ts"

/** The kind of linear weights that a program would like to run with. */
export type WeightKind = "f32" | "int8" | "int4"

export type ModelWeights = Disposable & {
  /**
   * Weights for programs that prefer `kind`. A linear weight that is not stored so comes in another kind that is: int4
   * for int8 and the other way round, floats last.
   */
  readonly weights: (kind: WeightKind) => WeightStore
  /**
   * Rows of a matrix that is stored as floats, such as token embeddings.
   * @returns [ids.length, width], widened to f32
   * @throws ShapeError for an id outside of the matrix
   */
  readonly readRows: (name: string, ids: ArrayLike<number>) => Float32Array
  /** Shape of a tensor that is stored whole; undefined for others. */
  readonly shapeOf: (name: string) => readonly number[] | undefined
  /** Names the language model's weights, the same for all storages of the same values. */
  readonly origin: string
  /** Brings what programs of this kind will map into the page cache, in the background; absent for weights in memory. */
  readonly prefetch?: (kind: WeightKind) => void
  /** Frees what is held; reads after that fail. */
  close(): void
}

/** Reads `bytes.length` bytes of the weights file from `offset`. */
export type ReadAt = (offset: number, bytes: Uint8Array) => void

/** Shapes of the tensors that a bundle keeps whole. */
export function storedShapes({ entries }: BundleManifest): (name: string) => readonly number[] | undefined {
  return (name) => (Object.hasOwn(entries, name) ? entries[name]!.shape : undefined)
}

/** Weights of a bundle whose file is read through `read`. */
export function bundleWeights(
  manifest: BundleManifest,
  read: ReadAt,
  folder: string,
): Pick<ModelWeights, "weights" | "readRows" | "shapeOf" | "origin"> {
  const entryOf = (name: string): BundleEntry => {
    if (Object.hasOwn(manifest.entries, name)) return manifest.entries[name]!
    throw new CheckpointError(`${folder}: expected an entry ${name}, got none (the bundle is of another model)`)
  }
  return {
    weights: (kind) => ({
      storage: (name) => preferred(Object.hasOwn(manifest.linear, name) ? manifest.linear[name]! : [], kind),
      read: (name, dtype, shape) => readEntry(name, entryOf(name), { dtype, shape }, read),
      locate: (name) => {
        const { offset, sizeBytes, dtype } = entryOf(name)
        // Graphs compute in f32: 16-bit floats have to be widened, which only `read` does.
        return dtype === "bf16" || dtype === "f16" ? undefined : { location: WEIGHTS_FILE, offset, sizeBytes }
      },
      folder,
    }),
    shapeOf: storedShapes(manifest),
    origin: manifest.origin ?? manifest.key,
    readRows: (name, ids) => {
      const { dtype, shape, offset } = entryOf(name)
      const width = matrixWidth(name, dtype, shape)
      const rows = allocate(dtype, ids.length * width)
      const bytes = new Uint8Array(rows.buffer)
      const rowBytes = width * dtypeBytes(dtype)
      for (let i = 0; i < ids.length; i++) {
        const id = checkRow(name, ids[i]!, shape)
        read(offset + id * rowBytes, bytes.subarray(i * rowBytes, (i + 1) * rowBytes))
      }
      return widenToF32(dtype, rows)
    },
  }
}

/** The order of second choices: quantized forms are what a bundle is for. */
function preferred(forms: readonly StoredLinear[], kind: WeightKind): StoredLinear | { readonly kind: "f32" } {
  return forms.find((form) => form.kind === kind) ?? forms[0] ?? { kind: "f32" }
}

/** The arrays that programs of a kind read whole, in the order of the file. */
export function entriesOf({ entries, linear }: BundleManifest, kind: WeightKind): BundleEntry[] {
  const others = new Set<string>()
  for (const [name, forms] of Object.entries(linear)) {
    const wanted = preferred(forms, kind)
    for (const form of forms)
      if (form !== wanted) for (const part of Object.values(storedNames[form.kind](name))) others.add(part)
  }
  return Object.entries(entries)
    .filter(([name, { dtype }]) => !others.has(name) && dtype !== "bf16" && dtype !== "f16")
    .map(([, entry]) => entry)
}

function readEntry(
  name: string,
  entry: BundleEntry,
  wanted: { readonly dtype: DType; readonly shape: readonly number[] },
  read: ReadAt,
): HostTensor {
  const show = ({ dtype, shape }: typeof wanted) => `${dtype} [${shape.join(", ")}]`
  const sameShape = entry.shape.join() === wanted.shape.join()
  const widened = wanted.dtype === "f32" && isFloat(entry.dtype)
  if (!sameShape || !(entry.dtype === wanted.dtype || widened)) {
    throw new CheckpointError(`${name}: expected ${show(wanted)}, got ${show(entry)} (is the bundle of this model?)`)
  }
  const stored = allocate(entry.dtype, sizeOf(entry.shape))
  read(entry.offset, new Uint8Array(stored.buffer))
  const data = entry.dtype === wanted.dtype ? stored : widenToF32(entry.dtype, stored)
  return { dtype: wanted.dtype, shape: entry.shape, data } as HostTensor
}

function matrixWidth(name: string, dtype: DType, shape: readonly number[]): number {
  if (shape.length === 2 && isFloat(dtype)) return shape[1]!
  throw new ShapeError(`${name}: expected a matrix of floats, got ${dtype} [${shape.join(", ")}]`)
}

function checkRow(name: string, id: number, shape: readonly number[]): number {
  if (Number.isInteger(id) && id >= 0 && id < shape[0]!) return id
  throw new ShapeError(`${name}: expected row ids below ${shape[0]}, got ${id}`)
}

/**
 * All weights of a checkpoint as exact f32, in memory: for small models and for comparing with the reference.
 * @throws CheckpointError as `checkAgainstSpecs`; the signal's reason when aborted
 */
export async function floatWeights(
  checkpoint: Checkpoint,
  specs: ReadonlyMap<string, TensorSpec>,
  options: TaskOptions & { readonly ownedPrefixes: readonly string[] },
): Promise<ModelWeights> {
  checkAgainstSpecs(checkpoint, specs, options)
  const tensors = new Map<string, HostTensor>()
  const names = [...specs].filter(([, { ignored }]) => ignored === undefined).map(([name]) => name)
  const totalBytes = names.reduce((sum, name) => sum + checkpoint.info(name).sizeBytes, 0)
  let doneBytes = 0
  for (const name of names) {
    options.signal?.throwIfAborted()
    tensors.set(name, await checkpoint.readF32(name))
    doneBytes += checkpoint.info(name).sizeBytes
    options.onProgress?.({ name, doneBytes, totalBytes })
  }
  const close = () => tensors.clear()
  return {
    origin: await originOf(checkpoint, specs, options.signal),
    weights: () => memoryWeights(tensors),
    shapeOf: (name) => tensors.get(name)?.shape,
    readRows: (name, ids) => {
      const table = tensors.get(name)
      if (!table) throw new CheckpointError(`${name}: expected a weight of the model, got none`)
      const width = matrixWidth(name, table.dtype, table.shape)
      const rows = new Float32Array(ids.length * width)
      for (let i = 0; i < ids.length; i++) {
        const start = checkRow(name, ids[i]!, table.shape) * width
        rows.set(f32Data(table).subarray(start, start + width), i * width)
      }
      return rows
    },
    close,
    [Symbol.dispose]: close,
  }
}
