/** @file The vision part of config.json: tower, resampler, and what the image processor's settings must agree with. */
import { z } from "zod"
import { ConfigError } from "../../util/index.ts"
import { configError } from "./config.ts"

const size = z.int().positive()

// Absent fields take the defaults of the official configuration classes: files that are saved again leave them out.
const towerFields = z.object({
  hidden_size: size.default(768),
  intermediate_size: size.default(3072),
  num_hidden_layers: size.default(12),
  num_attention_heads: size.default(12),
  image_size: size.default(224),
  patch_size: size.default(16),
  num_channels: z.literal(3).default(3),
  hidden_act: z.literal("gelu_pytorch_tanh").default("gelu_pytorch_tanh"),
  layer_norm_eps: z.number().positive().default(1e-6),
})

const visionFields = z.object({
  vision_config: towerFields,
  hidden_size: size,
  query_num: size.default(64),
  patch_size: size.optional(), // that of the tower
  drop_vision_last_layer: z.boolean().default(true),
  vision_batch_size: size.default(16),
  use_image_id: z.boolean().default(true),
  slice_mode: z.boolean().default(true),
  slice_config: z.object({ max_slice_nums: size.default(9) }).nullish(),
})

/** Slices of a config without settings for them: the overview alone. */
const WITHOUT_SLICES = 1

/** Width of one head of the resampler, fixed by the official code. */
const RESAMPLER_HEAD_SIZE = 128
/** Epsilon of the resampler's norms, fixed by the official code. */
const RESAMPLER_NORM_EPS = 1e-6

/** The vision tower. */
export type SiglipConfig = {
  readonly hiddenSize: number
  readonly intermediateSize: number
  /** Layers that are used: one fewer than the file says when `drop_vision_last_layer` is set. */
  readonly numHiddenLayers: number
  /** Layers behind those, which the official code takes away after it has built the tower. */
  readonly droppedLayers: number
  readonly numAttentionHeads: number
  /** Width of one head, K. */
  readonly headSize: number
  /** Side of a patch in pixels. */
  readonly patchSize: number
  /** Positions on each side of the learned position table. */
  readonly positionsPerSide: number
  readonly layerNormEps: number
}

/** The resampler, from patches of the tower to queries of the language model. */
export type ResamplerConfig = {
  /** Width of the language model, D. */
  readonly hiddenSize: number
  /** Width of the tower. */
  readonly visionSize: number
  readonly queryNum: number
  readonly numAttentionHeads: number
  readonly layerNormEps: number
}

export type VisionConfig = {
  readonly siglip: SiglipConfig
  readonly resampler: ResamplerConfig
  /** Slices that the official code gives to the tower at once. */
  readonly visionBatchSize: number
  /** Settings that `preprocessor_config.json` repeats. */
  readonly processor: {
    readonly featureSize: number
    readonly patchSize: number
    readonly maxSliceNums: number
    readonly sliceMode: boolean
    readonly useImageId: boolean
  }
}

/**
 * Reads the vision fields of a parsed `config.json`.
 * @param source names the file in errors
 * @throws ConfigError naming the first wrong field
 */
export function parseVisionConfig(json: unknown, source = "config.json"): VisionConfig {
  const parsed = visionFields.safeParse(json)
  if (!parsed.success) throw configError(source, parsed.error)
  const c = parsed.data
  const tower = c.vision_config
  const complain = (field: string, expected: string, got: number | string): never => {
    throw new ConfigError(
      `${source}: ${field}: expected ${expected}, got ${got} (compare with the official config.json)`,
    )
  }
  if (tower.hidden_size % tower.num_attention_heads !== 0) {
    complain("vision_config.hidden_size", `a multiple of ${tower.num_attention_heads} heads`, tower.hidden_size)
  }
  if (tower.image_size < tower.patch_size) {
    complain("vision_config.image_size", `at least one patch of ${tower.patch_size}`, tower.image_size)
  }
  const { patch_size: patchSize = tower.patch_size } = c
  if (tower.patch_size !== patchSize) {
    complain("vision_config.patch_size", `patch_size ${patchSize}`, tower.patch_size)
  }
  if (c.hidden_size % RESAMPLER_HEAD_SIZE !== 0) {
    complain("hidden_size", `a multiple of ${RESAMPLER_HEAD_SIZE} (the resampler's head size)`, c.hidden_size)
  }
  const droppedLayers = c.drop_vision_last_layer ? 1 : 0
  const numHiddenLayers = tower.num_hidden_layers - droppedLayers
  if (numHiddenLayers < 1) complain("vision_config.num_hidden_layers", "a layer besides the dropped one", 1)
  return {
    siglip: {
      hiddenSize: tower.hidden_size,
      intermediateSize: tower.intermediate_size,
      numHiddenLayers,
      droppedLayers,
      numAttentionHeads: tower.num_attention_heads,
      headSize: tower.hidden_size / tower.num_attention_heads,
      patchSize: tower.patch_size,
      positionsPerSide: Math.floor(tower.image_size / tower.patch_size),
      layerNormEps: tower.layer_norm_eps,
    },
    resampler: {
      hiddenSize: c.hidden_size,
      visionSize: tower.hidden_size,
      queryNum: c.query_num,
      numAttentionHeads: c.hidden_size / RESAMPLER_HEAD_SIZE,
      layerNormEps: RESAMPLER_NORM_EPS,
    },
    visionBatchSize: c.vision_batch_size,
    processor: {
      featureSize: c.query_num,
      patchSize,
      maxSliceNums: c.slice_config?.max_slice_nums ?? WITHOUT_SLICES,
      sliceMode: c.slice_mode,
      useImageId: c.use_image_id,
    },
  }
}
