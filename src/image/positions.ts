/**
 * @file Where a patch sits: the vision tower's learned positions are looked up by bucketed ids, the resampler's are sines
 * and cosines of row and column. Both for any grid.
 */
import { ConfigError } from "../util/index.ts"
import type { Grid } from "./slicing.ts"

/**
 * `start + i * step` in f32, as PyTorch fills it: full groups of sixteen in blocks of eight, each from a start that is
 * itself rounded, the rest one by one.
 * @returns [count]
 */
function arange(count: number, start: number, step: number): Float32Array {
  const grouped = count - (count % 16)
  const values = new Float32Array(count)
  for (let i = 0; i < count; i++) {
    const within = i < grouped ? i % 8 : 0
    values[i] = Math.fround(start + step * (i - within)) + within * step
  }
  return values
}

/**
 * Bucket of each of `n` evenly spaced coordinates on an axis of `side` positions; all but `floor(side * i / n)`.
 *
 * Quirk kept for parity: coordinates and boundaries are f32, each filled in blocks of eight from a rounded start, which
 * pushes some exact boundaries into the bucket below (n = 25, 49, 50, 55, 58 for side 70, and several beyond 70).
 * @returns [n], ascending, in [0, side)
 * Source: `arange` and `bucketize` of PyTorch 2.13 on x86; other hosts can differ at n = 49 and 58.
 */
export function positionBuckets(n: number, side: number): Int32Array {
  const coordinates = arange(n, 0, Math.fround(1 / n))
  const boundaries = arange(Math.ceil((1 - 1 / side) / (1 / side)), 1 / side, 1 / side)
  const buckets = new Int32Array(n)
  let bucket = 0
  for (let i = 0; i < n; i++) {
    while (bucket < side - 1 && boundaries[bucket]! <= coordinates[i]!) bucket++
    buckets[i] = bucket
  }
  return buckets
}

/**
 * Row of the vision tower's position table for each patch.
 * @param side positions per side of the table: image size / patch size of the vision config
 * @returns [rows * cols], row-major
 */
export function positionIds(grid: Grid, side: number): Int32Array {
  const rows = positionBuckets(grid.rows, side)
  const cols = positionBuckets(grid.cols, side)
  const ids = new Int32Array(grid.rows * grid.cols)
  for (let r = 0, k = 0; r < grid.rows; r++) {
    for (let c = 0; c < grid.cols; c++) ids[k++] = rows[r]! * side + cols[c]!
  }
  return ids
}

/** Sines, then cosines, of each position times each frequency. [n, 2 * frequencies] */
function sineCosine(n: number, frequencies: number): Float32Array {
  const table = new Float32Array(n * 2 * frequencies)
  for (let k = 0; k < frequencies; k++) {
    const omega = Math.fround(1 / Math.fround(10000 ** Math.fround(k / frequencies)))
    for (let position = 0; position < n; position++) {
      const angle = Math.fround(position * omega)
      table[position * 2 * frequencies + k] = Math.sin(angle)
      table[position * 2 * frequencies + frequencies + k] = Math.cos(angle)
    }
  }
  return table
}

/**
 * Positions that the resampler adds to its keys: column sines, column cosines, row sines, row cosines, a quarter of `dim`
 * each, from absolute patch indices in f32.
 * @returns [rows * cols, dim], row-major
 * @throws ConfigError when `dim` is not a multiple of 4
 */
export function resamplerPositions(grid: Grid, dim: number): Float32Array {
  if (dim % 4 !== 0 || dim < 4) {
    throw new ConfigError(`resamplerPositions: expected dim to be a multiple of 4, got ${dim} (check hidden_size)`)
  }
  const half = dim / 2
  const line = sineCosine(Math.max(grid.rows, grid.cols), dim / 4)
  const out = new Float32Array(grid.rows * grid.cols * dim)
  for (let r = 0, to = 0; r < grid.rows; r++) {
    for (let c = 0; c < grid.cols; c++, to += dim) {
      out.set(line.subarray(c * half, (c + 1) * half), to)
      out.set(line.subarray(r * half, (r + 1) * half), to + half)
    }
  }
  return out
}
