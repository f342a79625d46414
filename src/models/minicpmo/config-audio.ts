/** @file The audio part of config.json: Whisper's encoder, the projector and the pooling behind it. */
import { z } from "zod"
import { ConfigError } from "../../util/index.ts"
import { configError } from "./config.ts"

const size = z.int().positive()

// Absent fields take the defaults of the official configuration classes.
const audioFields = z.object({
  hidden_size: size,
  audio_pool_step: size.default(2),
  audio_chunk_length: z.number().default(1),
  audio_config: z.object({
    d_model: size.default(384),
    encoder_layers: size.default(4),
    encoder_attention_heads: size.default(6),
    encoder_ffn_dim: size.default(1536),
    num_mel_bins: size.default(80),
    max_source_positions: size.default(1500),
    activation_function: z.literal("gelu").default("gelu"),
    scale_embedding: z.literal(false).default(false),
  }),
})

export type AudioConfig = {
  /** D of the encoder. */
  readonly hiddenSize: number
  readonly numLayers: number
  readonly numHeads: number
  readonly ffnSize: number
  readonly melBins: number
  /** Frames that have a position: 1500, 30 seconds. */
  readonly maxPositions: number
  /** Width of a token for the language model, E. */
  readonly tokenSize: number
  /** Encoder frames averaged into one token. */
  readonly poolStep: number
  /** Attention blocks of the offline path in seconds; 0 or less: the whole segment is one block. */
  readonly chunkSeconds: number
}

/** Encoder frames of one second: 16 kHz, hop 160, stride 2. Source: a constant of `get_audio_embedding`. */
const FRAMES_PER_SECOND = 50

/** LayerNorm's epsilon is PyTorch's default; the config has no field for it. */
export const AUDIO_NORM_EPSILON = 1e-5

/**
 * Reads the audio fields.
 * @param source names the file in errors
 * @throws ConfigError naming the first wrong field
 */
export function parseAudioConfig(json: unknown, source = "config.json"): AudioConfig {
  const parsed = audioFields.safeParse(json)
  if (!parsed.success) throw configError(source, parsed.error)
  const { audio_config: encoder, ...c } = parsed.data
  if (encoder.d_model % encoder.encoder_attention_heads !== 0) {
    throw new ConfigError(
      `${source}: audio_config: expected d_model to be a multiple of encoder_attention_heads, ` +
        `got ${encoder.d_model} and ${encoder.encoder_attention_heads}`,
    )
  }
  // The official projector takes a quarter of the feed-forward width for the encoder's width.
  if (Math.floor(encoder.encoder_ffn_dim / 4) !== encoder.d_model) {
    throw new ConfigError(
      `${source}: audio_config: expected encoder_ffn_dim to be 4 times d_model, ` +
        `got ${encoder.encoder_ffn_dim} and ${encoder.d_model} (the projector's input is encoder_ffn_dim / 4 wide)`,
    )
  }
  chunkFrames(c.audio_chunk_length, `${source}: audio_chunk_length`)
  return {
    hiddenSize: encoder.d_model,
    numLayers: encoder.encoder_layers,
    numHeads: encoder.encoder_attention_heads,
    ffnSize: encoder.encoder_ffn_dim,
    melBins: encoder.num_mel_bins,
    maxPositions: encoder.max_source_positions,
    tokenSize: c.hidden_size,
    poolStep: c.audio_pool_step,
    chunkSeconds: c.audio_chunk_length,
  }
}

/**
 * Encoder frames of one attention block; undefined when the whole segment is one.
 * @throws ConfigError when the block is shorter than a frame
 */
export function chunkFrames(seconds: number, where = "chunkSeconds"): number | undefined {
  if (seconds <= 0) return undefined
  const frames = Math.trunc(seconds * FRAMES_PER_SECOND)
  if (frames >= 1) return frames
  throw new ConfigError(`${where}: expected at least ${1 / FRAMES_PER_SECOND} seconds or none (0), got ${seconds}`)
}
