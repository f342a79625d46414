/** @file Beam search against every possible answer, and against the reference's scorer written as plainly as it goes. */
import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { runSteps } from "../util/index.ts"
import { type BeamOptions, beamSearch, DEFAULT_BEAMS } from "./beam-search.ts"
import { type NextLogits, randomLogits, tokenModel } from "./token-model.test-util.ts"

const PROMPT = [0, 1]
const OPTIONS: BeamOptions = { ...DEFAULT_BEAMS, maxNewTokens: 4, terminators: [0, 1], reserved: [] }

async function search(vocabulary: number, next: NextLogits, options: BeamOptions, context = 1000) {
  const parts = tokenModel(vocabulary, next, 1, context)
  const cache = parts.createCache()
  const ids = await runSteps(beamSearch(parts.model, cache, parts.model.embed(PROMPT), options))
  return { ids, passes: parts.passes, cached: [...cache.snapshot().slots.ids!.values] }
}

/** log(softmax) of the next token, with penalty, minimum length and reserved ids applied in the reference's order. */
function scoresAfter(next: NextLogits, answer: readonly number[], options: BeamOptions): number[] {
  const logits = Array.from(next([...PROMPT, ...answer]))
  const total = Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit), 0))
  return logits.map((logit, id) => {
    const score = logit - total
    if (options.reserved.includes(id)) return -Infinity
    if (answer.length < options.minNewTokens && options.terminators.includes(id)) return -Infinity
    return answer.includes(id) ? score * options.repetitionPenalty : score
  })
}

type Scored = { readonly ids: readonly number[]; readonly score: number }

/** The official search, without tensors: sort everything, walk the best candidates, keep the best hypotheses. */
function plainSearch(next: NextLogits, options: BeamOptions): { ids: number[]; gap: number } {
  const { beams, maxNewTokens, terminators } = options
  let gap = Infinity // the closest call: two scores that rounding could swap
  const close = (a: number, b: number) => {
    if (Number.isFinite(a) && Number.isFinite(b)) gap = Math.min(gap, Math.abs(a - b))
  }
  let open: Scored[] = [{ ids: [], score: 0 }]
  let finished: Scored[] = []
  const finish = (ids: readonly number[], sum: number, length: number) => {
    finished = [...finished, { ids, score: sum / length }].sort((a, b) => b.score - a.score)
    for (const [i, { score }] of finished.entries()) if (i > 0) close(score, finished[i - 1]!.score)
    finished = finished.slice(0, beams)
  }
  for (let length = 1; length <= maxNewTokens; length++) {
    const ranked = open
      .flatMap(({ ids, score }) =>
        scoresAfter(next, ids, options).map((add, id) => ({ ids: [...ids, id], score: score + add })),
      )
      .sort((a, b) => b.score - a.score)
      .slice(0, beams * (1 + terminators.length))
    for (let i = 1; i < ranked.length; i++) close(ranked[i]!.score, ranked[i - 1]!.score)
    const following: Scored[] = []
    for (const [rank, { ids, score }] of ranked.entries()) {
      if (following.length === beams) break
      if (!terminators.includes(ids.at(-1)!)) following.push({ ids, score })
      else if (rank < beams) finish(ids.slice(0, -1), score, length)
    }
    open = following
    const worst = finished.at(-1)?.score ?? -Infinity
    if (finished.length === beams) close(worst, ranked[0]!.score / length)
    if (finished.length === beams && worst >= ranked[0]!.score / length) break
    if (length === maxNewTokens) for (const { ids, score } of open) finish(ids, score, length)
  }
  const { ids } = finished[0]!
  return { ids: ids.length < maxNewTokens ? [...ids, terminators[0]!] : [...ids], gap }
}

/** The best of all answers: closed by a terminator, or as long as allowed. */
function exhaustiveSearch(next: NextLogits, options: BeamOptions): { ids: number[]; gap: number } {
  const answers: Scored[] = []
  const walk = (ids: readonly number[], sum: number) => {
    if (ids.length === options.maxNewTokens) {
      answers.push({ ids, score: sum / ids.length })
      return
    }
    for (const [id, add] of scoresAfter(next, ids, options).entries()) {
      if (add === -Infinity) continue
      if (options.terminators.includes(id)) answers.push({ ids, score: (sum + add) / (ids.length + 1) })
      else walk([...ids, id], sum + add)
    }
  }
  walk([], 0)
  const [best, second] = answers.sort((a, b) => b.score - a.score)
  const { ids } = best!
  const closed = ids.length < options.maxNewTokens ? [...ids, options.terminators[0]!] : [...ids]
  return { ids: closed, gap: best!.score - (second?.score ?? -Infinity) }
}

