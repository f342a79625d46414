/**
 * @file Writes safetensors as a stream: headers from a plan of names and shapes, then the data as a producer delivers it,
 * so that a model larger than memory can be converted. Layouts and names are those that `openCheckpoint` reads.
 */
import { type DType, dtypeBytes, type HostTensor, sizeOf } from "../tensor/index.ts"
import { CheckpointError } from "../util/index.ts"
import { failure, quote } from "./fail.ts"
import { INDEX_FILE, SINGLE_FILE } from "./safetensors.ts"
import { MAX_HEADER_BYTES, METADATA_KEY, SAFETENSORS_DTYPES } from "./safetensors-header.ts"
import { type FileSink, type FileWriter, writeText } from "./sink.ts"

/** One tensor to be written. */
export type TensorPlan = { readonly name: string; readonly dtype: DType; readonly shape: readonly number[] }

/** The elements of one tensor in row-major order, in pieces of any size (typed arrays or bytes). */
export type TensorProducer = (tensor: TensorPlan) => AsyncIterable<ArrayBufferView> | Iterable<ArrayBufferView>

export type WriteOptions = {
  /** A file is closed before it would pass this; one larger tensor has a file of its own. Default 5 GB. */
  readonly maxShardBytes?: number
  /** Default `format: pt`, which the official loader asks for. */
  readonly metadata?: Readonly<Record<string, string>>
  readonly signal?: AbortSignal
}

/** What was written: the files in order (index last), and the bytes of all tensors. */
export type WriteResult = { readonly files: readonly string[]; readonly totalBytes: number }

const DEFAULT_SHARD_BYTES = 5e9

/**
 * Writes a checkpoint, sharded when it passes `maxShardBytes`. The producer is called once per tensor: file by file, in
 * the plan's order except that wider dtypes come first in a file, which aligns every tensor to its element size.
 * All files take their names at the end, so a failure leaves what was there before; the other layout's entry file is
 * removed, since it would hide the new checkpoint.
 * @throws CheckpointError when the plan repeats a name or the producer delivers another number of bytes
 */
export async function writeCheckpoint(
  sink: FileSink,
  plan: readonly TensorPlan[],
  produce: TensorProducer,
  options: WriteOptions = {},
): Promise<WriteResult> {
  checkPlan(plan)
  const shards = splitPlan(plan, options.maxShardBytes ?? DEFAULT_SHARD_BYTES)
  const single = shards.length === 1
  const paths = single ? [SINGLE_FILE] : shards.map((_, index) => shardName(index, shards.length))
  const writers: FileWriter[] = []
  try {
    for (const [index, shard] of shards.entries()) {
      const writer = await sink.create(paths[index]!)
      writers.push(writer)
      await writeFileBody(writer, paths[index]!, shard, produce, options)
    }
    for (const writer of writers) await writer.commit()
  } catch (error) {
    await Promise.all(writers.map((writer) => writer.abort()))
    throw error
  }
  const totalBytes = plan.reduce((sum, tensor) => sum + planBytes(tensor), 0)
  if (!single) await writeText(sink, INDEX_FILE, indexText(shards, paths, totalBytes))
  await sink.remove(single ? INDEX_FILE : SINGLE_FILE)
  return { files: single ? paths : [...paths, INDEX_FILE], totalBytes }
}

/** Writes tensors that are in memory as one file under any name. */
export async function writeSafetensors(
  sink: FileSink,
  path: string,
  tensors: ReadonlyMap<string, HostTensor>,
  options: Pick<WriteOptions, "metadata" | "signal"> = {},
): Promise<void> {
  const plan = [...tensors].map(([name, { dtype, shape }]) => ({ name, dtype, shape }))
  checkPlan(plan)
  const writer = await sink.create(path)
  try {
    await writeFileBody(writer, path, alignedOrder(plan), ({ name }) => [tensors.get(name)!.data], options)
    await writer.commit()
  } catch (error) {
    await writer.abort()
    throw error
  }
}

