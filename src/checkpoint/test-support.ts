/** @file Builders of good and bad files for this folder's tests, and a source that catches unreasonable reads. */
import type { HostTensor } from "../tensor/index.ts"
import { concatenate } from "../util/index.ts"
import { memorySink, writeFile } from "./sink.ts"
import { type FileSource, memorySource } from "./source.ts"
import { writeZip, type ZipItem } from "./zip-writer.ts"

/** The bytes of text. */
export const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text)

/** A source with one file. */
export function oneFile(path: string, bytes: Uint8Array): FileSource {
  return memorySource(new Map([[path, bytes]]))
}

/** A safetensors file from a header (an object or raw text) and data; `length` lies about the header when given. */
export function rawSafetensors(header: unknown, data: Uint8Array, length?: bigint): Uint8Array {
  const json = utf8(typeof header === "string" ? header : JSON.stringify(header))
  const lengthBytes = new Uint8Array(8)
  new DataView(lengthBytes.buffer).setBigUint64(0, length ?? BigInt(json.length), true)
  return concatenate([lengthBytes, json, data])
}

/** A `.pt` archive around a pickle and storages. */
export async function rawPt(pickle: Uint8Array, storages: Readonly<Record<string, Uint8Array>>, extra: ZipItem[] = []) {
  const items = Object.entries(storages).map(([key, bytes]) => ({ name: `m/data/${key}`, bytes }))
  return zipBytes([{ name: "m/data.pkl", bytes: pickle }, ...extra, ...items])
}

export async function zipBytes(items: readonly ZipItem[]): Promise<Uint8Array> {
  const files = new Map<string, Uint8Array>()
  await writeFile(memorySink(files), "a.zip", (writer) => writeZip(writer, "a.zip", items))
  return files.get("a.zip")!
}

export type GuardedSource = FileSource & { readonly calls: { path: string; start: number; length: number }[] }

/** Records reads, and throws a plain Error (which no test accepts) for one that is larger than its file. */
export function guarded(source: FileSource): GuardedSource {
  const calls: GuardedSource["calls"] = []
  return {
    ...source,
    calls,
    read: async (path, start, length) => {
      calls.push({ path, start, length })
      if (!(length <= (await source.size(path)))) throw new Error(`read of ${length} bytes of ${path}`)
      return source.read(path, start, length)
    },
  }
}

/** Equality of tensors bit by bit (NaN equals itself). */
export function sameBits(a: HostTensor, b: HostTensor): boolean {
  const bytes = ({ data }: HostTensor): Uint8Array => new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
  const [left, right] = [bytes(a), bytes(b)]
  return (
    a.dtype === b.dtype &&
    a.shape.join() === b.shape.join() &&
    left.length === right.length &&
    left.every((byte, index) => byte === right[index])
  )
}

// Pickle assembly: each returns the bytes of one value or step.
export const op = (...bytes: number[]): Uint8Array => Uint8Array.from(bytes)
export const pText = (text: string): Uint8Array => concatenate([op(0x8c, utf8(text).length), utf8(text)])
export const pInt = (value: number): Uint8Array => op(0x4d, value & 255, value >> 8)
export const pGlobal = (module: string, name: string): Uint8Array => utf8(`c${module}\n${name}\n`)
export const pTuple = (...items: Uint8Array[]): Uint8Array => concatenate([op(0x28), ...items, op(0x74)])
export const pDict = (...items: Uint8Array[]): Uint8Array => concatenate([op(0x7d, 0x28), ...items, op(0x75)])
export const pickled = (...parts: Uint8Array[]): Uint8Array => concatenate([op(0x80, 2), ...parts, op(0x2e)])
export const pCall = (callee: Uint8Array, ...args: Uint8Array[]): Uint8Array =>
  concatenate([callee, pTuple(...args), op(0x52)])

/** A tensor over storage `key`, as torch.save describes it. */
export function pTensor(options: {
  key?: string
  storage?: string
  count: number
  offset?: number
  shape: number[]
  strides: number[]
}): Uint8Array {
  const { key = "0", storage = "FloatStorage", count, offset = 0, shape, strides } = options
  const id = pTuple(pText("storage"), pGlobal("torch", storage), pText(key), pText("cpu"), pInt(count))
  return pCall(
    pGlobal("torch._utils", "_rebuild_tensor_v2"),
    concatenate([id, op(0x51)]),
    pInt(offset),
    pTuple(...shape.map(pInt)),
    pTuple(...strides.map(pInt)),
    op(0x89),
    pCall(pGlobal("collections", "OrderedDict")),
  )
}
