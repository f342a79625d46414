/** @file Rows of a weight as they lie in the checkpoint → their places in the arrays of all its quantized forms. */
import { type HostTensor, rotateRows, sizeOf, widenToF32 } from "../tensor/index.ts"
import { CheckpointError } from "../util/index.ts"
import type { StoredLinear } from "./bundle.ts"
import { quantizeInt4 } from "./quantize-int4.ts"
import { quantizeInt8 } from "./quantize-int8.ts"
import { quantizeInt8Blocks } from "./quantize-int8-blocks.ts"

/** One quantized form of a whole weight [O, I] in memory: codes and scales as in the bundle. */
export type QuantizedArrays = { readonly form: StoredLinear; readonly codes: Uint8Array; readonly scales: Float32Array }

/** Some consecutive rows of the weight `name`, of any float dtype. // [R, ...], I values a row */
export type WeightRows = {
  readonly name: string
  readonly firstRow: number
  readonly tensor: HostTensor
  /** What the weight's inputs are multiplied by: powers of two, or 0 for a column of zeros. // [I] */
  readonly balance?: Float32Array
}

/** Quantizes rows, here or in a worker. The arrays it fills must come from `allocate`, so that workers see them. */
export type Quantizer = {
  /** How many calls of `quantize` it makes sense to have under way. */
  readonly parallel: number
  readonly allocate: (sizeBytes: number) => ArrayBufferLike
  /** The rows belong to the quantizer from now on. @throws CheckpointError for NaN and infinity */
  readonly quantize: (rows: WeightRows, arrays: readonly QuantizedArrays[]) => Promise<void>
}

/** Beyond this, sums of a rotation may overflow; no weight of a model comes near it. */
const MAX_WEIGHT = 1e36

/**
 * Fills the rows' places in all arrays.
 * @throws CheckpointError naming the weight and the row that holds NaN, infinity or an absurd value
 */
export function quantizeRows(
  { name, firstRow, tensor, balance }: WeightRows,
  arrays: readonly QuantizedArrays[],
): void {
  const width = sizeOf(tensor.shape.slice(1))
  const rows = widenToF32(tensor.dtype, tensor.data)
  checkFinite(name, rows, firstRow, width)
  if (balance) divideColumns(rows, balance)
  let rotation = 1
  for (const { form, codes, scales } of arrays) {
    if (form.rotation !== rotation) {
      rotateRows(rows, width, rotation) // its own inverse
      rotateRows(rows, width, form.rotation)
      rotation = form.rotation
    }
    switch (form.kind) {
      case "int4":
        quantizeInt4(rows, width, { codes, scales, blockSize: form.blockSize, firstRow })
        break
      case "int8-blocks":
        quantizeInt8Blocks(rows, width, { codes, scales, blockSize: form.blockSize, firstRow })
        break
      case "int8":
        quantizeInt8(rows, width, {
          codes: new Int8Array(codes.buffer, codes.byteOffset, codes.length),
          scales,
          firstRow,
        })
    }
  }
}

function divideColumns(rows: Float32Array, balance: Float32Array): void {
  const inverse = balance.map((factor) => (factor === 0 ? 0 : 1 / factor))
  const width = inverse.length
  for (let start = 0; start < rows.length; start += width) {
    for (let i = 0; i < width; i++) rows[start + i]! *= inverse[i]!
  }
}

function checkFinite(name: string, rows: Float32Array, firstRow: number, width: number): void {
  for (let i = 0; i < rows.length; i++) {
    if (Math.abs(rows[i]!) <= MAX_WEIGHT) continue
    const row = firstRow + Math.floor(i / width)
    const advice = "the checkpoint is damaged; download it again"
    throw new CheckpointError(`${name}: expected finite weights, got ${rows[i]} in row ${row} (${advice})`)
  }
}

/** Quantizes on the calling thread. */
export const localQuantizer: Quantizer = {
  parallel: 1,
  allocate: (sizeBytes) => new ArrayBuffer(sizeBytes),
  quantize: async (rows, arrays) => quantizeRows(rows, arrays),
}
