/** @file Test helper: reads the recorded cases of the tiny model. Not part of the folder's face. */
import { readFileSync } from "node:fs"
import { viewBytes } from "../tensor/index.ts"

const FOLDER = new URL("../../test/fixtures/tiny-a/", import.meta.url)

export function goldenBytes(path: string): Uint8Array {
  return readFileSync(new URL(path, FOLDER))
}

/** The caller names the type; the files are part of the repository. */
export function goldenJson<T>(path: string): T {
  return JSON.parse(new TextDecoder().decode(goldenBytes(path))) as T
}

/** One array of a case, as its own bytes, f32 or i64 by the file's header. */
export function goldenTensor(
  path: string,
  name: string,
): { shape: number[]; data: Uint8Array | Float32Array | BigInt64Array } {
  const bytes = goldenBytes(path)
  const headerLength = Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true))
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + headerLength))) as {
    [name: string]: { dtype: string; shape: number[]; data_offsets: [number, number] }
  }
  const entry = header[name]
  if (!entry) throw new Error(`${path}: expected an array ${name}, got ${Object.keys(header).join(", ")}`)
  const part = bytes.slice(8 + headerLength + entry.data_offsets[0], 8 + headerLength + entry.data_offsets[1])
  const length = entry.shape.reduce((product, dim) => product * dim, 1)
  if (entry.dtype === "F32") return { shape: entry.shape, data: viewBytes("f32", part, length) }
  return { shape: entry.shape, data: entry.dtype === "I64" ? viewBytes("i64", part, length) : part }
}
