/**
 * @file The whole image processor: pixels in, strips of patches and placeholder text out. Decoding lies before it (see
 * `decode.node.ts`), the vision tower after it.
 *
 * Differs from the official processor on images 1 or 3 pixels high, which it takes for channels-first arrays and refuses;
 * here they are images like any other.
 */
import { ConfigError, InputError, runAtOnce } from "../util/index.ts"
import type { ImageConfig } from "./config.ts"
import { normalizationTable, type PatchStrip, patchify } from "./normalize.ts"
import { imagePlaceholder } from "./placeholders.ts"
import { resizeSteps } from "./resize.ts"
import { checkPixels, type RgbImage, type Size } from "./rgb-image.ts"
import { type Grid, planSlices, sliceCorner } from "./slicing.ts"

/** What a caller may change per prompt; the config's values are the defaults. */
export type ProcessOptions = {
  readonly maxSliceNums?: number
  readonly sliceMode?: boolean
  readonly useImageId?: boolean
  readonly imageIdStart?: number // number of the first image within its prompt, 0 by default
}

/** One image, ready for the model. */
export type ProcessedImage = {
  readonly originalSize: Size // pixels
  readonly grid?: Grid // of slices, when there are any
  readonly slices: readonly PatchStrip[] // overview, then slices row by row
  readonly placeholder: string
}

/**
 * Slices, resizes and normalizes one image.
 * @throws InputError when the bytes do not fill the size, or (slice mode off) a side is shorter than a patch
 */
export function processImage(image: RgbImage, config: ImageConfig, options: ProcessOptions = {}): ProcessedImage {
  return runAtOnce(processImageSteps(image, config, options))
}

/** {@link processImage} in steps of bounded length: a photo takes a second and more. */
export function* processImageSteps(
  image: RgbImage,
  config: ImageConfig,
  options: ProcessOptions = {},
): Generator<void, ProcessedImage, void> {
  checkPixels("processImage", image, 3)
  const { maxSliceNums = config.maxSliceNums, sliceMode = config.sliceMode, useImageId = config.useImageId } = options
  const { imageIdStart = 0 } = options
  if (!Number.isSafeInteger(imageIdStart) || imageIdStart < 0) {
    throw new ConfigError(`processImage: expected imageIdStart of at least 0, got ${imageIdStart} (count from 0)`)
  }
  const imageIndex = useImageId ? imageIdStart : undefined
  const originalSize = { width: image.width, height: image.height }
  const table = normalizationTable(config.mean, config.std)
  const strip = (source: RgbImage, size: Size, corner = { left: 0, top: 0 }) =>
    patchify(source, { ...size, ...corner }, config.patchSize, table)
  if (!sliceMode) {
    const placeholder = imagePlaceholder(config.tokens, undefined, imageIndex)
    return { originalSize, slices: [strip(image, wholePatches(image, config.patchSize))], placeholder }
  }

  const plan = planSlices(image, { ...config, maxSliceNums })
  const slices = [strip(yield* resizeSteps(image, plan.overview.width, plan.overview.height), plan.overview)]
  const placeholder = imagePlaceholder(config.tokens, plan.slices?.grid, imageIndex)
  if (!plan.slices) return { originalSize, slices, placeholder }

  const { grid, refined, slice } = plan.slices
  yield
  const refinedImage = yield* resizeSteps(image, refined.width, refined.height)
  for (let index = 0; index < grid.cols * grid.rows; index++) {
    slices.push(strip(refinedImage, slice, sliceCorner(plan.slices, index)))
  }
  return { originalSize, grid, slices, placeholder }
}

/** Processes the images of one prompt in order; image numbers count up from `imageIdStart`. */
export function processImages(
  images: readonly RgbImage[],
  config: ImageConfig,
  options: ProcessOptions = {},
): ProcessedImage[] {
  const { imageIdStart = 0 } = options
  return images.map((image, index) => processImage(image, config, { ...options, imageIdStart: imageIdStart + index }))
}

/** Quirk of slice mode off: the image keeps its size, and what does not fill a patch at the right and bottom is cut off. */
function wholePatches({ width, height }: Size, patchSize: number): Size {
  const size = { width: width - (width % patchSize), height: height - (height % patchSize) }
  if (size.width === 0 || size.height === 0) {
    throw new InputError(
      `processImage: expected sides of at least ${patchSize} pixels without slice mode, got ${width}x${height}` +
        " (turn sliceMode on: small images are then enlarged)",
    )
  }
  return size
}
