/** @file Answers token by token: prefill, then decode steps with a sampler, until a terminator or the length limit. */
import type { TokenConstraint } from "../grammar/index.ts"
import type { KvCache } from "../runtime/index.ts"
import type { HostTensor } from "../tensor/index.ts"
import { inSteps } from "../util/index.ts"
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
  /** Ids of the answer that were written before, for frequency and presence penalties. */
  readonly written?: readonly number[]
  /** Which tokens may come; it decides on the end too, so `minNewTokens` has no say then. */
  readonly constraint?: Pick<TokenConstraint, "allowed" | "accept">
}

/** One step's outcome: the sampled token, or nothing after a prefill step. Logits are the model's, before the sampler. */
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
  const hidden = yield* inSteps(model.forward(cache, embeds))
  return yield* decode(model, cache, hidden[0]!, options)
}

/**
 * The answer to positions that are in the cache already, as {@link generate} gives it: for those who want to see the states
 * of the prompt.
 * @param hidden [1, T, D]: states of the latest positions before the final norm
 */
export async function* decode(
  model: TokenModel,
  cache: KvCache,
  hidden: HostTensor,
  options: GenerateOptions,
): AsyncGenerator<GenerateStep, FinishReason, void> {
  const { maxNewTokens, terminators, reserved, random, constraint } = options
  const sampling = constraint ? { ...options, minNewTokens: 0 } : options
  const answer: number[] = []
  let states = hidden
  for (;;) {
    const { logits, normed } = await model.lastLogits(states)
    const seen = [...(options.seen ?? []), ...answer]
    const choice = logits.slice()
    if (constraint) forbidOthers(choice, await constraint.allowed())
    const id = sample(
      choice,
      sampling,
      { seen, written: [...(options.written ?? []), ...answer], newTokens: answer.length, terminators, reserved },
      random,
    )
    constraint?.accept(id)
    answer.push(id)
    yield { id, logits, normed }
    if (terminators.includes(id)) return "stop"
    if (answer.length >= maxNewTokens || cache.length >= model.config.maxPositionEmbeddings) return "length"
    states = (yield* inSteps(model.forward(cache, model.embed([id]))))[0]!
  }
}

/** @param allowed bit `id & 31` of word `id >> 5` */
function forbidOthers(logits: Float32Array, allowed: Int32Array): void {
  for (let id = 0; id < logits.length; id++) {
    if (((allowed[id >> 5]! >>> (id & 31)) & 1) === 0) logits[id] = Number.NEGATIVE_INFINITY
  }
}
