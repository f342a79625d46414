import { beforeAll, describe, expect, test } from "vitest"
import { type ImageConfig, type PatchStrip, parseImageConfig, rgbImage } from "../image/index.ts"
import {
  parseVisionConfig,
  RESAMPLER_PREFIX,
  resamplerSpec,
  SIGLIP_PREFIX,
  siglipSpec,
  type VisionConfig,
} from "../models/minicpmo/index.ts"
import { createOrtNodeExecutor } from "../runtime/index.node.ts"
import { createReferenceExecutor, type Executor } from "../runtime/index.ts"
import { f32Data, type HostTensor, relativeToMaxAbs } from "../tensor/index.ts"
import { createRandom, runSteps } from "../util/index.ts"
import { randomWeights } from "./random-weights.test-util.ts"
import { stripsOf, VisionEncoder, type VisionParts } from "./vision.ts"
import { checkAgreement, checkImageSize } from "./vision-batch.ts"

/** Sizes that neither the official model nor a recorded one has. */
const config = parseVisionConfig({
  vision_config: {
    hidden_size: 24,
    intermediate_size: 40,
    num_hidden_layers: 3,
    num_attention_heads: 3,
    image_size: 54,
    patch_size: 6,
  },
  hidden_size: 384,
  query_num: 5,
  patch_size: 6,
  drop_vision_last_layer: true,
  use_image_id: false,
  slice_mode: true,
  slice_config: { max_slice_nums: 4 },
})

const processor = {
  scale_resolution: 36,
  patch_size: 6,
  max_slice_nums: 4,
  image_feature_size: 5,
}
const image: ImageConfig = parseImageConfig(processor)

function load(
  executor: Executor,
  options: Partial<VisionParts> = {},
  visionConfig: VisionConfig = config,
): Promise<VisionEncoder> {
  return VisionEncoder.load({
    config: visionConfig,
    image,
    executor,
    siglip: randomWeights(siglipSpec(visionConfig.siglip), SIGLIP_PREFIX, 1),
    resampler: randomWeights(resamplerSpec(visionConfig.resampler), RESAMPLER_PREFIX, 2),
    ...options,
  })
}

const random = createRandom(3)
const strip = (rows: number, cols: number): PatchStrip => ({
  grid: { rows, cols },
  patches: Float32Array.from({ length: 3 * 6 * rows * cols * 6 }, () => 2 * random() - 1),
})
/** Grids of other sizes and shapes, one longer than the position table. */
const strips = [strip(2, 3), strip(4, 1), strip(1, 11), strip(3, 2)]

/** Rows of one strip. */
function block(embeds: HostTensor, index: number): HostTensor {
  const [, queries, width] = embeds.shape as [number, number, number]
  const size = queries * width
  return { ...embeds, shape: [queries, width], data: f32Data(embeds).subarray(index * size, (index + 1) * size) }
}

/** Two summation orders in float32: 1e-5 of the largest value. */
const ROUNDING = 1e-5

