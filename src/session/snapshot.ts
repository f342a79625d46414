/**
 * @file Plain data with arrays of numbers as bytes and back: a JSON header that says where each array lies, then the arrays.
 * Nothing else can come out of it, whatever the bytes say. Sums over the header and over the arrays tell damage from a saved
 * call; data of the first version has none over the arrays. Large data is written and read in steps.
 */
import { bytesPerStep, InputError, invariant, runAtOnce } from "../util/index.ts"

const ARRAYS = { f32: Float32Array, u8: Uint8Array } as const
type Kind = keyof typeof ARRAYS

const fail = (got: string): never => {
  throw new InputError(`snapshot: expected a saved call, got ${got} (save it again)`)
}

/** Length of the header and its sum. */
const PREFIX_BYTES = 8

/** FNV-1a. @param before the sum of what comes before */
export function sumOf(values: Uint8Array | Uint32Array, before = 0x811c9dc5): number {
  let hash = before
  for (let i = 0; i < values.length; i++) hash = Math.imul(hash ^ values[i]!, 0x01000193)
  return hash >>> 0
}

/** Bytes that are summed up at a time. */
const SUM_BYTES = 4 * 1024 * 1024

/** Of all bytes from a multiple of four on, by words: 0.3 s a gigabyte. */
function* wordSum(bytes: Uint8Array, start: number): Generator<undefined, string, void> {
  const end = bytes.length - ((bytes.length - start) % 4)
  const isEnough = bytesPerStep()
  let hash: number | undefined
  for (let at = start; at < end; at += SUM_BYTES) {
    const part = bytes.subarray(at, Math.min(end, at + SUM_BYTES))
    const { buffer, byteOffset } = part.byteOffset % 4 === 0 ? part : part.slice()
    hash = sumOf(new Uint32Array(buffer, byteOffset, part.length / 4), hash)
    if (isEnough(part.length)) yield undefined
  }
  return (hash ?? sumOf(new Uint32Array(0))).toString(16).padStart(8, "0")
}

export function encodeData(value: unknown): Uint8Array {
  return runAtOnce(encodeSteps(value))
}

/** {@link encodeData} in steps. */
export function* encodeSteps(value: unknown): Generator<undefined, Uint8Array, void> {
  const arrays: (Float32Array | Uint8Array)[] = []
  let at = 0
  const data = JSON.stringify(value, function (this: { [key: string]: unknown }, key, json: unknown) {
    const item = this[key] // before its toJSON, which buffers have
    if (!ArrayBuffer.isView(item)) return json
    const isBytes = item instanceof Uint8Array || item instanceof Uint8ClampedArray
    invariant(isBytes || item instanceof Float32Array, "data to save has floats and bytes alone")
    const array = isBytes ? new Uint8Array(item.buffer, item.byteOffset, item.length) : item
    const place = { $array: (isBytes ? "u8" : "f32") satisfies Kind, at, length: array.length }
    arrays.push(array)
    at += Math.ceil(array.byteLength / 4) * 4
    return place
  })
  const encoder = new TextEncoder()
  // Spaces fill it up, so that its sum covers all bytes before the arrays.
  const header = (sum: string, spaces = 0) => encoder.encode(`{"$sum":"${sum}","$data":${data}}${" ".repeat(spaces)}`)
  const textBytes = header("00000000").length
  const spaces = -textBytes & 3
  const start = PREFIX_BYTES + textBytes + spaces
  const bytes = new Uint8Array(start + at)
  let offset = start
  const isEnough = bytesPerStep()
  for (const array of arrays) {
    bytes.set(new Uint8Array(array.buffer, array.byteOffset, array.byteLength), offset)
    offset += Math.ceil(array.byteLength / 4) * 4
    if (isEnough(array.byteLength)) yield undefined
  }
  const text = header(yield* wordSum(bytes, start), spaces)
  const prefix = new DataView(bytes.buffer)
  prefix.setUint32(0, text.length, true)
  prefix.setUint32(4, sumOf(text), true)
  bytes.set(text, PREFIX_BYTES)
  return bytes
}

/** The data with its arrays. @throws InputError when the bytes are not those of `encodeData` */
export function decodeData(bytes: Uint8Array): unknown {
  return runAtOnce(decodeSteps(bytes))
}

/** {@link decodeData} in steps. */
export function* decodeSteps(bytes: Uint8Array): Generator<undefined, unknown, void> {
  const { text, start } = headerOf(bytes)
  const found: { readonly holder: { [key: string]: unknown }; readonly key: string; readonly place: Place }[] = []
  const root = parsed(text, function (this: { [key: string]: unknown }, key, item: unknown) {
    if (isPlace(item)) found.push({ holder: this, key, place: item })
    return item
  })
  if (root.$sum !== undefined && root.$sum !== (yield* wordSum(bytes, start))) return fail("damaged or missing data")
  const isEnough = bytesPerStep()
  for (const { holder, key, place } of found) {
    const array = arrayAt(bytes, start, place)
    holder[key] = array
    if (isEnough(array.byteLength)) yield undefined
  }
  return dataOf(root)
}

/** The data without its arrays, which are not looked at. @throws InputError as {@link decodeData} */
export function decodeHeader(bytes: Uint8Array): unknown {
  return dataOf(parsed(headerOf(bytes).text))
}

function headerOf(bytes: Uint8Array): { readonly text: string; readonly start: number } {
  if (bytes.length < PREFIX_BYTES) return fail(`${bytes.length} bytes`)
  const prefix = new DataView(bytes.buffer, bytes.byteOffset, PREFIX_BYTES)
  const length = prefix.getUint32(0, true)
  const start = PREFIX_BYTES + Math.ceil(length / 4) * 4
  if (start > bytes.length) return fail("a header that is longer than the bytes")
  const header = bytes.subarray(PREFIX_BYTES, PREFIX_BYTES + length)
  if (sumOf(header) !== prefix.getUint32(4, true)) return fail("a damaged header")
  return { text: new TextDecoder().decode(header), start }
}

type Root = { readonly $sum?: unknown; readonly $data?: unknown }

function parsed(text: string, revive?: (key: string, item: unknown) => unknown): Root {
  try {
    return Object(JSON.parse(text, revive)) as Root
  } catch {
    return fail("a damaged header")
  }
}

/** Data of the first version is the root itself. */
const dataOf = (root: Root): unknown => (Object.hasOwn(root, "$data") ? root.$data : root)

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
