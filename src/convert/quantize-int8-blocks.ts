/**
 * @file 8 bits in blocks: blocks of a row share one scale, symmetric codes from -127 to 127, stored + 128 in the rows'
 * own order, as the kernels for one row read them.
 */

import { invariant } from "../util/index.ts"
import { dequantizeBlocks } from "./dequantize.ts"

/** Where quantized rows go: the arrays of the whole weight, and the first row that is written. */
export type Int8BlocksTarget = {
  /** [O, ceil(I / block), block]; places beyond the row hold 128, which is zero */
  readonly codes: Uint8Array
  /** [O, ceil(I / block)] */
  readonly scales: Float32Array
  readonly blockSize: number
  readonly firstRow: number
}

/**
 * Quantizes rows of a linear weight: a weight becomes scale · code with scale = largest of its block / 127, so each is
 * off by at most scale / 2 (and a hair for the rounding of the scale to f32).
 * @param rows finite weights // [R, I]
 */
export function quantizeInt8Blocks(rows: Float32Array, width: number, target: Int8BlocksTarget): void {
  const { codes, scales, blockSize, firstRow } = target
  invariant(rows.length % width === 0, "quantizeInt8Blocks: expected whole rows")
  const blocks = Math.ceil(width / blockSize)
  const count = rows.length / width
  for (let row = 0; row < count; row++) {
    for (let block = 0; block < blocks; block++) {
      const start = row * width + block * blockSize
      const length = Math.min(blockSize, width - block * blockSize)
      const at = (firstRow + row) * blocks + block
      let largest = 0
      for (let i = start; i < start + length; i++) largest = Math.max(largest, Math.abs(rows[i]!))
      const scale = Math.fround(largest / 127)
      const inverse = scale === 0 ? 0 : 1 / scale
      scales[at] = scale
      codes.fill(128, at * blockSize + length, (at + 1) * blockSize)
      for (let i = 0; i < length; i++) {
        const code = Math.round(rows[start + i]! * inverse)
        codes[at * blockSize + i] = 128 + Math.max(-127, Math.min(127, code))
      }
    }
  }
}

/** The weights that codes and scales stand for. // [O, I] */
export function dequantizeInt8Blocks(
  codes: Uint8Array,
  scales: Float32Array,
  shape: { readonly width: number; readonly blockSize: number },
): Float32Array {
  return dequantizeBlocks(scales, shape, (at) => codes[at]! - 128)
}
