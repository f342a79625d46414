/**
 * @file Block rotations by Walsh–Hadamard matrices: orthonormal and their own inverse. Rotating both sides of a product
 * leaves it as it was, but spreads a single huge channel over its whole block, which makes low-bit codes fit.
 */
import { invariant } from "../util/index.ts"

/** Wider blocks spread outliers further and cost more at run time; 128 divides the widths of the official model. */
const MAX_BLOCK = 128

/** Block of the rotation for rows of `width` elements: the largest power of two that divides it, at most 128. */
export function hadamardBlock(width: number): number {
  invariant(Number.isSafeInteger(width) && width > 0, `hadamardBlock: expected a positive width, got ${width}`)
  let block = 1
  while (block < MAX_BLOCK && width % (block * 2) === 0) block *= 2
  return block
}

/**
 * Multiplies each run of `block` elements by the orthonormal Hadamard matrix H[i][j] = (-1)^popcount(i & j) / √block,
 * in place. Applied twice it is the identity (up to rounding).
 * @param data rows of `width` elements // [rows, width]
 * @param block a power of two that divides `width`; 1 leaves everything as it is
 */
export function rotateRows(data: Float32Array, width: number, block: number): void {
  invariant(
    (block & (block - 1)) === 0 && width % block === 0,
    `rotateRows: expected a block of ${width}, got ${block}`,
  )
  invariant(data.length % width === 0, `rotateRows: expected rows of ${width}, got ${data.length} elements`)
  if (block === 1) return
  const norm = 1 / Math.sqrt(block)
  for (let start = 0; start < data.length; start += block) rotateBlock(data, start, block, norm)
}

/** Two butterfly stages at a time; the last pass (one or two stages, by what is left) also scales. */
function rotateBlock(data: Float32Array, start: number, block: number, norm: number): void {
  const end = start + block
  let half = 1
  for (; half * 4 < block; half *= 4) {
    for (let group = start; group < end; group += half * 4) {
      for (let i = group; i < group + half; i++) {
        const a = data[i]!
        const b = data[i + half]!
        const c = data[i + 2 * half]!
        const d = data[i + 3 * half]!
        const sum = a + b
        const difference = a - b
        const sum2 = c + d
        const difference2 = c - d
        data[i] = sum + sum2
        data[i + half] = difference + difference2
        data[i + 2 * half] = sum - sum2
        data[i + 3 * half] = difference - difference2
      }
    }
  }
  if (half * 4 === block) {
    for (let i = start; i < start + half; i++) {
      const a = data[i]!
      const b = data[i + half]!
      const c = data[i + 2 * half]!
      const d = data[i + 3 * half]!
      data[i] = (a + b + c + d) * norm
      data[i + half] = (a - b + c - d) * norm
      data[i + 2 * half] = (a + b - c - d) * norm
      data[i + 3 * half] = (a - b - c + d) * norm
    }
  } else {
    for (let i = start; i < start + half; i++) {
      const a = data[i]!
      const b = data[i + half]!
      data[i] = (a + b) * norm
      data[i + half] = (a - b) * norm
    }
  }
}
