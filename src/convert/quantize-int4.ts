/**
 * @file int4: blocks of a row share one scale; codes are -8 to 7, stored + 8, two to a byte, low nibble first. The scale
 * of a block is found by search: for each way of rounding in a short list, the best scale follows by least squares, and
 * the pair with the smallest squared error wins.
 */

import { invariant } from "../util/index.ts"
import { dequantizeBlocks } from "./dequantize.ts"

/**
 * Where the largest weight of a block lands on the code axis, towards -8, before rounding: beyond 8.5 it is clipped for
 * the good of the others. Chosen greedily by the error on normal and heavy-tailed weights in blocks of 32, 64 and 128;
 * four are within 1.2 % of the error of a search over 67.
 */
const PEAKS = [8, 8.5, 9.25, 7.25] as const

/** The search runs on integers, several times as fast: the largest weight of a block is -2^14, a peak 1/64 units. */
const LARGEST = 2 ** 14
const [PEAK0, PEAK1, PEAK2, PEAK3] = PEAKS.map((peak) => peak * 64) as [number, number, number, number]
/** Bits from the product of the two to a code. */
const SHIFT = 20
const HALF = 1 << (SHIFT - 1)

/** A later candidate must be better by more than rounding, so that equal ones are told apart in the same way always. */
const MARGIN = 1 + 1e-7

/** Scales stay where code -8 is still a finite f32. */
const MAX_SCALE = 3.4e38 / 8

/** Where quantized rows go: the arrays of the whole weight, and the first row that is written. */
export type Int4Target = {
  /** [O, ceil(I / block), block / 2] */
  readonly codes: Uint8Array
  /** [O, ceil(I / block)] */
  readonly scales: Float32Array
  readonly blockSize: number
  readonly firstRow: number
}

/**
 * Quantizes rows of a linear weight: a weight becomes scale · code. The squared error of a block of n is below
 * n · (scale' / 2)² + clip², where scale' is largest / -8 and clip what a weight of the other sign beyond 7.5 scale'
 * loses (at most scale' each): the first candidate of the search is plain rounding to that scale, and the others only
 * win by less error. Scales may be negative. Quantizing what `dequantizeInt4` gives yields the same codes.
 * @param rows finite weights // [R, I]
 */
export function quantizeInt4(rows: Float32Array, width: number, target: Int4Target): void {
  const { codes, scales, blockSize, firstRow } = target
  invariant(rows.length % width === 0 && blockSize % 2 === 0, "quantizeInt4: expected whole rows and an even block")
  const blocks = Math.ceil(width / blockSize)
  const count = rows.length / width
  const search = blockSearch(rows, blockSize)
  for (let row = 0; row < count; row++) {
    for (let block = 0; block < blocks; block++) {
      const start = row * width + block * blockSize
      const at = (firstRow + row) * blocks + block
      scales[at] = search.quantize(start, Math.min(blockSize, width - block * blockSize))
      const byte = at * (blockSize / 2)
      const { chosen } = search
      for (let i = 0; i < blockSize; i += 2) codes[byte + (i >> 1)] = (chosen[i]! + 8) | ((chosen[i + 1]! + 8) << 4)
    }
  }
}

function blockSearch(rows: Float32Array, blockSize: number) {
  const bits = new Int32Array(rows.buffer, rows.byteOffset, rows.length)
  const scaled = new Int32Array(blockSize)
  const chosen = new Int32Array(blockSize)

  /** Fills `chosen` with the codes of a block and returns its scale; a block of zeros has scale 0. */
  const quantize = (start: number, length: number): number => {
    // Without the sign bit, floats order like their bits.
    let largestBits = 0
    let largestAt = start
    for (let i = start; i < start + length; i++) {
      const magnitude = bits[i]! & 0x7fffffff
      if (magnitude > largestBits) {
        largestBits = magnitude
        largestAt = i
      }
    }
    chosen.fill(0)
    if (largestBits === 0) return 0
    const factor = -LARGEST / rows[largestAt]!
    for (let i = 0; i < length; i++) scaled[i] = ((rows[start + i]! * factor + (LARGEST + 0.5)) | 0) - LARGEST
    return settle(start, length, bestPeak(scaled, length))
  }

  /**
   * Rounds a block and returns its least-squares scale. Codes that say the same with another scale are written in one
   * way: a positive scale where no code is -8, and -8 where there is one nonzero code alone.
   */
  const settle = (start: number, length: number, peak: number): number => {
    let products = 0
    let squares = 0
    let lowest = 0
    let only = 0 // the one nonzero code there is; 99 when there are several
    for (let i = 0; i < length; i++) {
      const code = codeOf(scaled[i]!, peak)
      chosen[i] = code
      products += rows[start + i]! * code
      squares += code * code
      if (code < lowest) lowest = code
      if (code !== 0 && code !== only) only = only === 0 ? code : 99
    }
    let factor = 1
    if (only !== 99) factor = -8 / only
    else if (lowest > -8 && products < 0) factor = -1
    if (factor !== 1) for (let i = 0; i < length; i++) chosen[i] = chosen[i]! * factor
    const scale = Math.fround(Math.max(-MAX_SCALE, Math.min(MAX_SCALE, products / squares / factor)))
    if (scale === 0) chosen.fill(0)
    return scale
  }

  return { chosen, quantize }
}

function codeOf(scaled: number, peak: number): number {
  const code = (Math.imul(scaled, peak) + HALF) >> SHIFT
  return code > 7 ? 7 : code < -8 ? -8 : code
}

/** The candidate whose codes explain most of the block: its squared error at the best scale is Σw² - (Σwq)² / Σq². */
function bestPeak(scaled: Int32Array, length: number): number {
  let products0 = 0
  let squares0 = 0
  let products1 = 0
  let squares1 = 0
  let products2 = 0
  let squares2 = 0
  let products3 = 0
  let squares3 = 0
  for (let i = 0; i < length; i++) {
    const weight = scaled[i]!
    const code0 = codeOf(weight, PEAK0)
    const code1 = codeOf(weight, PEAK1)
    const code2 = codeOf(weight, PEAK2)
    const code3 = codeOf(weight, PEAK3)
    products0 = (products0 + Math.imul(weight, code0)) | 0
    squares0 = (squares0 + Math.imul(code0, code0)) | 0
    products1 = (products1 + Math.imul(weight, code1)) | 0
    squares1 = (squares1 + Math.imul(code1, code1)) | 0
    products2 = (products2 + Math.imul(weight, code2)) | 0
    squares2 = (squares2 + Math.imul(code2, code2)) | 0
    products3 = (products3 + Math.imul(weight, code3)) | 0
    squares3 = (squares3 + Math.imul(code3, code3)) | 0
  }
  let best = PEAK0
  let gain = ((products0 * products0) / squares0) * MARGIN
  const gain1 = (products1 * products1) / squares1
  const gain2 = (products2 * products2) / squares2
  const gain3 = (products3 * products3) / squares3
  if (gain1 > gain) {
    best = PEAK1
    gain = gain1 * MARGIN
  }
  if (gain2 > gain) {
    best = PEAK2
    gain = gain2 * MARGIN
  }
  return gain3 > gain ? PEAK3 : best
}

/** The weights that codes and scales stand for. // [O, I] */
export function dequantizeInt4(
  codes: Uint8Array,
  scales: Float32Array,
  shape: { readonly width: number; readonly blockSize: number },
): Float32Array {
  return dequantizeBlocks(scales, shape, (at) => ((codes[at >> 1]! >> (4 * (at & 1))) & 15) - 8)
}
