/** @file The sizes of new models: the official one, and a small one of the same architecture. */
import type { DvaeConfig, VocosConfig } from "../models/minicpmo/index.ts"
import { ConfigError } from "../util/index.ts"

export const PRESETS = ["nano", "full"] as const
export type Preset = (typeof PRESETS)[number]

/** What config.json does not say of a model's tensors. */
export type UnstatedSizes = {
  readonly dvae: DvaeConfig
  readonly vocos: VocosConfig
  /** Rows of the speech decoder's own token table, which nothing uses. */
  readonly deadTokenRows: number
}

/** A new model: its config.json but for token ids, the rest of its sizes, and room for tokens. */
export type ModelPlan = { readonly config: ConfigJson; readonly sizes: UnstatedSizes }

/** A config.json in the official layout; members that decide about tensors and tokens are named. */
export type ConfigJson = {
  readonly vocab_size: number
  readonly num_hidden_layers: number
  readonly tts_config: { readonly num_text_tokens: number; readonly [field: string]: unknown }
  readonly [field: string]: unknown
}

const MEL_BINS = 100
const CODEBOOKS = 4
const DIGITS = 4

function dvaeSizes(
  channels: number,
  stack: Pick<DvaeConfig["encoder"], "bottleneck" | "hidden" | "depth">,
): DvaeConfig {
  const common = { inner: channels, intermediate: 4 * stack.hidden, kernel: 7, ...stack }
  return {
    melBins: MEL_BINS,
    channels,
    codebooks: CODEBOOKS,
    digits: DIGITS,
    encoder: { ...common, outer: 2 * channels },
    decoder: { ...common, outer: channels },
  }
}

function vocosSizes(hidden: number, depth: number): VocosConfig {
  return { melBins: MEL_BINS, hidden, intermediate: 3 * hidden, depth, embedKernel: 7, kernel: 7, fftSize: 1024 }
}

/** Members that are the same at all sizes. Source: config.json of openbmb/MiniCPM-o-2_6. */
const COMMON = {
  _name_or_path: "openbmb/MiniCPM-o-2_6",
  architectures: ["MiniCPMO"],
  attention_dropout: 0.0,
  hidden_act: "silu",
  initializer_range: 0.02,
  max_position_embeddings: 32768,
  max_window_layers: 28,
  rms_norm_eps: 1e-6,
  rope_theta: 1000000.0,
  sliding_window: 131072,
  tie_word_embeddings: false,
  use_sliding_window: false,
  batch_vision_input: true,
  drop_vision_last_layer: false,
  image_size: 448,
  audio_chunk_length: 1.0,
  audio_pool_step: 2,
  auto_map: {
    AutoConfig: "configuration_minicpm.MiniCPMOConfig",
    AutoModel: "modeling_minicpmo.MiniCPMO",
    AutoModelForCausalLM: "modeling_minicpmo.MiniCPMO",
  },
  chunk_input: true,
  listen_speak_type: "asr",
  model_type: "minicpmo",
  patch_size: 14,
  query_num: 64,
  slice_config: { max_slice_nums: 9, model_type: "minicpmv" },
  slice_mode: true,
  torch_dtype: "bfloat16",
  transformers_version: "4.44.2",
  use_cache: true,
  use_image_id: true,
  version: 2.6,
  vision_batch_size: 16,
}

/** The decoder's members are left-overs that the official file has too. */
function audioConfig(width: number, layers: number, heads: number) {
  return {
    _name_or_path: "openai/whisper-medium",
    architectures: ["MiniCPMWhisperEncoder"],
    begin_suppress_tokens: [220, 50257],
    bos_token_id: 50257,
    d_model: width,
    decoder_attention_heads: heads,
    decoder_ffn_dim: 4 * width,
    decoder_layers: layers,
    decoder_start_token_id: 50258,
    encoder_attention_heads: heads,
    encoder_ffn_dim: 4 * width,
    encoder_layers: layers,
    eos_token_id: 50257,
    forced_decoder_ids: [
      [1, 50259],
      [2, 50359],
      [3, 50363],
    ],
    max_length: 448,
    model_type: "whisper",
    num_hidden_layers: layers,
    pad_token_id: 50257,
    torch_dtype: "float32",
  }
}

const visionConfig = (width: number, ffn: number, layers: number, heads: number) => ({
  hidden_size: width,
  image_size: 980,
  intermediate_size: ffn,
  model_type: "siglip_vision_model",
  num_attention_heads: heads,
  num_hidden_layers: layers,
  patch_size: 14,
})

const PLANS: { readonly [P in Preset]: ModelPlan } = {
  full: {
    config: {
      ...COMMON,
      hidden_size: 3584,
      intermediate_size: 18944,
      num_attention_heads: 28,
      num_hidden_layers: 28,
      num_key_value_heads: 4,
      vocab_size: 151700,
      audio_config: audioConfig(1024, 24, 16),
      tts_config: { model_type: "conditional_chattts", llm_dim: 3584, num_text_tokens: 21178 },
      vision_config: visionConfig(1152, 4304, 27, 16),
    },
    sizes: {
      dvae: dvaeSizes(512, { bottleneck: 128, hidden: 256, depth: 12 }),
      vocos: vocosSizes(512, 8),
      deadTokenRows: 32000,
    },
  },
  nano: {
    config: {
      ...COMMON,
      hidden_size: 256,
      intermediate_size: 768,
      num_attention_heads: 4,
      num_hidden_layers: 8,
      num_key_value_heads: 2,
      vocab_size: 2048,
      audio_config: audioConfig(128, 4, 4),
      tts_config: {
        model_type: "conditional_chattts",
        llm_dim: 256,
        hidden_size: 128,
        intermediate_size: 384,
        num_attention_heads: 4,
        num_hidden_layers: 4,
        num_text_tokens: 2048,
      },
      vision_config: visionConfig(128, 512, 4, 4),
    },
    sizes: {
      dvae: dvaeSizes(64, { bottleneck: 32, hidden: 64, depth: 4 }),
      vocos: vocosSizes(128, 4),
      deadTokenRows: 16,
    },
  },
}

/** Planning more takes minutes, and no disk holds them. */
const MOST_LAYERS = 1000

/**
 * The plan of a preset.
 * @param layers layers of the language model, when others than the preset's
 * @throws ConfigError for an unknown preset or a count that is none
 */
export function modelPlan(preset: string, layers?: number): ModelPlan {
  const known = PRESETS.find((name) => name === preset)
  if (!known) throw new ConfigError(`preset: expected ${PRESETS.join(" or ")}, got ${preset}`)
  const plan = PLANS[known]
  if (layers === undefined) return plan
  if (!Number.isSafeInteger(layers) || layers < 1 || layers > MOST_LAYERS) {
    throw new ConfigError(`layers: expected a positive whole number, at most ${MOST_LAYERS}, got ${layers}`)
  }
  return { ...plan, config: { ...plan.config, num_hidden_layers: layers } }
}