async function writeFileBody(
  writer: FileWriter,
  path: string,
  plan: readonly TensorPlan[],
  produce: TensorProducer,
  { metadata = { format: "pt" }, signal }: WriteOptions,
): Promise<void> {
  await writer.write(encodeHeader(path, plan, metadata))
  for (const tensor of plan) {
    const expected = planBytes(tensor)
    let written = 0
    for await (const piece of produce(tensor)) {
      signal?.throwIfAborted()
      written += piece.byteLength
      if (written > expected) break
      await writer.write(new Uint8Array(piece.buffer, piece.byteOffset, piece.byteLength))
    }
    if (written !== expected) {
      const got = written > expected ? `at least ${written}` : `${written}`
      throw failure(`${path}: ${quote(tensor.name)}`, `${expected} bytes`, got, "the producer and the plan disagree")
    }
  }
}

/** Length and JSON, padded with spaces so that the data starts at a multiple of 8. */
function encodeHeader(path: string, plan: readonly TensorPlan[], metadata: Readonly<Record<string, string>>) {
  let at = 0
  const entries = plan.map((tensor) => {
    const start = at
    at += planBytes(tensor)
    const { dtype, shape } = tensor
    return [tensor.name, { dtype: SAFETENSORS_DTYPES[dtype], shape, data_offsets: [start, at] }] as const
  })
  const json = new TextEncoder().encode(JSON.stringify(Object.fromEntries([[METADATA_KEY, metadata], ...entries])))
  const headerBytes = Math.ceil(json.length / 8) * 8
  if (headerBytes > MAX_HEADER_BYTES) {
    throw failure(path, `a header of at most ${MAX_HEADER_BYTES} bytes`, `${headerBytes}`, "write smaller shards")
  }
  const bytes = new Uint8Array(8 + headerBytes).fill(0x20)
  new DataView(bytes.buffer).setBigUint64(0, BigInt(headerBytes), true)
  bytes.set(json, 8)
  return bytes
}

/** Fills one file after the other in the plan's order; an empty plan is one empty file. */
function splitPlan(plan: readonly TensorPlan[], maxShardBytes: number): TensorPlan[][] {
  const shards: TensorPlan[][] = [[]]
  let filled = 0
  for (const tensor of plan) {
    const sizeBytes = planBytes(tensor)
    if (filled > 0 && filled + sizeBytes > maxShardBytes) {
      shards.push([])
      filled = 0
    }
    shards.at(-1)!.push(tensor)
    filled += sizeBytes
  }
  return shards.map(alignedOrder)
}

function alignedOrder(plan: readonly TensorPlan[]): TensorPlan[] {
  return plan.toSorted((a, b) => dtypeBytes(b.dtype) - dtypeBytes(a.dtype))
}

function indexText(shards: readonly TensorPlan[][], paths: readonly string[], totalBytes: number): string {
  const weightMap = shards.flatMap((shard, index) => shard.map(({ name }) => [name, paths[index]!] as const))
  weightMap.sort(([a], [b]) => (a < b ? -1 : 1))
  const index = { metadata: { total_size: totalBytes }, weight_map: Object.fromEntries(weightMap) }
  return `${JSON.stringify(index, undefined, 2)}\n`
}

function shardName(index: number, count: number): string {
  const digits = (value: number): string => String(value).padStart(5, "0")
  return `model-${digits(index + 1)}-of-${digits(count)}.safetensors`
}

function planBytes({ dtype, shape }: TensorPlan): number {
  return sizeOf(shape) * dtypeBytes(dtype)
}

function checkPlan(plan: readonly TensorPlan[]): void {
  const names = new Set<string>()
  for (const { name } of plan) {
    if (names.has(name) || name === METADATA_KEY) {
      throw new CheckpointError(`checkpoint plan: expected unique tensor names, got ${quote(name)} (rename the tensor)`)
    }
    names.add(name)
  }
}
