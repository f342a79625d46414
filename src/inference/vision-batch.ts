/**
 * @file What the vision graphs are fed: strips padded to one batch, position ids, positions of the resampler, the mask of
 * padding; and the refusal of images whose attention would not fit any memory.
 */
import {
  type ImageConfig,
  type PatchStrip,
  type ProcessOptions,
  padBatch,
  planSlices,
  positionIds,
  resamplerPositions,
  type Size,
} from "../image/index.ts"
import type { VisionConfig } from "../models/minicpmo/index.ts"
import { type HostTensor, tensor, zeros } from "../tensor/index.ts"
import { ConfigError, InputError } from "../util/index.ts"

/**
 * Patches that one slice may have by default: attention needs their square. The image processor aims at about 1,000;
 * only images thousands of times longer than wide, or large ones without slice mode, come above.
 */
export const DEFAULT_MAX_PATCHES = 4096

/** The value that masks a score out: exp of it is 0, and no sum with a score overflows to -inf. */
const MASKED = -1e30

/** Feeds of one batch. */
export type VisionBatch = {
  readonly strips: HostTensor<"f32"> // [B, 3, p, p·P]
  readonly positionIds: HostTensor<"i64"> // [B, P]
  readonly positions: HostTensor<"f32"> // [B, P, D]
  readonly keyMask: HostTensor<"f32"> // [B, 1, 1, P]
}

/**
 * Pads strips to one batch; padding has position 0 and is masked out as a key.
 * @throws ShapeError when there is none, or a strip's length does not fit its grid
 */
export function visionBatch(strips: readonly PatchStrip[], { siglip, resampler }: VisionConfig): VisionBatch {
  const { pixelValues, patchMask } = padBatch(strips, siglip.patchSize)
  const longest = patchMask.shape[2]!
  const width = resampler.hiddenSize
  const ids = zeros("i64", [strips.length, longest])
  const positions = zeros("f32", [strips.length, longest, width])
  for (const [index, { grid }] of strips.entries()) {
    ids.data.set(BigInt64Array.from(positionIds(grid, siglip.positionsPerSide), BigInt), index * longest)
    positions.data.set(resamplerPositions(grid, width), index * longest * width)
  }
  const mask = Float32Array.from(patchMask.data, (real) => (real ? 0 : MASKED))
  return {
    strips: pixelValues,
    positionIds: ids,
    positions,
    keyMask: tensor("f32", [strips.length, 1, 1, longest], mask),
  }
}

/** @throws InputError when a slice has more than `maxPatches` */
export function checkStrips(strips: readonly PatchStrip[], maxPatches: number): void {
  for (const [index, { grid }] of strips.entries()) {
    const count = grid.rows * grid.cols
    if (count <= maxPatches) continue
    throw new InputError(
      `vision: expected at most ${maxPatches} patches in slice ${index}, got ${grid.rows}x${grid.cols} = ${count}` +
        " (make the image smaller or less elongated, or raise maxPatches)",
    )
  }
}

/**
 * Refuses an image by its size alone, before any pixel is touched.
 * @throws InputError when its overview or a slice would have more than `maxPatches` patches
 */
export function checkImageSize(
  size: Size,
  config: ImageConfig,
  maxPatches: number,
  { maxSliceNums = config.maxSliceNums, sliceMode = config.sliceMode }: ProcessOptions = {},
): void {
  const blocks: Size[] = [size]
  if (sliceMode) {
    const plan = planSlices(size, { ...config, maxSliceNums })
    blocks.splice(0, 1, plan.overview, ...(plan.slices ? [plan.slices.slice] : []))
  }
  for (const { width, height } of blocks) {
    const [cols, rows] = [Math.floor(width / config.patchSize), Math.floor(height / config.patchSize)]
    if (cols * rows <= maxPatches) continue
    const advice = sliceMode ? "crop it: it is too long and narrow" : "turn sliceMode on, or make it smaller"
    throw new InputError(
      `image: expected at most ${maxPatches} patches of ${config.patchSize}x${config.patchSize} pixels, ` +
        `got ${rows}x${cols} = ${rows * cols} for an image of ${size.width}x${size.height} (${advice})`,
    )
  }
}

/** @throws ConfigError when the model and the image processor disagree; the official code refuses to chat then, too */
export function checkAgreement({ processor }: VisionConfig, image: ImageConfig): void {
  const pairs = [
    ["image_feature_size", image.tokens.featureSize, "query_num", processor.featureSize],
    ["patch_size", image.patchSize, "patch_size", processor.patchSize],
    ["use_image_id", image.useImageId, "use_image_id", processor.useImageId],
    ["max_slice_nums", image.maxSliceNums, "slice_config.max_slice_nums", processor.maxSliceNums],
    ["slice_mode", image.sliceMode, "slice_mode", processor.sliceMode],
  ] as const
  for (const [key, got, field, expected] of pairs) {
    if (got === expected) continue
    throw new ConfigError(
      `preprocessor_config.json: expected ${key} to be ${expected} as ${field} of config.json, got ${got}` +
        " (take both files from one model)",
    )
  }
}
