/** @file Cases `image_processor` and `vision_*`: slicing and bytes, position ids, tower and resampler on four inputs. */
import { crc32 } from "node:zlib"
import { readJsonObject, readText } from "../../src/checkpoint/index.ts"
import { decodeImage } from "../../src/image/index.node.ts"
import {
  type ImageConfig,
  type PatchStrip,
  type ProcessOptions,
  parseImageConfig,
  planSlices,
  positionIds,
  processImage,
  type RgbImage,
  resamplerPositions,
} from "../../src/image/index.ts"
import { readComponent, stripsOf, type VisionBatch, VisionEncoder, visionBatch } from "../../src/inference/index.ts"
import {
  parseVisionConfig,
  RESAMPLER_PREFIX,
  resamplerSpec,
  SIGLIP_PREFIX,
  siglipGraph,
  siglipSpec,
} from "../../src/models/minicpmo/index.ts"
import type { Executor } from "../../src/runtime/index.ts"
import { f32, f32Data, type HostTensor, numberAt } from "../../src/tensor/index.ts"
import { runSteps } from "../../src/util/index.ts"
import { type GoldenSet, readArrays } from "./golden-set.ts"
import type { CaseReport } from "./report.ts"
import type { CaseRunner } from "./runner.ts"

type ImageRow = {
  readonly image: string
  readonly file: string
  readonly image_size: readonly number[]
  readonly max_slice_nums: number
  readonly use_image_id: boolean | null
  readonly grid: readonly number[] | null
  readonly tgt_sizes: readonly (readonly number[])[]
  readonly slices: readonly { shape: number[]; crc32_u8: number; first64: number[]; last64: number[] }[]
  readonly placeholder_id3: string
}
type SizeRow = readonly [width: number, height: number, max: number, grid: unknown, overview: unknown, refined: unknown]
type ProcessorData = { readonly images: readonly ImageRow[]; readonly sizes: { readonly rows: readonly SizeRow[] } }

async function imageConfig(set: GoldenSet) {
  return parseImageConfig(await readJsonObject(set.checkpointFolder, "preprocessor_config.json"))
}

async function visionConfig(set: GoldenSet) {
  return parseVisionConfig(await readJsonObject(set.checkpointFolder, "config.json"))
}

/** An image file of the set, decoded as the official code does. */
export async function readImage(set: GoldenSet, path: string): Promise<RgbImage> {
  const bytes = await set.folder.read(path, 0, await set.folder.size(path))
  return await decodeImage(bytes, { behaviour: "reference", source: path })
}

/** The vision encoder of a set on a device, in exact float32. Slices go in batches like the official code's, or singly. */
export async function loadVision(
  set: GoldenSet,
  executor: Executor,
  mode: "batches" | "single",
): Promise<VisionEncoder> {
  const config = await visionConfig(set)
  return await VisionEncoder.load({
    config,
    image: await imageConfig(set),
    executor,
    siglip: await readComponent(set.checkpoint, siglipSpec(config.siglip), SIGLIP_PREFIX),
    resampler: await readComponent(set.checkpoint, resamplerSpec(config.resampler), RESAMPLER_PREFIX),
    // From two on a batch has a mask, which those that a case feeds as a whole need.
    ...(mode === "batches" ? { batchSize: Math.max(2, config.visionBatchSize) } : { layersPerStep: 2 }),
  })
}

/** The bytes behind normalized values [3, p, p·P], in the strip's order. */
function unnormalize(patches: Float32Array, { mean, std }: ImageConfig): Uint8Array {
  const bytes = new Uint8Array(patches.length)
  const plane = patches.length / mean.length
  for (let i = 0; i < bytes.length; i++) {
    const channel = Math.floor(i / plane)
    bytes[i] = Math.round((patches[i]! * std[channel]! + mean[channel]!) * 255)
  }
  return bytes
}

