/**
 * @file From bytes to the vision tower's input: normalization, the strip of patches, and the padded batch. A strip
 * `[3, p, n*p]` holds patch k in columns p*k to p*k + p - 1, patches in row-major order, so that a convolution of
 * stride p over the strip equals the one over the image.
 */
import { type HostTensor, tensor, zeros } from "../tensor/index.ts"
import { invariant, ShapeError } from "../util/index.ts"
import type { RgbImage, Size } from "./rgb-image.ts"
import type { Grid } from "./slicing.ts"

/** One overview or slice, ready for the vision tower. */
export type PatchStrip = {
  readonly patches: Float32Array // [3, p, rows * cols * p]
  readonly grid: Grid // of patches
}

/**
 * The normalized value of each byte: `(byte / 255 - mean) / std`, every step rounded to f32 as the official code does.
 * @param mean per channel // [3]
 * @param std per channel // [3]
 * @returns [3, 256]
 */
export function normalizationTable(mean: readonly number[], std: readonly number[]): Float32Array {
  const table = new Float32Array(3 * 256)
  for (let channel = 0; channel < 3; channel++) {
    for (let byte = 0; byte < 256; byte++) {
      const centered = Math.fround(Math.fround(byte / 255) - Math.fround(mean[channel]!))
      table[channel * 256 + byte] = centered / Math.fround(std[channel]!)
    }
  }
  return table
}

/**
 * Normalizes a part of an image and lays it out as a strip of patches.
 * @param table from {@link normalizationTable} // [3, 256]
 * @param part corner and size in pixels; sides are multiples of `patchSize` and lie inside the image
 */
export function patchify(
  image: RgbImage,
  part: Size & { readonly left: number; readonly top: number },
  patchSize: number,
  table: Float32Array,
): PatchStrip {
  const grid = { cols: part.width / patchSize, rows: part.height / patchSize }
  invariant(Number.isInteger(grid.cols) && Number.isInteger(grid.rows), "part is not made of whole patches")
  invariant(part.left + part.width <= image.width && part.top + part.height <= image.height, "part leaves the image")
  const line = grid.cols * grid.rows * patchSize // one row of pixels of all patches
  const patches = new Float32Array(3 * patchSize * line)
  const { data } = image
  const plane = patchSize * line
  for (let y = 0; y < part.height; y++) {
    // Within one image row, the pixels of neighbouring patches are neighbours in the strip as well.
    let to = (y % patchSize) * line + Math.floor(y / patchSize) * part.width
    let from = ((part.top + y) * image.width + part.left) * 3
    for (const end = to + part.width; to < end; to++, from += 3) {
      patches[to] = table[data[from]!]!
      patches[plane + to] = table[256 + data[from + 1]!]!
      patches[2 * plane + to] = table[512 + data[from + 2]!]!
    }
  }
  return { patches, grid }
}

/** Strips of several images, zero-padded at the right to the longest. */
export type PatchBatch = {
  readonly pixelValues: HostTensor<"f32"> // [N, 3, p, Lmax * p]
  readonly tgtSizes: HostTensor<"i32"> // [N, 2]: rows, columns
  readonly patchMask: HostTensor<"bool"> // [N, 1, Lmax]: true where there is a patch
}

/**
 * Pads strips to one batch.
 * @throws ShapeError when there is none, or a strip's length does not fit its grid
 */
export function padBatch(strips: readonly PatchStrip[], patchSize: number): PatchBatch {
  if (strips.length === 0)
    throw new ShapeError("padBatch: expected at least one strip, got 0 (leave vision out instead)")
  const counts = strips.map(({ grid }) => grid.cols * grid.rows)
  const longest = Math.max(...counts)
  const pixelValues = zeros("f32", [strips.length, 3, patchSize, longest * patchSize])
  const patchMask = zeros("bool", [strips.length, 1, longest])
  for (const [index, { patches, grid }] of strips.entries()) {
    const line = counts[index]! * patchSize
    if (patches.length !== 3 * patchSize * line) {
      throw new ShapeError(
        `padBatch: expected strip ${index} to be [3, ${patchSize}, ${line}] for ${grid.rows}x${grid.cols} patches,` +
          ` got ${patches.length} values (check patchSize)`,
      )
    }
    for (let row = 0; row < 3 * patchSize; row++) {
      const to = (index * 3 * patchSize + row) * longest * patchSize
      pixelValues.data.set(patches.subarray(row * line, (row + 1) * line), to)
    }
    patchMask.data.fill(1, index * longest, index * longest + counts[index]!)
  }
  const sizes = Int32Array.from(strips.flatMap(({ grid }) => [grid.rows, grid.cols]))
  return { pixelValues, patchMask, tgtSizes: tensor("i32", [strips.length, 2], sizes) }
}
