/**
 * @file Answers to several prompts at once: a batch of a few rows costs hardly more than one row, because reading the
 * weights takes most of the time. Source: GenerationMixin._sample of transformers 4.44.
 */
import type { KvCache } from "../runtime/index.ts"
import { f32, f32Data, type HostTensor } from "../tensor/index.ts"
import type { Steps } from "../util/index.ts"
import type { FinishReason, GenerateOptions } from "./generate.ts"
import type { TokenModel } from "./language-model.ts"
import { sample } from "./sampler.ts"

/** One row's answer, its terminator included. */
export type BatchAnswer = { readonly ids: readonly number[]; readonly reason: FinishReason }

/** What finished rows are fed until all are finished. */
const PAD_ID = 0

/**
 * Answers left-padded prompts together, until every row has its terminator or the length limit is reached.
 * @param cache of B rows, empty
 * @param embeds [B, T, D]
 * @param valid 1 for real positions, 0 for padding, [B, T]
 */
export async function* generateBatch(
  model: TokenModel,
  cache: KvCache,
  { embeds, valid }: { readonly embeds: HostTensor; readonly valid: Uint8Array },
  options: Omit<GenerateOptions, "seen">,
): Steps<BatchAnswer[]> {
  const { maxNewTokens, terminators, reserved, random } = options
  const [rows] = embeds.shape as [number]
  const { vocabSize, hiddenSize, maxPositionEmbeddings } = model.config
  const answers = Array.from({ length: rows }, (): number[] => [])
  const isDone = (ids: readonly number[]) => ids.length > 0 && terminators.includes(ids.at(-1)!)
  if (rows === 0) return []
  let [states] = yield* model.forward(cache, embeds, { valid })
  for (let count = 1; ; count++) {
    const { logits } = await model.lastLogits(states!)
    for (const [row, seen] of answers.entries()) {
      if (isDone(seen)) continue
      const own = logits.slice(row * vocabSize, (row + 1) * vocabSize)
      seen.push(sample(own, options, { seen, newTokens: seen.length, terminators, reserved }, random))
    }
    yield
    if (answers.every(isDone) || count >= maxNewTokens || cache.length >= maxPositionEmbeddings) break
    const next = model.embed(answers.map((ids) => (isDone(ids) ? PAD_ID : ids.at(-1)!)))
    ;[states] = yield* model.forward(cache, f32([rows, 1, hiddenSize], f32Data(next)))
  }
  return answers.map((ids) => ({ ids, reason: isDone(ids) ? "stop" : "length" }))
}