const imageProcessor: CaseRunner = async ({ set, golden }, report) => {
  const data = (await readJsonObject(set.folder, golden.data!)) as unknown as ProcessorData
  const { outputs } = await readArrays(set, golden)
  const config = await imageConfig(set)
  for (const row of data.images) {
    const name = `${row.image}, ${row.max_slice_nums} slices`
    const options: ProcessOptions = {
      maxSliceNums: row.max_slice_nums,
      imageIdStart: 3,
      ...(row.use_image_id === null ? {} : { useImageId: row.use_image_id }),
    }
    const got = processImage(await readImage(set, row.file), config, options)
    report.equal(`size of ${name}`, [got.originalSize.width, got.originalSize.height], row.image_size)
    report.equal(`grid of ${name}`, got.grid ? [got.grid.cols, got.grid.rows] : null, row.grid)
    report.equal(
      `patch grids of ${name}`,
      got.slices.map(({ grid }) => [grid.rows, grid.cols]),
      row.tgt_sizes,
    )
    report.equal(`placeholder of ${name}`, got.placeholder, row.placeholder_id3)
    for (const [index, slice] of row.slices.entries()) {
      const { patches } = got.slices[index] ?? { patches: new Float32Array(0) }
      report.equal(`bytes of slice ${index} of ${name}`, crc32(unnormalize(patches, config)), slice.crc32_u8)
      report.equal(`first values of slice ${index} of ${name}`, [...patches.subarray(0, 64)], slice.first64)
      report.equal(`last values of slice ${index} of ${name}`, [...patches.subarray(-64)], slice.last64)
    }
    const bytes = outputs[`${row.image}_u8`]
    if (bytes && row.grid === null) {
      report.equal(
        `strip of ${name}`,
        Buffer.compare(unnormalize(got.slices[0]!.patches, config), bytes.data as Uint8Array),
        0,
      )
    }
  }
  for (const [width, height, maxSliceNums, ...sizes] of data.sizes.rows) {
    const { overview, slices } = planSlices({ width, height }, { ...config, maxSliceNums })
    const got = [
      slices ? [slices.grid.cols, slices.grid.rows] : null,
      [overview.width, overview.height],
      slices ? [slices.refined.width, slices.refined.height] : null,
    ]
    report.equal(`sizes of ${width}x${height}, ${maxSliceNums} slices`, got, sizes)
  }
}

const visionPositions: CaseRunner = async ({ set, golden }, report) => {
  const rows = JSON.parse(await readText(set.folder, golden.data!)) as {
    grid: [number, number]
    position_ids: number[]
  }[]
  const { siglip } = await visionConfig(set)
  for (const { grid, position_ids: want } of rows) {
    const [gridRows, cols] = grid
    report.equal(`ids of ${grid}`, [...positionIds({ rows: gridRows, cols }, siglip.positionsPerSide)], want)
  }
}

/** The rows of real patches of a batch, one slice after the other. */
function realRows(hidden: HostTensor, strips: readonly PatchStrip[]): HostTensor {
  const [, longest, width] = hidden.shape as [number, number, number]
  const parts = strips.map(({ grid }, index) => {
    const start = index * longest * width
    return f32Data(hidden).subarray(start, start + grid.rows * grid.cols * width)
  })
  const rows = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    rows.set(part, at)
    at += part.length
  }
  return f32([rows.length / width, width], rows)
}

/** Cuts a padded batch of strips apart. */
function splitBatch(pixelValues: HostTensor, tgtSizes: HostTensor): PatchStrip[] {
  const [count, channels, side, line] = pixelValues.shape as [number, number, number, number]
  const planes = channels * side
  return Array.from({ length: count }, (_, index) => {
    const grid = { rows: numberAt(tgtSizes.data, 2 * index), cols: numberAt(tgtSizes.data, 2 * index + 1) }
    const width = grid.rows * grid.cols * side
    const patches = new Float32Array(planes * width)
    for (let row = 0; row < planes; row++) {
      const start = (index * planes + row) * line
      patches.set(f32Data(pixelValues).subarray(start, start + width), row * width)
    }
    return { patches, grid }
  })
}