describe("vision encoder", () => {
  let want: HostTensor
  beforeAll(async () => {
    want = await runSteps((await load(createReferenceExecutor())).encode(strips))
  })

  test("a block of rows for each strip, all different", () => {
    expect(want.shape).toEqual([4, 5, 384])
    for (let i = 1; i < strips.length; i++) {
      expect(relativeToMaxAbs(block(want, i), block(want, 0))).toBeGreaterThan(0.01)
    }
  })

  test.each([
    { device: "reference", batchSize: 4 },
    { device: "reference", layersPerStep: 1 },
    { device: "cpu" },
    { device: "cpu", batchSize: 3, layersPerStep: 1 },
    { device: "cpu", batchSize: 16 },
  ])(
    "slices do not see each other: $device, batch $batchSize, layers $layersPerStep",
    async ({ device, ...options }) => {
      const executor =
        device === "cpu" ? createOrtNodeExecutor({ device: "cpu", threads: 1 }) : createReferenceExecutor()
      const encoder = await load(executor, options)
      const got = await runSteps(encoder.encode(strips))
      expect(got.shape).toEqual(want.shape)
      expect(relativeToMaxAbs(got, want)).toBeLessThan(ROUNDING)
      await encoder.release()
      await expect(runSteps(encoder.encode(strips))).rejects.toThrow("expected a live program, got a released one")
    },
  )

  test("a tower as wide as the language model has no kv_proj", async () => {
    const siglip = { ...config.siglip, hiddenSize: 384, numAttentionHeads: 4, headSize: 96, numHiddenLayers: 1 }
    const wide = { ...config, siglip, resampler: { ...config.resampler, visionSize: 384 } }
    const [cpu, reference] = await Promise.all(
      [createOrtNodeExecutor({ device: "cpu", threads: 1 }), createReferenceExecutor()].map(async (executor) =>
        runSteps((await load(executor, {}, wide)).encode(strips.slice(0, 1))),
      ),
    )
    expect(relativeToMaxAbs(cpu!, reference!)).toBeLessThan(ROUNDING)
  })

  test("positions matter: the same patches in another grid give other rows", async () => {
    const turned = { patches: strips[0]!.patches, grid: { rows: 3, cols: 2 } }
    const got = await runSteps((await load(createReferenceExecutor())).encode([turned]))
    expect(relativeToMaxAbs(block(got, 0), block(want, 0))).toBeGreaterThan(0.01)
  })

  test("one step for each part of the tower and one for the resampler; abandoned work leaves nothing behind", async () => {
    const encoder = await load(createReferenceExecutor(), { layersPerStep: 1 })
    const controller = new AbortController()
    controller.abort()
    await expect(runSteps(encoder.encode(strips), controller.signal)).rejects.toThrow("aborted")
    const steps = encoder.encode(strips)
    await steps.next()
    await steps.return(want as never)
    const counted = encoder.encode(strips.slice(0, 2))
    let count = 0
    for (let step = await counted.next(); ; step = await counted.next()) {
      if (!step.done) count++
      else {
        expect(relativeToMaxAbs(block(step.value, 1), block(want, 1))).toBeLessThan(ROUNDING)
        break
      }
    }
    expect(count).toBe(2 * (2 + 1))
  })

  test("no strips, no rows", async () => {
    const none = await runSteps((await load(createReferenceExecutor())).encode([]))
    expect(none.shape).toEqual([0, 5, 384])
  })

  test("images in their order, of each the overview and then its slices", async () => {
    const encoder = await load(createReferenceExecutor())
    const gray = (width: number, height: number) =>
      rgbImage(
        width,
        height,
        Uint8Array.from({ length: width * height * 3 }, (_, i) => i % 251),
      )
    const processed = encoder.process([gray(30, 20), gray(90, 30)])
    expect(processed.map(({ grid }) => grid)).toEqual([undefined, { cols: 3, rows: 1 }])
    const all = stripsOf(processed)
    expect(all.map(({ grid }) => [grid.rows, grid.cols])).toEqual([
      [5, 7],
      [3, 10],
      [6, 6],
      [6, 6],
      [6, 6],
    ])
    const embeds = await runSteps(encoder.encode(all))
    expect(embeds.shape).toEqual([5, 5, 384])
    const overview = await runSteps(encoder.encode(processed[1]!.slices.slice(0, 1)))
    expect(relativeToMaxAbs(block(embeds, 1), block(overview, 0))).toBeLessThan(ROUNDING)
  })
})

describe("errors", () => {
  test("too many patches are refused before anything runs", async () => {
    const encoder = await load(createReferenceExecutor(), { maxPatches: 40 })
    await expect(runSteps(encoder.encode([strip(2, 3), strip(7, 6)]))).rejects.toThrow(
      "vision: expected at most 40 patches in slice 1, got 7x6 = 42" +
        " (make the image smaller or less elongated, or raise maxPatches)",
    )
    const long = { width: 3, height: 6000, data: new Uint8Array(0) } // no pixels: the size alone decides
    expect(() => encoder.process([long])).toThrow(
      "image: expected at most 40 patches of 6x6 pixels, got 268x1 = 268 for an image of 3x6000" +
        " (crop it: it is too long and narrow)",
    )
    expect(() => encoder.process([{ ...long, width: 6000 }], { sliceMode: false })).toThrow(
      "image: expected at most 40 patches of 6x6 pixels, got 1000x1000 = 1000000 for an image of 6000x6000" +
        " (turn sliceMode on, or make it smaller)",
    )
  })

  test("the largest image that the processor can make of ordinary sizes passes", () => {
    for (const size of [
      { width: 20_000, height: 20_000 },
      { width: 1, height: 4000 },
      { width: 10_000, height: 400 },
    ]) {
      expect(() => checkImageSize(size, { ...image, scaleResolution: 448, patchSize: 14 }, 4096)).not.toThrow()
    }
  })

  test("a strip that does not fill its grid", async () => {
    const encoder = await load(createReferenceExecutor())
    await expect(runSteps(encoder.encode([{ ...strip(2, 2), grid: { rows: 2, cols: 3 } }]))).rejects.toThrow(
      "padBatch: expected strip 0 to be [3, 6, 36] for 2x3 patches, got 432 values (check patchSize)",
    )
  })

  test.each([
    ["image_feature_size", 64, "query_num", 5],
    ["patch_size", 14, "patch_size", 6],
    ["use_image_id", true, "use_image_id", false],
    ["max_slice_nums", 9, "slice_config.max_slice_nums", 4],
    ["slice_mode", false, "slice_mode", true],
  ])("model and processor disagree on %s", (key, got, field, expected) => {
    expect(() => checkAgreement(config, parseImageConfig({ ...processor, [key]: got }))).toThrow(
      `preprocessor_config.json: expected ${key} to be ${expected} as ${field} of config.json, got ${got}` +
        " (take both files from one model)",
    )
  })

  test("limits", async () => {
    await expect(load(createReferenceExecutor(), { batchSize: 0 })).rejects.toThrow(
      "vision: expected batchSize to be a positive whole number, got 0 (leave it out)",
    )
    await expect(load(createReferenceExecutor(), { layersPerStep: 0.5 })).rejects.toThrow(
      "vision: expected layersPerStep to be a positive whole number, got 0.5 (leave it out)",
    )
  })
})
