/**
 * @file int8: one scale per output channel, symmetric codes from -127 to 127, stored transposed as the kernels read them.
 */
import { invariant } from "../util/index.ts"

/** Where quantized rows go: the arrays of the whole weight, and the first row that is written. */
export type Int8Target = {
  /** [I, O] */
  readonly codes: Int8Array
  /** [O] */
  readonly scales: Float32Array
  readonly firstRow: number
}

/** Rows per tile: one cache line of codes. */
const TILE_ROWS = 64

/**
 * Quantizes rows of a linear weight: a weight becomes scale · code with scale = largest of its row / 127, so each is off
 * by at most scale / 2 (and a hair for the rounding of the scale to f32). Quantizing what `dequantizeInt8` gives yields
 * the same codes.
 * @param rows finite weights // [R, I]
 */
export function quantizeInt8(rows: Float32Array, width: number, target: Int8Target): void {
  const { codes, scales, firstRow } = target
  invariant(rows.length % width === 0, "quantizeInt8: expected whole rows")
  const count = rows.length / width
  const outer = scales.length
  const inverses = new Float64Array(TILE_ROWS)
  for (let tile = 0; tile < count; tile += TILE_ROWS) {
    const height = Math.min(TILE_ROWS, count - tile)
    for (let row = 0; row < height; row++) {
      const scale = Math.fround(largestOf(rows, (tile + row) * width, width) / 127)
      scales[firstRow + tile + row] = scale
      inverses[row] = scale === 0 ? 0 : 1 / scale
    }
    for (let i = 0; i < width; i++) {
      const at = i * outer + firstRow + tile
      for (let row = 0; row < height; row++) {
        const code = ((rows[(tile + row) * width + i]! * inverses[row]! + 1024.5) | 0) - 1024
        codes[at + row] = code > 127 ? 127 : code < -127 ? -127 : code
      }
    }
  }
}

function largestOf(rows: Float32Array, start: number, width: number): number {
  // Without the sign bit, floats order like their bits.
  const bits = new Int32Array(rows.buffer, rows.byteOffset + start * 4, width)
  let largest = 0
  let at = 0
  for (let i = 0; i < width; i++) {
    const magnitude = bits[i]! & 0x7fffffff
    if (magnitude > largest) {
      largest = magnitude
      at = i
    }
  }
  return Math.abs(rows[start + at]!)
}

/** The weights that codes and scales stand for. // [O, I] */
export function dequantizeInt8(codes: Int8Array, scales: Float32Array): Float32Array {
  const outer = scales.length
  const width = codes.length / outer
  const out = new Float32Array(codes.length)
  for (let i = 0; i < width; i++) {
    for (let row = 0; row < outer; row++) out[row * width + i] = codes[i * outer + row]! * scales[row]!
  }
  return out
}
