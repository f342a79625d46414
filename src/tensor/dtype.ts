/** @file Element types: names, sizes, typed arrays, and the two 16-bit float formats that JavaScript lacks. */

/** Element type of a tensor. `f16` and `bf16` are held as raw bits in a Uint16Array. */
export const DTYPES = ["f32", "f16", "bf16", "f64", "i64", "i32", "i16", "i8", "u8", "bool"] as const
export type DType = (typeof DTYPES)[number]

/** Where the bits of each dtype live on the host; `bool` is one byte, 0 or 1. */
export type TypedArrayOf = {
  f32: Float32Array
  f16: Uint16Array
  bf16: Uint16Array
  f64: Float64Array
  i64: BigInt64Array
  i32: Int32Array
  i16: Int16Array
  i8: Int8Array
  u8: Uint8Array
  bool: Uint8Array
}
export type TypedArray = TypedArrayOf[DType]

const CONSTRUCTORS = {
  f32: Float32Array,
  f16: Uint16Array,
  bf16: Uint16Array,
  f64: Float64Array,
  i64: BigInt64Array,
  i32: Int32Array,
  i16: Int16Array,
  i8: Int8Array,
  u8: Uint8Array,
  bool: Uint8Array,
} as const

/** Bytes of one element. */
export function dtypeBytes(dtype: DType): number {
  return CONSTRUCTORS[dtype].BYTES_PER_ELEMENT
}

export function isFloat(dtype: DType): boolean {
  return dtype === "f32" || dtype === "f16" || dtype === "bf16" || dtype === "f64"
}

/** A zeroed array of `length` elements. */
export function allocate<D extends DType>(dtype: D, length: number): TypedArrayOf[D] {
  return new CONSTRUCTORS[dtype](length) as TypedArrayOf[D]
}

/** A view of `length` elements over existing bytes; copies only when the offset is not aligned. */
export function viewBytes<D extends DType>(dtype: D, bytes: Uint8Array, length: number): TypedArrayOf[D] {
  const size = dtypeBytes(dtype)
  const aligned = bytes.byteOffset % size === 0 ? bytes : bytes.slice()
  return new CONSTRUCTORS[dtype](aligned.buffer as ArrayBuffer, aligned.byteOffset, length) as TypedArrayOf[D]
}

const scratchF32 = new Float32Array(1)
const scratchU32 = new Uint32Array(scratchF32.buffer)

/** Rounds to nearest even bf16 and returns its bits. */
export function f32ToBf16Bits(value: number): number {
  scratchF32[0] = value
  const bits = scratchU32[0]!
  if ((bits & 0x7fffffff) > 0x7f800000) return (bits >>> 16) | 0x40 // keep NaN a NaN
  return ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff
}

export function bf16BitsToF32(bits: number): number {
  scratchU32[0] = bits << 16
  return scratchF32[0]!
}

/** Rounds to nearest even f16 and returns its bits; overflow becomes infinity. */
export function f32ToF16Bits(value: number): number {
  scratchF32[0] = value
  const bits = scratchU32[0]!
  const sign = (bits >>> 16) & 0x8000
  const magnitude = bits & 0x7fffffff
  if (magnitude > 0x7f800000) return sign | 0x7e00
  if (magnitude >= 0x477ff000) return sign | 0x7c00 // rounds past 65504
  if (magnitude < 0x38800000) {
    // Subnormal: adding 0.5 lines the mantissa up with f32 rounding at 2^-24.
    scratchF32[0] = Math.abs(value) + 0.5
    return sign | (scratchU32[0]! - 0x3f000000)
  }
  return sign | ((magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1)) >>> 13)
}

export function f16BitsToF32(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1
  const exponent = (bits >>> 10) & 0x1f
  const mantissa = bits & 0x3ff
  if (exponent === 0) return sign * mantissa * 2 ** -24
  if (exponent === 31) return mantissa ? Number.NaN : sign * Number.POSITIVE_INFINITY
  return sign * (1 + mantissa / 1024) * 2 ** (exponent - 15)
}

let f16Table: Float32Array | undefined

/** Widens raw elements of a float dtype to f32. Returns the input itself when it is f32 already. */
export function widenToF32(dtype: DType, data: TypedArray): Float32Array {
  if (data instanceof Float32Array) return data
  const out = new Float32Array(data.length)
  if (dtype === "bf16") {
    const bits = new Uint32Array(out.buffer)
    const source = data as Uint16Array
    for (let i = 0; i < source.length; i++) bits[i] = source[i]! << 16
  } else if (dtype === "f16") {
    f16Table ??= Float32Array.from({ length: 65536 }, (_, i) => f16BitsToF32(i))
    const source = data as Uint16Array
    for (let i = 0; i < source.length; i++) out[i] = f16Table[source[i]!]!
  } else {
    for (let i = 0; i < data.length; i++) out[i] = Number(data[i])
  }
  return out
}

/** Narrows f32 values to the raw elements of a float dtype. */
export function narrowFromF32(dtype: DType, data: Float32Array): TypedArray {
  if (dtype === "f32") return data
  const out = allocate(dtype, data.length)
  if (dtype === "bf16") for (let i = 0; i < data.length; i++) out[i] = f32ToBf16Bits(data[i]!)
  else if (dtype === "f16") for (let i = 0; i < data.length; i++) out[i] = f32ToF16Bits(data[i]!)
  else if (out instanceof BigInt64Array) for (let i = 0; i < data.length; i++) out[i] = BigInt(Math.trunc(data[i]!))
  else for (let i = 0; i < data.length; i++) out[i] = data[i]!
  return out
}
