/** @file Answers token by token: prefill, then decode steps with a sampler, until a terminator or the length limit. */
import type { KvCache } from "../runtime/index.ts"
import type { HostTensor } from "../tensor/index.ts"
import type { TokenModel } from "./language-model.ts"
import { type SamplingOptions, sample } from "./sampler.ts"

export type GenerateOptions = SamplingOptions & {
  readonly maxNewTokens: number
  readonly terminators: readonly number[]
  /** Ids that no token has. */
  readonly reserved: readonly number[]
  /** Numbers in [0, 1). */
  readonly random: () => number
  /** Ids whose repetition is penalized from the start; in `chat` the prompt is not among them. */
  readonly seen?: readonly number[]
}

/** One step's outcome: the sampled token, or nothing after a prefill step. */
export type GenerateStep =
  | { readonly id: number; readonly logits: Float32Array; readonly normed: Float32Array }
  | undefined

/** Why an answer ended: a terminator, or the limit of the answer or of the model's context. */
export type FinishReason = "stop" | "length"

/**
 * Generates an answer to embedded input; each `next()` is one step of work.
 * The terminator is yielded like any token. The last sampled token is never in the cache.
 * @param embeds [1, T, D]: the prompt's new positions, appended to the cache
 */
export async function* generate(
  model: TokenModel,
  cache: KvCache,
  embeds: HostTensor,
  options: GenerateOptions,
): AsyncGenerator<GenerateStep, FinishReason, void> {
  const { maxNewTokens, terminators, reserved, random } = options
  const answer: number[] = []
  let input = embeds
  for (;;) {
    const steps = model.forward(cache, input)
    let hidden: HostTensor
    for (;;) {
      const { done, value } = await steps.next()
      if (done) {
        hidden = value[0]!
        break
      }
      yield undefined
    }
    const { logits, normed } = await model.lastLogits(hidden)
    const seen = [...(options.seen ?? []), ...answer]
    const id = sample(logits, options, { seen, newTokens: answer.length, terminators, reserved }, random)
    answer.push(id)
    yield { id, logits, normed }
    if (terminators.includes(id)) return "stop"
    if (answer.length >= maxNewTokens || cache.length >= model.config.maxPositionEmbeddings) return "length"
    input = model.embed([id])
  }
}
