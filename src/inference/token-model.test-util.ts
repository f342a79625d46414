/** @file A language model without a network: logits are a function of the ids so far, at once and exactly. */
import { KvCache } from "../runtime/index.ts"
import { f32, f32Data } from "../tensor/index.ts"
import { createRandom } from "../util/index.ts"
import type { TokenModel } from "./language-model.ts"
import { tinyQwen2Config } from "./tiny-qwen2.test-util.ts"

/** Logits of the next token after these ids. */
export type NextLogits = (ids: readonly number[]) => ArrayLike<number>

/** Fixed random logits for each sequence of ids. */
export function randomLogits(vocabulary: number, seed: number, spread = 3): NextLogits {
  return (ids) => {
    const random = createRandom(ids.reduce((hash, id) => (hash * 31 + id + 1) % 2 ** 31, seed))
    return Float32Array.from({ length: vocabulary }, () => spread * (random() - 0.5))
  }
}

/**
 * The ids themselves are embeddings and cache content, so that forks and row choices show in what follows.
 * @param prefillSteps how many steps a pass over several positions takes
 */
export function tokenModel(vocabulary: number, next: NextLogits, prefillSteps = 1, context = 1000) {
  const spec = [{ name: "ids", kvHeads: 1, headSize: 1 }]
  const config = {
    ...tinyQwen2Config({ vocab_size: vocabulary, max_position_embeddings: context }),
    hiddenSize: 1,
  }
  const passes: { rows: number; steps: number }[] = []
  /** The sequence behind each row of the last pass; the state of a row is its place here. */
  let sequences: number[][] = []
  const model: TokenModel = {
    config,
    embed: (ids) => f32([1, ids.length, 1], ids),
    async *forward(cache, embeds) {
      const [rows, steps] = embeds.shape as [number, number]
      passes.push({ rows, steps })
      for (let i = 1; i < (steps > 1 ? prefillSteps : 1); i++) yield
      const data = f32Data(embeds)
      cache.stage("ids", steps, { keys: data, values: data })
      cache.advance(steps)
      const { length } = cache
      const all = cache.snapshot().slots.ids!.values
      sequences = Array.from({ length: rows }, (_, b) => [...all.slice(b * length, (b + 1) * length)])
      yield
      return [f32([rows, 1, 1], sequences.keys().toArray())]
    },
    async lastLogits(hidden) {
      const logits = f32Data(hidden)
        .values()
        .toArray()
        .flatMap((row) => Array.from(next(sequences[row]!)))
      return { logits: Float32Array.from(logits), normed: f32Data(hidden) }
    },
  }
  return { model, passes, createCache: () => new KvCache(spec, 1) }
}
