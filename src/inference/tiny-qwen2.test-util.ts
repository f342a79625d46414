/** @file Small random language models of any dims, for laws that hold for all of them. */
import { LLM_PREFIX, parseQwen2Config, type Qwen2Config, qwen2Spec } from "../models/minicpmo/index.ts"
import type { Executor, WeightStore } from "../runtime/index.ts"
import { f32Data, type HostTensor } from "../tensor/index.ts"
import { runSteps } from "../util/index.ts"
import { type ForwardOptions, LanguageModel } from "./language-model.ts"
import { randomWeights } from "./random-weights.test-util.ts"

/** Dims unlike those of recorded checkpoints: an odd layer and vocabulary count, three queries for each key. */
export function tinyQwen2Config(change: { readonly [name: string]: unknown } = {}): Qwen2Config {
  return parseQwen2Config({
    hidden_size: 36,
    intermediate_size: 56,
    num_hidden_layers: 3,
    num_attention_heads: 6,
    num_key_value_heads: 2,
    vocab_size: 41,
    rope_theta: 500,
    rms_norm_eps: 1e-5,
    max_position_embeddings: 400,
    ...change,
  })
}

export type TinyOptions = {
  readonly seed?: number
  readonly layersPerStep?: number
  readonly weights?: WeightStore
  /** Other weights for passes over many positions, loaded later. */
  readonly deferred?: WeightStore
}

export function tinyWeights(config: Qwen2Config, seed = 1): WeightStore {
  return randomWeights(qwen2Spec(config), LLM_PREFIX, seed)
}

export function loadTinyQwen2(
  executor: Executor,
  config: Qwen2Config,
  options: TinyOptions = {},
): Promise<LanguageModel> {
  const { seed = 1, layersPerStep, weights = tinyWeights(config, seed), deferred } = options
  const { vocabSize, hiddenSize: width } = config
  const table = f32Data(weights.read(`${LLM_PREFIX}.model.embed_tokens.weight`, "f32", [vocabSize, width]))
  const embeddingRows = (ids: readonly number[]) => {
    const rows = new Float32Array(ids.length * width)
    for (const [i, id] of ids.entries()) rows.set(table.subarray(id * width, (id + 1) * width), i * width)
    return rows
  }
  return LanguageModel.load({
    ...{ config, executor, prefill: deferred ?? weights, decode: weights, embeddingRows },
    deferPrefill: deferred !== undefined,
    ...(layersPerStep ? { layersPerStep } : {}),
  })
}

/** The hidden states of one pass. */
export async function hiddenOf(
  model: LanguageModel,
  cache: ReturnType<LanguageModel["createCache"]>,
  embeds: HostTensor,
  options: ForwardOptions = {},
): Promise<Float32Array> {
  return f32Data((await runSteps(model.forward(cache, embeds, options)))[0]!)
}

/** The largest difference, relative to the largest wanted value. */
export function relativeError(got: ArrayLike<number>, want: ArrayLike<number>): number {
  if (got.length !== want.length) return Number.POSITIVE_INFINITY
  let largest = 0
  let difference = 0
  for (let i = 0; i < want.length; i++) {
    largest = Math.max(largest, Math.abs(want[i]!))
    difference = Math.max(difference, Math.abs(got[i]! - want[i]!))
    if (Number.isNaN(got[i]!)) return Number.NaN
  }
  return difference / largest
}

/** Token ids that do not repeat soon. */
export function tokens(config: Qwen2Config, count: number, offset = 0): number[] {
  return Array.from({ length: count }, (_, i) => ((i + offset) * 7 + ((i + offset) ** 2 % 5)) % config.vocabSize)
}
