/**
 * @file Plain data with arrays of numbers as bytes and back: a JSON header that says where each array lies, then the arrays.
 * Nothing else can come out of it, whatever the bytes say. A sum over the header tells damage from a saved call.
 */
import { InputError } from "../util/index.ts"

const ARRAYS = { f32: Float32Array, u8: Uint8Array } as const
type Kind = keyof typeof ARRAYS

const fail = (got: string): never => {
  throw new InputError(`snapshot: expected a saved call, got ${got} (save it again)`)
}

/** Length of the header and its sum. */
const PREFIX_BYTES = 8

/** FNV-1a. */
function sumOf(bytes: Uint8Array): number {
  let hash = 0x811c9dc5
  for (const byte of bytes) hash = Math.imul(hash ^ byte, 0x01000193)
  return hash >>> 0
}

export function encodeData(value: unknown): Uint8Array {
  const arrays: (Float32Array | Uint8Array)[] = []
  let at = 0
  const header = JSON.stringify(value, (_, item: unknown) => {
    if (!(item instanceof Float32Array || item instanceof Uint8Array)) return item
    const kind: Kind = item instanceof Float32Array ? "f32" : "u8"
    const place = { $array: kind, at, length: item.length }
    arrays.push(item)
    at += Math.ceil(item.byteLength / 4) * 4
    return place
  })
  const text = new TextEncoder().encode(header)
  const start = PREFIX_BYTES + Math.ceil(text.length / 4) * 4
  const bytes = new Uint8Array(start + at)
  const prefix = new DataView(bytes.buffer)
  prefix.setUint32(0, text.length, true)
  prefix.setUint32(4, sumOf(text), true)
  bytes.set(text, PREFIX_BYTES)
  let offset = start
  for (const array of arrays) {
    bytes.set(new Uint8Array(array.buffer, array.byteOffset, array.byteLength), offset)
    offset += Math.ceil(array.byteLength / 4) * 4
  }
  return bytes
}

/** @throws InputError when the bytes are not those of `encodeData` */
export function decodeData(bytes: Uint8Array): unknown {
  if (bytes.length < PREFIX_BYTES) return fail(`${bytes.length} bytes`)
  const prefix = new DataView(bytes.buffer, bytes.byteOffset, PREFIX_BYTES)
  const length = prefix.getUint32(0, true)
  const start = PREFIX_BYTES + Math.ceil(length / 4) * 4
  if (start > bytes.length) return fail("a header that is longer than the bytes")
  const header = bytes.subarray(PREFIX_BYTES, PREFIX_BYTES + length)
  if (sumOf(header) !== prefix.getUint32(4, true)) return fail("a damaged header")
  const text = new TextDecoder().decode(header)
  try {
    return JSON.parse(text, (_, item: unknown) => (isPlace(item) ? arrayAt(bytes, start, item) : item))
  } catch (cause) {
    if (cause instanceof InputError) throw cause
    return fail("a damaged header")
  }
}

type Place = { readonly $array: Kind; readonly at: number; readonly length: number }

function isPlace(item: unknown): item is Place {
  return typeof item === "object" && item !== null && Object.hasOwn(item, "$array")
}

function arrayAt(bytes: Uint8Array, start: number, { $array, at, length }: Place): Float32Array | Uint8Array {
  if (!Object.hasOwn(ARRAYS, $array)) return fail("an array of unknown kind")
  const type = ARRAYS[$array]
  const whole = Number.isSafeInteger(at) && Number.isSafeInteger(length) && at >= 0 && length >= 0
  if (!whole || start + at + length * type.BYTES_PER_ELEMENT > bytes.length) return fail("an array beyond the bytes")
  const from = bytes.byteOffset + start + at
  return new type(bytes.buffer.slice(from, from + length * type.BYTES_PER_ELEMENT) as ArrayBuffer)
}
