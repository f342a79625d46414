/** @file Tensors in host memory: a dtype, a shape of numbers, and row-major data. Plain data, no methods. */
import { invariant, ShapeError } from "../util/index.ts"
import { allocate, type DType, type TypedArray, type TypedArrayOf } from "./dtype.ts"

/** Row-major tensor in host memory. */
export type HostTensor<D extends DType = DType> = {
  readonly dtype: D
  readonly shape: readonly number[]
  readonly data: TypedArrayOf[D]
}

/** Number of elements of a shape; 1 for a scalar. */
export function sizeOf(shape: readonly number[]): number {
  return shape.reduce((product, dim) => product * dim, 1)
}

/** Row-major strides in elements. */
export function stridesOf(shape: readonly number[]): number[] {
  const strides = new Array<number>(shape.length)
  let stride = 1
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    strides[axis] = stride
    stride *= shape[axis]!
  }
  return strides
}

/** @throws ShapeError when the data's length is not the product of the shape */
export function tensor<D extends DType>(dtype: D, shape: readonly number[], data: TypedArrayOf[D]): HostTensor<D> {
  if (data.length !== sizeOf(shape)) {
    throw new ShapeError(`tensor: expected ${sizeOf(shape)} elements for [${shape.join(", ")}], got ${data.length}`)
  }
  return { dtype, shape, data }
}

export function zeros<D extends DType>(dtype: D, shape: readonly number[]): HostTensor<D> {
  return { dtype, shape, data: allocate(dtype, sizeOf(shape)) }
}

export function f32(shape: readonly number[], values: ArrayLike<number>): HostTensor<"f32"> {
  return tensor("f32", shape, values instanceof Float32Array ? values : Float32Array.from(values))
}

export function i64(shape: readonly number[], values: readonly (number | bigint)[]): HostTensor<"i64"> {
  return tensor(
    "i64",
    shape,
    BigInt64Array.from(values, (value) => BigInt(value)),
  )
}

export function i32(shape: readonly number[], values: ArrayLike<number>): HostTensor<"i32"> {
  return tensor("i32", shape, Int32Array.from(values))
}

export function bool(shape: readonly number[], values: ArrayLike<boolean | number>): HostTensor<"bool"> {
  return tensor("bool", shape, Uint8Array.from(Array.from(values, (value) => (value ? 1 : 0))))
}

/** The data of a tensor known to be f32. */
export function f32Data(value: HostTensor): Float32Array {
  invariant(value.dtype === "f32", `expected f32 data, got ${value.dtype}`)
  return value.data as Float32Array
}

/** Any element as a JavaScript number (i64 values beyond 2^53 lose precision). */
export function numberAt(data: TypedArray, index: number): number {
  return Number(data[index])
}

/** The largest difference relative to the largest expected magnitude; infinite when shapes differ or a value is NaN. */
export function relativeToMaxAbs(got: HostTensor, want: HostTensor): number {
  if (got.data.length !== want.data.length) return Number.POSITIVE_INFINITY
  let largest = 0
  let difference = 0
  for (let i = 0; i < want.data.length; i++) {
    const a = numberAt(got.data, i)
    const b = numberAt(want.data, i)
    if (Number.isNaN(a) || Number.isNaN(b)) return Number.POSITIVE_INFINITY
    largest = Math.max(largest, Math.abs(b))
    difference = Math.max(difference, Math.abs(a - b))
  }
  return difference === 0 ? 0 : difference / (largest || 1)
}
