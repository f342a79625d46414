/**
 * @file The header of a safetensors file, read with distrust: it is the border between a file from anywhere and the rest.
 * Layout: u64 length, JSON of that length, then the elements of all tensors without a gap. Elements may start at any
 * byte (the format promises no alignment), which costs nothing here because ranges are copied when read.
 * Source: the format's page in huggingface/safetensors.
 */
import { type DType, dtypeBytes } from "../tensor/index.ts"
import { CheckpointError } from "../util/index.ts"
import { type JsonObject, parseJsonObject } from "./config-file.ts"
import { failure, quote, show } from "./fail.ts"
import { findDuplicateKey } from "./json-scan.ts"
import type { FileSource } from "./source.ts"
import type { StoredTensor } from "./tensor-reader.ts"

/** The largest header that the official reader accepts. */
export const MAX_HEADER_BYTES = 100_000_000

/** The member of the header that is no tensor. */
export const METADATA_KEY = "__metadata__"

/** The format's names of the dtypes. */
export const SAFETENSORS_DTYPES: { readonly [D in DType]: string } = {
  f32: "F32",
  f16: "F16",
  bf16: "BF16",
  f64: "F64",
  i64: "I64",
  i32: "I32",
  i16: "I16",
  i8: "I8",
  u8: "U8",
  bool: "BOOL",
}
const DTYPE_BY_NAME = new Map(Object.entries(SAFETENSORS_DTYPES).map(([dtype, name]) => [name, dtype as DType]))

/** The tensors of one file in order of their data, and its free text. */
export type SafetensorsHeader = {
  readonly tensors: ReadonlyMap<string, StoredTensor>
  readonly metadata: ReadonlyMap<string, string>
}

/** Reads and checks the header of `path`. @throws CheckpointError on the first thing that is not as it must be */
export async function readHeader(source: FileSource, path: string): Promise<SafetensorsHeader> {
  const fileBytes = await source.size(path)
  if (fileBytes < 8) throw failure(path, "a safetensors file of at least 8 bytes", `${fileBytes}`)
  const lengthBytes = await source.read(path, 0, 8)
  const headerBytes = new DataView(lengthBytes.buffer, lengthBytes.byteOffset).getBigUint64(0, true)
  if (headerBytes > MAX_HEADER_BYTES) {
    throw failure(path, `a header of at most ${MAX_HEADER_BYTES} bytes`, `${headerBytes}`, "is it a safetensors file?")
  }
  const dataStart = 8 + Number(headerBytes)
  if (dataStart > fileBytes) throw failure(path, `a header of ${headerBytes} bytes`, `a file of ${fileBytes} bytes`)
  const text = decodeHeader(path, await source.read(path, 8, Number(headerBytes)))
  const members = parseJsonObject(text, `${path} header`, (message) => new CheckpointError(message))
  const duplicate = findDuplicateKey(text)
  if (duplicate !== undefined) throw failure(path, "unique names in the header", `${quote(duplicate)} twice`)
  const { [METADATA_KEY]: metadata, ...entries } = members
  return { tensors: locate(path, entries, dataStart, fileBytes), metadata: parseMetadata(path, metadata) }
}

function decodeHeader(path: string, bytes: Uint8Array): string {
  if (bytes[0] !== 0x7b) throw failure(path, 'a header that starts with "{"', `byte ${bytes[0] ?? "none"}`)
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes)
  } catch {
    throw failure(path, "a header of UTF-8 text", "other bytes")
  }
}

function parseMetadata(path: string, value: unknown): Map<string, string> {
  if (value === undefined) return new Map()
  const entries = typeof value === "object" && value !== null && !Array.isArray(value) ? Object.entries(value) : null
  if (entries === null) throw failure(path, `${METADATA_KEY} to be an object`, show(value))
  const wrong = entries.find(([, text]) => typeof text !== "string")
  if (wrong) throw failure(path, `${METADATA_KEY} of strings`, `${quote(wrong[0])}: ${show(wrong[1])}`)
  return new Map(entries as [string, string][])
}

/** Checks every entry, and that together they cover the data once, in some order, without a gap. */
function locate(path: string, entries: JsonObject, dataStart: number, fileBytes: number): Map<string, StoredTensor> {
  const tensors = Object.entries(entries).map(([name, entry]) => [name, parseEntry(path, name, entry)] as const)
  tensors.sort(([, a], [, b]) => a.start - b.start || a.sizeBytes - b.sizeBytes)
  const dataBytes = fileBytes - dataStart
  const neededBytes = tensors.reduce((most, [, { start, sizeBytes }]) => Math.max(most, start + sizeBytes), 0)
  if (neededBytes !== dataBytes) {
    throw failure(path, `${dataStart + neededBytes} bytes as its header says`, `a file of ${fileBytes} bytes`)
  }
  let end = 0
  const located = new Map<string, StoredTensor>()
  for (const [name, tensor] of tensors) {
    if (tensor.start !== end) {
      const fault = tensor.start < end ? "an overlap" : "a gap"
      throw failure(`${path}: ${quote(name)}`, `data from byte ${end}`, `${fault} at byte ${tensor.start}`)
    }
    end += tensor.sizeBytes
    located.set(name, { ...tensor, start: dataStart + tensor.start })
  }
  return located
}

/** One entry of the header; `start` counts from the beginning of the data. */
function parseEntry(path: string, name: string, entry: unknown): StoredTensor {
  const where = `${path}: ${quote(name)}`
  if (typeof entry !== "object" || entry === null || Array.isArray(entry)) {
    throw failure(where, "an object with dtype, shape and data_offsets", show(entry))
  }
  const { dtype: dtypeName, shape, data_offsets: offsets } = entry as JsonObject
  const dtype = typeof dtypeName === "string" ? DTYPE_BY_NAME.get(dtypeName) : undefined
  if (dtype === undefined) {
    const known = [...DTYPE_BY_NAME.keys()].join(", ")
    throw failure(where, `a dtype of ${known}`, show(dtypeName), "use a checkpoint in one of these")
  }
  if (!isCounts(shape)) throw failure(where, "a shape of whole numbers", show(shape))
  if (!isCounts(offsets) || offsets.length !== 2 || offsets[0]! > offsets[1]!) {
    throw failure(where, "data_offsets of two increasing whole numbers", show(offsets))
  }
  const [start, end] = offsets as [number, number]
  // A product beyond 2^53 is inexact, yet far above any offset, so the comparison still fails as it must.
  const sizeBytes = shape.reduce((product, dim) => product * dim, dtypeBytes(dtype))
  if (sizeBytes !== end - start) {
    throw failure(where, `${sizeBytes} bytes for ${dtypeName} [${shape.join(", ")}]`, `${end - start}`)
  }
  return { dtype, shape, file: path, sizeBytes, start }
}

function isCounts(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((item) => Number.isSafeInteger(item) && item >= 0)
}
