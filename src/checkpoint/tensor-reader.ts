/**
 * @file Named tensors read by ranges from the files of a source: one tensor, some of its rows, or rows in pieces. The
 * formats (safetensors, .pt) only say where each tensor lies; they have checked every range against its file before.
 */
import {
  allocate,
  type DType,
  dtypeBytes,
  type HostTensor,
  isFloat,
  sizeOf,
  type TypedArray,
  tensor,
  viewBytes,
  widenToF32,
} from "../tensor/index.ts"
import { ShapeError } from "../util/index.ts"
import { failure, quote } from "./fail.ts"
import type { FileSource } from "./source.ts"

/** What a checkpoint knows of a tensor without reading it. */
export type TensorInfo = {
  readonly dtype: DType
  readonly shape: readonly number[]
  /** Path of the file that holds it. */
  readonly file: string
  /** Bytes of its elements as stored. */
  readonly sizeBytes: number
}

/** Some consecutive rows of a tensor. */
export type RowChunk = { readonly firstRow: number; readonly tensor: HostTensor }

/** Named tensors that are read on demand. A *row* is one index of the first axis. Methods reject with CheckpointError. */
export type Checkpoint = {
  /** What messages call it: a path or an address. */
  readonly name: string
  /** Free text stored beside the tensors (`__metadata__` of safetensors). */
  readonly metadata: ReadonlyMap<string, string>
  names(): string[]
  has(name: string): boolean
  /** @throws CheckpointError when there is no such tensor */
  info(name: string): TensorInfo
  /** The whole tensor in its stored dtype. */
  read(name: string): Promise<HostTensor>
  /** The whole tensor widened to f32; rejects for tensors that are not floats. */
  readF32(name: string): Promise<HostTensor<"f32">>
  /** Rows `[firstRow, firstRow + rowCount)` in the stored dtype; rejects with ShapeError outside the tensor. */
  readRows(name: string, firstRow: number, rowCount: number): Promise<HostTensor>
  /** All rows in order, in pieces of at most `maxBytes` (at least one row each); a scalar is one piece. */
  rowChunks(name: string, maxBytes: number): AsyncGenerator<RowChunk, void, undefined>
}

/** Where a tensor's elements lie. */
export type StoredTensor = TensorInfo & {
  /** Byte of the first element in the file. */
  readonly start: number
  /** In elements; absent for row-major data. */
  readonly strides?: readonly number[]
}

/** Widening works in pieces of this size, so that it needs little more memory than its result. */
const WIDEN_BYTES = 2 ** 22

/** A checkpoint over tensors that were located and checked by a format's reader. */
export function createCheckpoint(
  source: FileSource,
  name: string,
  tensors: ReadonlyMap<string, StoredTensor>,
  metadata: ReadonlyMap<string, string>,
): Checkpoint {
  const find = (tensorName: string): StoredTensor => {
    const stored = tensors.get(tensorName)
    if (stored !== undefined) return stored
    throw failure(quote(tensorName), `a tensor of ${name}`, "none", "the checkpoint does not fit the model")
  }

  const read = async (tensorName: string): Promise<HostTensor> => {
    const stored = find(tensorName)
    return readElements(source, tensorName, stored, 0, stored.shape[0] ?? 1)
  }

  const readRows = async (tensorName: string, firstRow: number, rowCount: number): Promise<HostTensor> => {
    const stored = find(tensorName)
    const rows = stored.shape[0] ?? 0
    const valid = Number.isSafeInteger(firstRow) && Number.isSafeInteger(rowCount) && firstRow >= 0 && rowCount >= 0
    if (!valid || firstRow + rowCount > rows) {
      const shape = `[${stored.shape.join(", ")}]`
      throw new ShapeError(`${tensorName}: expected rows inside ${shape}, got ${rowCount} from ${firstRow}`)
    }
    return readElements(source, tensorName, stored, firstRow, rowCount)
  }

  async function* rowChunks(tensorName: string, maxBytes: number): AsyncGenerator<RowChunk, void, undefined> {
    const { dtype, shape } = find(tensorName)
    const rows = shape[0] ?? 1
    const rowBytes = sizeOf(shape.slice(1)) * dtypeBytes(dtype)
    const step = Math.max(1, rowBytes === 0 ? rows : Math.floor(maxBytes / rowBytes))
    for (let firstRow = 0; firstRow < rows; firstRow += step) {
      const rowCount = Math.min(step, rows - firstRow)
      yield { firstRow, tensor: await readElements(source, tensorName, find(tensorName), firstRow, rowCount) }
    }
  }

  const readF32 = async (tensorName: string): Promise<HostTensor<"f32">> => {
    const { dtype, shape } = find(tensorName)
    if (!isFloat(dtype)) throw failure(tensorName, "a tensor of floats", dtype, "read it in its own dtype")
    if (dtype === "f32") return (await read(tensorName)) as HostTensor<"f32">
    const data = new Float32Array(sizeOf(shape))
    const rowSize = sizeOf(shape.slice(1))
    for await (const { firstRow, tensor: rows } of rowChunks(tensorName, WIDEN_BYTES)) {
      data.set(widenToF32(dtype, rows.data), firstRow * rowSize)
    }
    return tensor("f32", shape, data)
  }

  return {
    name,
    metadata,
    names: () => [...tensors.keys()],
    has: (tensorName) => tensors.has(tensorName),
    info: (tensorName) => {
      const { dtype, shape, file, sizeBytes } = find(tensorName)
      return { dtype, shape, file, sizeBytes }
    },
    read,
    readF32,
    readRows,
    rowChunks,
  }
}

/** Rows of a stored tensor; a scalar counts as one row. */
async function readElements(
  source: FileSource,
  name: string,
  stored: StoredTensor,
  firstRow: number,
  rowCount: number,
): Promise<HostTensor> {
  const { dtype, file, strides } = stored
  const shape = stored.shape.length === 0 ? [] : [rowCount, ...stored.shape.slice(1)]
  const count = sizeOf(shape)
  const size = dtypeBytes(dtype)
  if (count === 0) return { dtype, shape, data: allocate(dtype, 0) }

  const rowStride = strides?.[0] ?? sizeOf(shape.slice(1))
  // Elements from the first one wanted to the last one wanted; the same as `count` when they lie in order.
  const span = strides === undefined ? count : shape.reduce((sum, dim, axis) => sum + (dim - 1) * strides[axis]!, 1)
  const bytes = await source.read(file, stored.start + firstRow * rowStride * size, span * size)
  const elements = viewBytes(dtype, bytes, span)
  const data = strides === undefined ? elements : gather(dtype, shape, strides, elements)
  if (dtype === "bool" && data.some((value: number | bigint) => value > 1)) {
    throw failure(`${file}: ${name}`, "bool elements of 0 or 1", "other values")
  }
  return { dtype, shape, data }
}

/** Copies strided elements into row-major order. */
function gather(dtype: DType, shape: readonly number[], strides: readonly number[], elements: TypedArray): TypedArray {
  const out = allocate(dtype, sizeOf(shape))
  const from = elements as { readonly [index: number]: number | bigint }
  const into = out as { [index: number]: number | bigint }
  const index = new Array<number>(shape.length).fill(0)
  let at = 0
  for (let i = 0; i < out.length; i++) {
    into[i] = from[at]!
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      at += strides[axis]!
      index[axis]!++
      if (index[axis]! < shape[axis]!) break
      at -= strides[axis]! * shape[axis]!
      index[axis] = 0
    }
  }
  return out
}
