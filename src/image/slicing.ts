/**
 * @file The slicing plan: how an image of any size and aspect ratio becomes one overview and, when it is large, a grid of
 * slices of about the vision tower's resolution each. Arithmetic on two integers only, no pixels.
 *
 * Sizes follow the official processor exactly. Its quirks, all intended here: sides round half to even, the truncated
 * height drives the width, the first of equally good grids wins (an exact square in two slices is 1 column, 2 rows), and
 * extreme aspect ratios are not clamped.
 * Source: MiniCPM-o 2.6 image processor (LLaVA-UHD).
 */
import { ConfigError, InputError } from "../util/index.ts"
import { exactLog } from "./exact-log.ts"
import type { Size } from "./rgb-image.ts"

/** Columns and rows of slices, or of patches. */
export type Grid = { readonly cols: number; readonly rows: number }

/** What the plan depends on besides the size. */
export type SliceSettings = {
  readonly scaleResolution: number // side of the square whose area an overview or slice fills, in pixels
  readonly patchSize: number // pixels
  readonly maxSliceNums: number // most slices; 1 never slices
}

/** Sizes in pixels; every side of `overview` and `slice` is a multiple of the patch size. */
export type SlicePlan = {
  readonly original: Size
  readonly overview: Size
  /** What is cut out of the refined image; absent when the overview is all. */
  readonly slices?: { readonly grid: Grid; readonly refined: Size; readonly slice: Size }
}

/** Python's `round`: ties go to the even neighbour, where `Math.round` goes up. */
export function roundHalfToEven(value: number): number {
  const floor = Math.floor(value)
  const rest = value - floor
  if (rest !== 0.5) return rest < 0.5 ? floor : floor + 1
  return floor % 2 === 0 ? floor : floor + 1
}

/** The multiple of `unit` nearest to `length`, at least one unit. */
export function nearestMultiple(length: number, unit: number): number {
  return Math.max(roundHalfToEven(length / unit) * unit, unit)
}

/** The grid whose aspect ratio is nearest, among those with one slice less, as many, or one more than the area asks for. */
function chooseGrid(size: Size, settings: SliceSettings): Grid | undefined {
  const { scaleResolution, maxSliceNums } = settings
  const { width, height } = size
  const wanted = Math.min(Math.ceil((width * height) / (scaleResolution * scaleResolution)), maxSliceNums)
  if (wanted <= 1) return undefined
  const logRatio = exactLog(width / height)
  let best: Grid = { cols: 1, rows: 1 }
  let smallest = Number.POSITIVE_INFINITY
  for (let slices = wanted - 1; slices <= Math.min(wanted + 1, maxSliceNums); slices++) {
    if (slices === 1) continue
    for (let cols = 1; cols <= slices; cols++) {
      if (slices % cols !== 0) continue
      const grid = { cols, rows: slices / cols }
      const error = Math.abs(logRatio - exactLog(grid.cols / grid.rows))
      if (error < smallest) {
        best = grid
        smallest = error
      }
    }
  }
  return best
}

/** The size of about scaleResolution² pixels with this aspect ratio, in whole patches. */
function scaledSize(width: number, height: number, settings: SliceSettings): Size {
  const ratio = width / height
  const scaledHeight = Math.trunc(settings.scaleResolution / Math.sqrt(ratio))
  const scaledWidth = Math.trunc(scaledHeight * ratio)
  return {
    width: nearestMultiple(scaledWidth, settings.patchSize),
    height: nearestMultiple(scaledHeight, settings.patchSize),
  }
}

/**
 * Plans overview and slices of an image. Small images are enlarged; overview and refined image are both resized from the
 * original.
 * @throws InputError when a side is not a positive whole number; ConfigError when a setting is not
 */
export function planSlices(original: Size, settings: SliceSettings): SlicePlan {
  const { width, height } = original
  if (!Number.isSafeInteger(width) || !Number.isSafeInteger(height) || width < 1 || height < 1) {
    throw new InputError(`planSlices: expected sides of at least 1 pixel, got ${width}x${height} (check the image)`)
  }
  for (const key of ["scaleResolution", "patchSize", "maxSliceNums"] as const) {
    if (!Number.isSafeInteger(settings[key]) || settings[key] < 1) {
      throw new ConfigError(`planSlices: expected ${key} of at least 1, got ${settings[key]} (use a whole number)`)
    }
  }
  const overview = scaledSize(width, height, settings)
  const grid = chooseGrid(original, settings)
  if (!grid) return { original: { width, height }, overview }
  const { cols, rows } = grid
  const slice = scaledSize(nearestMultiple(width, cols) / cols, nearestMultiple(height, rows) / rows, settings)
  const refined = { width: slice.width * cols, height: slice.height * rows }
  return { original: { width, height }, overview, slices: { grid, refined, slice } }
}

/** Number of image blocks that the language model sees: the overview and the slices. */
export function blockCount(plan: SlicePlan): number {
  return 1 + (plan.slices ? plan.slices.grid.cols * plan.slices.grid.rows : 0)
}

/** Left and top corner of slice `index` (row by row, left to right) in the refined image, in pixels. */
export function sliceCorner(slices: NonNullable<SlicePlan["slices"]>, index: number): { left: number; top: number } {
  const { grid, slice } = slices
  return { left: (index % grid.cols) * slice.width, top: Math.floor(index / grid.cols) * slice.height }
}
