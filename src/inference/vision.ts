/**
 * @file Images at work: slices of the image processor in, rows of the language model out. Tower and resampler run over a
 * few slices at a time, the tower in parts of a few layers, so that a step stays short. Nothing is kept between images.
 */
import {
  type ImageConfig,
  type PatchStrip,
  type ProcessedImage,
  type ProcessOptions,
  processImageSteps,
  processImages,
  type RgbImage,
  type Size,
} from "../image/index.ts"
import { resamplerGraph, siglipGraph, type VisionConfig } from "../models/minicpmo/index.ts"
import type { Executor, Program, WeightStore } from "../runtime/index.ts"
import { f32, f32Data, type HostTensor } from "../tensor/index.ts"
import { ConfigError, type Steps } from "../util/index.ts"
import {
  checkAgreement,
  checkImageSize,
  checkStrips,
  DEFAULT_MAX_PATCHES,
  type VisionBatch,
  visionBatch,
} from "./vision-batch.ts"

export type VisionParts = {
  readonly config: VisionConfig
  /** The image processor's settings; they must agree with the config. */
  readonly image: ImageConfig
  readonly executor: Executor
  /** Weights of the tower, `vpm.*`. */
  readonly siglip: WeightStore
  /** Weights of the resampler, `resampler.*`. */
  readonly resampler: WeightStore
  /** Layers of one step; all of them when absent. */
  readonly layersPerStep?: number
  /**
   * Slices of one step, 1 when absent: nothing is padded, and memory stays small. The official code takes
   * `config.visionBatchSize`, padded to the longest; slices do not see each other, so the results are equal up to rounding.
   */
  readonly batchSize?: number
  /** Most patches of a slice; 4096 when absent. */
  readonly maxPatches?: number
}

export class VisionEncoder {
  readonly config: VisionConfig
  private readonly parts: VisionParts
  /** The tower in parts, in order. */
  private readonly segments: readonly Program[]
  private readonly resampler: Program
  /** A batch of several slices may have padding; one slice has none, and its scores need no mask. */
  private readonly masked: boolean

  private constructor(parts: VisionParts, segments: readonly Program[], resampler: Program, masked: boolean) {
    this.config = parts.config
    this.parts = parts
    this.segments = segments
    this.resampler = resampler
    this.masked = masked
  }

  /** @throws ConfigError when the model and the image processor disagree, or a limit is not a positive whole number */
  static async load(parts: VisionParts): Promise<VisionEncoder> {
    const { config, executor, batchSize = 1, maxPatches = DEFAULT_MAX_PATCHES } = parts
    const layers = config.siglip.numHiddenLayers
    const stride = parts.layersPerStep ?? layers
    checkAgreement(config, parts.image)
    for (const [name, value] of Object.entries({ layersPerStep: stride, batchSize, maxPatches })) {
      if (Number.isSafeInteger(value) && value > 0) continue
      throw new ConfigError(`vision: expected ${name} to be a positive whole number, got ${value} (leave it out)`)
    }
    const masked = batchSize > 1
    const segments: Program[] = []
    for (let first = 0; first < layers; first += stride) {
      const range = { first, end: Math.min(layers, first + stride) }
      segments.push(await executor.compile(siglipGraph(config.siglip, range, { masked }), parts.siglip))
    }
    const resampler = await executor.compile(resamplerGraph(config.resampler, { masked }), parts.resampler)
    return new VisionEncoder(parts, segments, resampler, masked)
  }

  /** Refuses an image by its size alone. @throws InputError when a slice would have too many patches */
  checkSize({ width, height }: Size, options: ProcessOptions = {}): void {
    const { image, maxPatches = DEFAULT_MAX_PATCHES } = this.parts
    checkImageSize({ width, height }, image, maxPatches, options)
  }

  /**
   * Slices, resizes and normalizes images; sizes are checked before any pixel is touched.
   * @throws InputError when a slice would have too many patches, or the pixels do not fill the image
   */
  process(images: readonly RgbImage[], options: ProcessOptions = {}): ProcessedImage[] {
    for (const image of images) this.checkSize(image, options)
    const { image } = this.parts
    return processImages(images, image, options)
  }

  /** {@link process} of one image, in steps of bounded length. */
  *processSteps(image: RgbImage, options: ProcessOptions = {}): Generator<void, ProcessedImage, void> {
    this.checkSize(image, options)
    return yield* processImageSteps(image, this.parts.image, options)
  }

  /**
   * Rows that take the place of the prompt's placeholders.
   * @param strips the slices of all images in the order of the prompt: of each image the overview, then its slices
   * @returns [N, Q, D], a block of Q rows for each strip
   * @throws InputError when a strip has too many patches; ShapeError when its length does not fit its grid
   */
  async *encode(strips: readonly PatchStrip[]): Steps<HostTensor<"f32">> {
    const { batchSize = 1, maxPatches = DEFAULT_MAX_PATCHES } = this.parts
    const { queryNum, hiddenSize } = this.config.resampler
    checkStrips(strips, maxPatches)
    const block = queryNum * hiddenSize
    const embeds = new Float32Array(strips.length * block)
    for (let start = 0; start < strips.length; start += batchSize) {
      const batch = visionBatch(strips.slice(start, start + batchSize), this.config)
      const hidden = yield* this.tower(batch)
      embeds.set(f32Data(await this.resample(batch, hidden)), start * block)
      yield
    }
    return f32([strips.length, queryNum, hiddenSize], embeds)
  }

  /** The tower alone: hidden states after the final norm, [B, P, D]; rows of padding mean nothing. */
  async *tower(batch: VisionBatch): Steps<HostTensor> {
    const { strips, positionIds } = batch
    let feeds: { [name: string]: HostTensor } = { strips, positionIds }
    let hidden: HostTensor = strips
    for (const program of this.segments) {
      const outputs = await this.parts.executor.run(program, { ...feeds, ...this.mask(batch) })
      hidden = outputs.hiddenStates!
      feeds = { hidden }
      yield
    }
    return hidden
  }

  /** The resampler alone. @param hidden the tower's [B, P, D] @returns [B, Q, D] */
  async resample(batch: VisionBatch, hidden: HostTensor): Promise<HostTensor> {
    const feeds = { hidden, positions: batch.positions, ...this.mask(batch) }
    return (await this.parts.executor.run(this.resampler, feeds)).embeds!
  }

  /** Frees the programs; the weights stay with their owner. */
  async release(): Promise<void> {
    for (const program of [...this.segments, this.resampler]) await program.release()
  }

  private mask({ keyMask }: VisionBatch): { readonly keyMask?: HostTensor } {
    return this.masked ? { keyMask } : {}
  }
}

/** The strips of processed images in the order of their embeddings. */
export function stripsOf(images: readonly ProcessedImage[]): PatchStrip[] {
  return images.flatMap(({ slices }) => slices)
}