/** Hidden states after `layers` layers, on their own program. */
async function lowerLayers(
  set: GoldenSet,
  executor: Executor,
  batch: VisionBatch,
  layers: number,
): Promise<HostTensor> {
  const { siglip } = await visionConfig(set)
  const weights = await readComponent(set.checkpoint, siglipSpec(siglip), SIGLIP_PREFIX)
  // As if another layer followed: after the last one comes the norm, which these states are before.
  const unfinished = { ...siglip, numHiddenLayers: siglip.numHiddenLayers + 1 }
  const graph = siglipGraph(unfinished, { first: 0, end: layers }, { masked: true })
  const program = await executor.compile(graph, weights)
  try {
    const { strips, positionIds: ids, keyMask } = batch
    return (await executor.run(program, { strips, positionIds: ids, keyMask })).hiddenStates!
  } finally {
    await program.release()
  }
}

const visionSmall: CaseRunner = async ({ set, golden, executor }, report) => {
  const { inputs, outputs } = await readArrays(set, golden)
  const strips = splitBatch(inputs.pixel_values!, inputs.tgt_sizes!)
  const vision = await loadVision(set, executor, "batches")
  const batch = visionBatch(strips, vision.config)
  report.close("batch", batch.strips, inputs.pixel_values!, 0)
  report.equal(
    "mask",
    [...batch.keyMask.data].map((value) => (value === 0 ? 1 : 0)),
    Array.from(inputs.patch_mask!.data, Number),
  )
  const [name] = Object.keys(outputs).filter((key) => key.startsWith("resampler_pos_"))
  const [rows, cols, width] = outputs[name!]!.shape as [number, number, number]
  const corner = f32([rows, cols, width], resamplerPositions({ rows, cols }, width))
  report.close("resampler positions", corner, outputs[name!]!)
  const embeddings = await lowerLayers(set, executor, batch, 0)
  report.close("embeddings", realRows(embeddings, strips), outputs.embeddings_valid!)
  report.close("layer1", realRows(await lowerLayers(set, executor, batch, 1), strips), outputs.layer1_valid!)
  const hidden = await runSteps(vision.tower(batch))
  report.close("last hidden", realRows(hidden, strips), outputs.last_hidden_valid!)
  report.close("resampled", await vision.resample(batch, hidden), outputs.resampled!)
  await vision.release()
  await compareSingly(set, executor, strips, outputs.resampled!, report)
}

/** Slice by slice, without padding and mask, with the tower cut in parts. */
async function compareSingly(
  set: GoldenSet,
  executor: Executor,
  strips: readonly PatchStrip[],
  want: HostTensor,
  report: CaseReport,
): Promise<void> {
  const vision = await loadVision(set, executor, "single")
  report.close("resampled one by one", await runSteps(vision.encode(strips)), want)
  await vision.release()
}

/** Image files through processor, tower and resampler. */
const images: CaseRunner = async ({ set, golden, executor }, report) => {
  const { outputs } = await readArrays(set, golden)
  const vision = await loadVision(set, executor, "batches")
  const names = golden.params.images as string[] | undefined
  const paths = names?.map((name) => `assets/images/${name}.png`) ?? golden.assets!
  const files = await Promise.all(paths.map((path) => readImage(set, path)))
  const processed = vision.process(files, { maxSliceNums: golden.params.max_slice_nums as number })
  const strips = stripsOf(processed)
  const grids = strips.flatMap(({ grid }) => [grid.rows, grid.cols])
  report.equal("tgt_sizes", grids, Array.from(outputs.tgt_sizes!.data, Number))
  if (outputs.tower_0) {
    const batch = visionBatch(strips, vision.config)
    const hidden = await runSteps(vision.tower(batch))
    const [, longest, width] = hidden.shape as [number, number, number]
    for (const [index, strip] of strips.entries()) {
      const start = index * longest * width
      const own = f32([1, longest, width], f32Data(hidden).subarray(start, start + longest * width))
      report.close(`tower_${index}`, realRows(own, [strip]), outputs[`tower_${index}`]!)
    }
    report.close("resampled", await vision.resample(batch, hidden), outputs.resampled!)
  } else report.close("resampled", await runSteps(vision.encode(strips)), outputs.resampled!)
  await vision.release()
}

export const visionCases = {
  image_processor: imageProcessor,
  vision_positions: visionPositions,
  vision_small: visionSmall,
  vision_images: images,
  vision_sliced: images,
  vision_long_strip: images,
}
