import { describe, expect, test } from "vitest"
import { parseVisionConfig } from "./config-vision.ts"

/** The fields of the official file, at its sizes. */
const official = {
  vision_config: {
    hidden_size: 1152,
    intermediate_size: 4304,
    num_hidden_layers: 27,
    num_attention_heads: 16,
    image_size: 980,
    patch_size: 14,
  },
  hidden_size: 3584,
  query_num: 64,
  patch_size: 14,
  drop_vision_last_layer: false,
  vision_batch_size: 16,
  use_image_id: true,
  slice_mode: true,
  slice_config: { max_slice_nums: 9 },
}

test("official sizes and derived constants", () => {
  const { siglip, resampler, visionBatchSize } = parseVisionConfig(official)
  expect(siglip).toEqual({
    hiddenSize: 1152,
    intermediateSize: 4304,
    numHiddenLayers: 27,
    droppedLayers: 0,
    numAttentionHeads: 16,
    headSize: 72,
    patchSize: 14,
    positionsPerSide: 70,
    layerNormEps: 1e-6,
  })
  expect(resampler).toEqual({
    hiddenSize: 3584,
    visionSize: 1152,
    queryNum: 64,
    numAttentionHeads: 28,
    layerNormEps: 1e-6,
  })
  expect(visionBatchSize).toBe(16)
})

test("a dropped last layer is not part of the model", () => {
  expect(parseVisionConfig({ ...official, drop_vision_last_layer: true }).siglip).toMatchObject({
    numHiddenLayers: 26,
    droppedLayers: 1,
  })
})

test("absent fields take the defaults of the official classes, as in files that are saved again", () => {
  const { query_num, patch_size, use_image_id, slice_mode, slice_config, vision_batch_size, ...rest } = official
  const short = { ...rest, vision_config: { hidden_size: 60, image_size: 448, patch_size: 14 } }
  const { siglip, resampler, visionBatchSize, processor } = parseVisionConfig(short)
  expect(siglip).toMatchObject({ intermediateSize: 3072, numHiddenLayers: 12, numAttentionHeads: 12, patchSize: 14 })
  expect(resampler.queryNum).toBe(query_num)
  expect(visionBatchSize).toBe(vision_batch_size)
  const slices = (settings: object | null) =>
    parseVisionConfig({ ...short, slice_config: settings }).processor.maxSliceNums
  expect(processor).toEqual({ featureSize: 64, patchSize: 14, maxSliceNums: 1, sliceMode: true, useImageId: true })
  expect([slices(null), slices({}), slices({ max_slice_nums: 4 })]).toEqual([1, 9, 4])
  const empty = parseVisionConfig({ hidden_size: 128, vision_config: {} })
  expect(empty.siglip).toMatchObject({ hiddenSize: 768, numHiddenLayers: 11, patchSize: 16, positionsPerSide: 14 })
})

describe("errors name the field", () => {
  const tower = (change: object) => ({ ...official, vision_config: { ...official.vision_config, ...change } })
  const compare = "(compare with the official config.json)"
  test.each([
    [{ ...official, hidden_size: 200 }, `hidden_size: expected a multiple of 128 (the resampler's head size), got 200`],
    [tower({ hidden_size: 1150 }), "vision_config.hidden_size: expected a multiple of 16 heads, got 1150"],
    [tower({ patch_size: 16 }), "vision_config.patch_size: expected patch_size 14, got 16"],
    [tower({ image_size: 13 }), "vision_config.image_size: expected at least one patch of 14, got 13"],
    [
      { ...tower({ num_hidden_layers: 1 }), drop_vision_last_layer: true },
      "vision_config.num_hidden_layers: expected a layer besides the dropped one, got 1",
    ],
  ])("%#", (json, text) => {
    expect(() => parseVisionConfig(json, "a.json")).toThrow(`a.json: ${text} ${compare}`)
  })

  test("of the schema", () => {
    expect(() => parseVisionConfig(tower({ hidden_act: "gelu" }), "a.json")).toThrow(
      /^a\.json: vision_config\.hidden_act: /,
    )
    expect(() => parseVisionConfig({ ...official, slice_config: { max_slice_nums: 0 } })).toThrow(
      /^config\.json: slice_config\.max_slice_nums: /,
    )
  })
})