describe("beam search", () => {
  test("with room for everything it finds the best answer of all", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.nat(1e6),
        fc.constantFrom(1, 1.2, 2),
        fc.nat(2),
        fc.integer({ min: 1, max: 4 }),
        async (seed, repetitionPenalty, minNewTokens, maxNewTokens) => {
          const next = randomLogits(4, seed)
          const options = { ...OPTIONS, beams: 64, terminators: [3], repetitionPenalty, minNewTokens, maxNewTokens }
          const wanted = exhaustiveSearch(next, options)
          fc.pre(wanted.gap > 1e-5)
          expect((await search(4, next, options)).ids).toEqual(wanted.ids)
        },
      ),
      { numRuns: 60 },
    )
  })

  test("with few beams it takes the reference's choices", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.nat(1e6),
        fc.integer({ min: 1, max: 4 }),
        fc.constantFrom(1, 1.2),
        fc.integer({ min: 1, max: 9 }),
        fc.constantFrom([0], [0, 1], [6, 2, 4]),
        fc.subarray([3, 5]),
        async (seed, beams, repetitionPenalty, maxNewTokens, terminators, reserved) => {
          const next = randomLogits(9, seed)
          const options = { beams, repetitionPenalty, maxNewTokens, terminators, reserved, minNewTokens: seed % 3 }
          const wanted = plainSearch(next, options)
          fc.pre(wanted.gap > 1e-5)
          expect((await search(9, next, options)).ids).toEqual(wanted.ids)
        },
      ),
      { numRuns: 300 },
    )
  })

  test("beats greedy where a good start leads nowhere", async () => {
    // Id 2 looks best at first, but only id 3 goes on with certainty.
    const next: NextLogits = (ids) => {
      if (ids.length === PROMPT.length) return [-9, -9, 1, 0.8]
      return ids.at(-1) === 3 ? [9, -9, -9, -9] : [0, 0, 0, 0]
    }
    const options = { ...OPTIONS, repetitionPenalty: 1 }
    expect((await search(4, next, options)).ids).toEqual([3, 0])
    expect((await search(4, next, { ...options, beams: 1 })).ids.slice(0, 1)).toEqual([2])
  })

  test("ends with the first terminator where one fits, whichever was chosen", async () => {
    const next: NextLogits = (ids) => (ids.length < 4 ? [-9, -9, 5, 0, 0] : [-9, 9, 0, 0, 0])
    const long = await search(5, next, { ...OPTIONS, repetitionPenalty: 1 })
    expect(long.ids).toEqual([2, 2, 0])
    const cut = await search(5, next, { ...OPTIONS, repetitionPenalty: 1, maxNewTokens: 2 })
    expect(cut.ids).toEqual([2, 2])
  })

  test("a terminator that ranks below the beams closes nothing", async () => {
    // Taken for an answer, id 1 would fill the list of answers, and the search would end before certainty pays off.
    const next: NextLogits = (ids) => {
      const answer = ids.slice(PROMPT.length)
      if (answer.length === 0) return [-1, -1.6, -1.2, -2.1, ...new Array<number>(10).fill(-9)]
      if (answer.length === 1) return [-50, -50, -50, -50, 0.1, ...new Array<number>(9).fill(0)]
      return Array.from({ length: 14 }, (_, id) => (id === ids.at(-1) ? 50 : 0))
    }
    const options = { ...OPTIONS, beams: 2, repetitionPenalty: 1, maxNewTokens: 10 }
    expect((await search(14, next, options)).ids).toEqual([2, 4, 4, 4, 4, 4, 4, 4, 4, 4])
  })

  test("ends where the context does", async () => {
    const next: NextLogits = () => [-9, -9, 5, 0, 0]
    const options = { ...OPTIONS, repetitionPenalty: 1, maxNewTokens: 50 }
    expect((await search(5, next, options, PROMPT.length + 4)).ids).toEqual([2, 2, 2, 2, 2])
  })

  test("leaves the prompt's cache as it is after the prefill, and decodes all beams at once", async () => {
    const { cached, passes } = await search(6, randomLogits(6, 1), { ...OPTIONS, minNewTokens: 4 })
    expect(cached).toEqual(PROMPT)
    expect(passes).toEqual([{ rows: 1, steps: 2 }, ...new Array<unknown>(3).fill({ rows: 3, steps: 1 })])
  })
})
