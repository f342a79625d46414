/**
 * @file Beam search as the reference does it when sampling is off. Source: GenerationMixin._beam_search and
 * BeamSearchScorer of transformers 4.44 (length_penalty 1, early_stopping false).
 */
import type { KvCache } from "../runtime/index.ts"
import { f32, type HostTensor } from "../tensor/index.ts"
import type { Steps } from "../util/index.ts"
import type { TokenModel } from "./language-model.ts"
import { processLogits } from "./sampler.ts"

export type BeamOptions = {
  readonly beams: number
  readonly maxNewTokens: number
  readonly repetitionPenalty: number
  readonly minNewTokens: number
  readonly terminators: readonly number[]
  readonly reserved: readonly number[]
}

/** The official settings of `sampling: false`. */
export const DEFAULT_BEAMS = { beams: 3, repetitionPenalty: 1.2, minNewTokens: 0 }

type Beam = { readonly ids: readonly number[]; readonly score: number }

/** Finished answers of one prompt, best first, at most `beams`. */
class Hypotheses {
  readonly kept: { readonly ids: readonly number[]; readonly score: number }[] = []
  private readonly limit: number

  constructor(limit: number) {
    this.limit = limit
  }

  /** @param length new tokens counted by the length penalty, the terminator included */
  add(ids: readonly number[], sum: number, length: number): void {
    this.kept.push({ ids, score: sum / length })
    this.kept.sort((a, b) => b.score - a.score)
    this.kept.length = Math.min(this.kept.length, this.limit)
  }

  /** True when no open beam can still get among the kept ones. */
  isDone(bestSum: number, length: number): boolean {
    return this.kept.length === this.limit && this.kept.at(-1)!.score >= bestSum / length
  }
}

/** log(softmax(x)), in place. */
function logSoftmax(logits: Float32Array): void {
  let max = Number.NEGATIVE_INFINITY
  for (const value of logits) max = Math.max(max, value)
  let sum = 0
  for (const value of logits) sum += Math.exp(value - max)
  const shift = max + Math.log(sum)
  for (let i = 0; i < logits.length; i++) logits[i]! -= shift
}

/** The best `count` (beam, token) pairs over all beams, best first; ties keep the earlier one. */
function bestCandidates(scores: readonly Float32Array[], count: number): { beam: number; id: number; score: number }[] {
  const best: { beam: number; id: number; score: number }[] = []
  for (const [beam, row] of scores.entries()) {
    for (let id = 0; id < row.length; id++) {
      const score = row[id]!
      if (best.length === count && !(score > best.at(-1)!.score)) continue
      let at = best.length
      while (at > 0 && best[at - 1]!.score < score) at--
      best.splice(at, 0, { beam, id, score })
      if (best.length > count) best.pop()
    }
  }
  return best
}

/**
 * @param embeds [1, T, D]; `cache` receives the prompt and is left as it is after the prefill
 * @returns ids of the best answer, its terminator included where one fits
 */
export async function* beamSearch(
  model: TokenModel,
  cache: KvCache,
  embeds: HostTensor,
  options: BeamOptions,
): Steps<number[]> {
  const [hidden] = yield* model.forward(cache, embeds)
  return yield* decodeBeams(model, cache, hidden!, options)
}

/**
 * The answer to a prompt that is in the cache already, as {@link beamSearch} gives it.
 * @param hidden [1, T, D]: states of its latest positions before the final norm
 */
export async function* decodeBeams(
  model: TokenModel,
  cache: KvCache,
  hidden: HostTensor,
  options: BeamOptions,
): Steps<number[]> {
  const { beams, terminators } = options
  const vocabulary = model.config.vocabSize
  // The last token needs no place in the context.
  const maxNewTokens = Math.min(options.maxNewTokens, model.config.maxPositionEmbeddings - cache.length + 1)
  const first = (await model.lastLogits(hidden)).logits
  let state = cache.selectRows(new Array<number>(beams).fill(0))
  let logits = new Float32Array(beams * vocabulary)
  for (let b = 0; b < beams; b++) logits.set(first, b * vocabulary)
  // Equal beams would all make the same choices: only the first may start.
  let open: Beam[] = Array.from({ length: beams }, (_, b) => ({ ids: [], score: b === 0 ? 0 : -1e9 }))
  const finished = new Hypotheses(beams)
  for (let step = 1; ; step++) {
    const scores = open.map((beam, b) => {
      const row = logits.subarray(b * vocabulary, (b + 1) * vocabulary)
      logSoftmax(row)
      processLogits(row, options, { ...options, seen: beam.ids, newTokens: beam.ids.length })
      return row.map((value) => value + beam.score)
    })
    const count = beams * Math.max(2, 1 + terminators.length)
    const ranked = bestCandidates(scores, count)
    const next: { beam: number; id: number; score: number }[] = []
    for (const [rank, candidate] of ranked.entries()) {
      if (terminators.includes(candidate.id)) {
        // A terminator that does not rank among the beams is no answer of theirs.
        if (rank < beams) finished.add(open[candidate.beam]!.ids, candidate.score, step)
        continue
      }
      next.push(candidate)
      if (next.length === beams) break
    }
    const done = finished.isDone(ranked[0]!.score, step)
    open = next.map(({ beam, id, score }) => ({ ids: [...open[beam]!.ids, id], score }))
    if (done || step >= maxNewTokens) {
      if (!done) for (const beam of open) finished.add(beam.ids, beam.score, step)
      break
    }
    state = state.selectRows(next.map(({ beam }) => beam))
    const rows = model.embed(next.map(({ id }) => id))
    const input = f32([beams, 1, model.config.hiddenSize], rows.data)
    const [states] = yield* model.forward(state, input)
    logits = (await model.lastLogits(states!)).logits.slice() as Float32Array<ArrayBuffer>
  }
  const best = [...finished.kept[0]!.ids]
  if (best.length < maxNewTokens) best.push(terminators[0]!)
  return best
}
