/** @file config.json of MiniCPM-o 2.6, checked and typed. Field names are the file's own in camelCase. */
import { z } from "zod"
import { ConfigError } from "../../util/index.ts"

const size = z.int().positive()

/** Rotary angles as they are; other kinds stretch them for contexts longer than those of training. */
const plainRope = z.object({ rope_type: z.literal("default").optional(), type: z.literal("default").optional() })

// Absent fields with a default take that of the official configuration class.
const qwen2Fields = z.object({
  hidden_size: size,
  intermediate_size: size,
  num_hidden_layers: size,
  num_attention_heads: size,
  num_key_value_heads: size,
  vocab_size: size,
  rope_theta: z.number().positive(),
  rms_norm_eps: z.number().positive(),
  max_position_embeddings: size,
  tie_word_embeddings: z.boolean().default(false),
  hidden_act: z.literal("silu").default("silu"),
  rope_scaling: plainRope.nullish(),
  use_sliding_window: z.boolean().default(false),
  sliding_window: size.nullable().default(4096),
})

/** The language model's part of the config. */
export type Qwen2Config = {
  readonly hiddenSize: number
  readonly intermediateSize: number
  readonly numHiddenLayers: number
  readonly numAttentionHeads: number
  readonly numKeyValueHeads: number
  /** Width of one head, K. */
  readonly headSize: number
  readonly vocabSize: number
  readonly ropeTheta: number
  readonly rmsNormEps: number
  readonly maxPositionEmbeddings: number
  readonly tieWordEmbeddings: boolean
}

/**
 * Reads the language model's fields.
 * @param source names the file in errors
 * @throws ConfigError naming the first wrong field
 */
export function parseQwen2Config(json: unknown, source = "config.json"): Qwen2Config {
  const parsed = qwen2Fields.safeParse(json)
  if (!parsed.success) throw configError(source, parsed.error, json)
  const c = parsed.data
  if (c.hidden_size % c.num_attention_heads !== 0 || c.num_attention_heads % c.num_key_value_heads !== 0) {
    throw new ConfigError(
      `${source}: expected hidden_size to be a multiple of num_attention_heads and that of num_key_value_heads, ` +
        `got ${c.hidden_size}, ${c.num_attention_heads}, ${c.num_key_value_heads}`,
    )
  }
  const window = c.use_sliding_window ? c.sliding_window : null
  if (window !== null && window < c.max_position_embeddings) {
    throw new ConfigError(
      `${source}: use_sliding_window: expected false or a sliding_window of at least max_position_embeddings, ` +
        `got true, ${window}, ${c.max_position_embeddings} (attention over a window is not supported)`,
    )
  }
  const headSize = c.hidden_size / c.num_attention_heads
  if (headSize % 2 !== 0) throw new ConfigError(`${source}: expected an even head size for rotary, got ${headSize}`)
  return {
    hiddenSize: c.hidden_size,
    intermediateSize: c.intermediate_size,
    numHiddenLayers: c.num_hidden_layers,
    numAttentionHeads: c.num_attention_heads,
    numKeyValueHeads: c.num_key_value_heads,
    headSize,
    vocabSize: c.vocab_size,
    ropeTheta: c.rope_theta,
    rmsNormEps: c.rms_norm_eps,
    maxPositionEmbeddings: c.max_position_embeddings,
    tieWordEmbeddings: c.tie_word_embeddings,
  }
}

const partFields = z.object({
  init_vision: z.boolean().default(true),
  init_audio: z.boolean().default(true),
  init_tts: z.boolean().default(true),
})

/** The parts that a model has beside its language model. */
export type ModelParts = { readonly sees: boolean; readonly hears: boolean; readonly speaks: boolean }

/**
 * Reads which parts the official code would build. It leaves the tensors of others alone, and files that it has saved
 * without a part (as its fine-tuning does) have none.
 * @param source names the file in errors
 * @throws ConfigError naming the first wrong field
 */
export function parseModelParts(json: unknown, source = "config.json"): ModelParts {
  const parsed = partFields.safeParse(json)
  if (!parsed.success) throw configError(source, parsed.error, json)
  const { init_vision: sees, init_audio: hears, init_tts: speaks } = parsed.data
  return { sees, hears, speaks }
}

/**
 * The first complaint of a schema, in our grammar.
 * @param json what was parsed; with it the error shows the value
 */
export function configError(source: string, error: z.ZodError, json?: unknown): ConfigError {
  const issue = error.issues[0]!
  const field = issue.path.join(".") || "the file"
  const [expected, received] = issue.message.replace(/^[A-Z][a-z ]*: /, "").split(", received ")
  const value = issue.path.reduce<unknown>(
    (at, key) => (at as { [key: PropertyKey]: unknown } | undefined)?.[key],
    json,
  )
  const got = value === undefined ? (received ?? "another value") : JSON.stringify(value).slice(0, 80)
  return new ConfigError(`${source}: ${field}: ${expected}, got ${got} (compare with the official config.json)`)
}
