/** @file Answers token by token, with a model that is a table: what is fed, what is kept, why it ends. */
import { describe, expect, test } from "vitest"
import { createRandom, runSteps } from "../util/index.ts"
import { decode, type GenerateOptions, type GenerateStep, generate } from "./generate.ts"
import { randomLogits, tokenModel } from "./token-model.test-util.ts"

const GREEDY: GenerateOptions = {
  ...{ temperature: 0, topK: 0, topP: 1, repetitionPenalty: 1, minNewTokens: 0 },
  ...{ maxNewTokens: 10, terminators: [5, 6], reserved: [], random: () => 0 },
}

/** A model that says a fixed text after any prompt of three tokens. */
const speaker = (text: readonly number[], prefillSteps = 1, context = 1000) =>
  tokenModel(
    7,
    (ids) => Array.from({ length: 7 }, (_, id) => (id === text[ids.length - 3] ? 1 : 0)),
    prefillSteps,
    context,
  )

async function collect(
  parts: ReturnType<typeof tokenModel>,
  options: Partial<GenerateOptions> = {},
  prompt = [1, 2, 3],
) {
  const cache = parts.createCache()
  const run = generate(parts.model, cache, parts.model.embed(prompt), { ...GREEDY, ...options })
  const steps: GenerateStep[] = []
  for (;;) {
    const { done, value } = await run.next()
    if (done) {
      const ids = steps.flatMap((step) => (step ? [step.id] : []))
      return { ids, steps, reason: value, cached: [...cache.snapshot().slots.ids!.values] }
    }
    steps.push(value)
  }
}

describe("an answer", () => {
  test("ends with a terminator, which is yielded but never cached", async () => {
    const { ids, reason, cached } = await collect(speaker([4, 2, 6, 1]))
    expect([ids, reason]).toEqual([[4, 2, 6], "stop"])
    expect(cached).toEqual([1, 2, 3, 4, 2])
  })

  test("ends at its limit; the last token is not in the cache", async () => {
    const { ids, reason, cached } = await collect(speaker([4, 2, 1, 3, 4]), { maxNewTokens: 3 })
    expect([ids, reason]).toEqual([[4, 2, 1], "length"])
    expect(cached).toEqual([1, 2, 3, 4, 2])
  })

  test("a terminator at the limit is a stop", async () => {
    expect((await collect(speaker([4, 5]), { maxNewTokens: 2 })).reason).toBe("stop")
    expect((await collect(speaker([4, 5]), { maxNewTokens: 1 })).reason).toBe("length")
  })

  test("ends where the context does, with its last token", async () => {
    const { ids, reason, cached } = await collect(speaker([1, 2, 3, 4, 1, 2, 3], 1, 6))
    expect([ids, reason, cached.length]).toEqual([[1, 2, 3, 4], "length", 6])
  })

  test("yields once for every step of work", async () => {
    const { steps, ids } = await collect(speaker([4, 6], 3))
    // Three steps of prefill, the first token, one step of decode, the terminator.
    expect(steps.map((step) => step?.id)).toEqual([undefined, undefined, undefined, 4, undefined, 6])
    expect(ids).toEqual([4, 6])
  })

  test("decodes one row of one position after the prompt", async () => {
    const parts = speaker([4, 2, 6])
    await collect(parts)
    expect(parts.passes).toEqual([
      { rows: 1, steps: 3 },
      { rows: 1, steps: 1 },
      { rows: 1, steps: 1 },
    ])
  })
})

test("an answer goes on from a prompt that is in the cache already", async () => {
  const parts = speaker([4, 2, 6])
  const cache = parts.createCache()
  const [hidden] = await runSteps(parts.model.forward(cache, parts.model.embed([1, 2, 3])))
  const ids: (number | undefined)[] = []
  for await (const step of decode(parts.model, cache, hidden!, GREEDY)) ids.push(step?.id)
  expect(ids).toEqual([4, undefined, 2, undefined, 6])
})

test("steps carry the model's logits, whatever the sampler made of them", async () => {
  const parts = tokenModel(7, () => [3, 2.5, 0, 0, 0, 0, -1])
  const { steps, ids } = await collect(parts, { repetitionPenalty: 2, reserved: [4], maxNewTokens: 2 })
  expect(ids).toEqual([0, 1])
  expect(steps.flatMap((step) => (step ? [[...step.logits]] : []))).toEqual(new Array(2).fill([3, 2.5, 0, 0, 0, 0, -1]))
})

describe("sampling", () => {
  test("the penalty sees this answer and what it is told, not the prompt", async () => {
    const flat = () => tokenModel(7, () => [3, 2.9, 2.8, 2.7, 0, -9, -9])
    const penalized = { repetitionPenalty: 2, maxNewTokens: 4 }
    // Every token loses half at its first use, nothing at later ones; id 0 is in the prompt and wins all the same.
    expect((await collect(flat(), penalized, [0, 0, 0])).ids).toEqual([0, 1, 2, 3])
    expect((await collect(flat(), { ...penalized, seen: [0, 2] })).ids).toEqual([1, 3, 0, 0])
  })

  test("terminators wait for the minimum length, reserved ids for ever", async () => {
    const eager = () => tokenModel(7, () => [0, 1, 0, 0, 8, 9, 0])
    expect((await collect(eager(), { minNewTokens: 2 })).ids).toEqual([4, 4, 5])
    expect((await collect(eager(), { minNewTokens: 2, reserved: [4] })).ids).toEqual([1, 1, 5])
  })

  test("the same seed gives the same answer, another one another", async () => {
    const run = async (seed: number) => {
      const parts = tokenModel(7, randomLogits(7, 3))
      return (await collect(parts, { temperature: 1, terminators: [], random: createRandom(seed), maxNewTokens: 30 }))
        .ids
    }
    expect(await run(1)).toEqual(await run(1))
    expect(await run(1)).not.toEqual(await run(2))
  })
})

test("an answer that is left early keeps what was decoded", async () => {
  const parts = speaker([4, 2, 1, 3, 6])
  const cache = parts.createCache()
  for await (const step of generate(parts.model, cache, parts.model.embed([1, 2, 3]), GREEDY)) if (step?.id === 2) break
  expect([...cache.snapshot().slots.ids!.values]).toEqual([1, 2, 3, 4])
})

test("a constraint has the last word on every token, the end included, and is told each", async () => {
  const told: number[] = []
  const turns = [[2, 3], [1], [6]] // the model itself would say 0
  const constraint = {
    allowed: async () => Int32Array.of(turns[told.length]!.reduce((mask, id) => mask | (1 << id), 0)),
    accept: (id: number) => void told.push(id),
  }
  const parts = tokenModel(7, () => [9, 1, 2, 3, 0, 0, 0])
  expect((await collect(parts, { constraint, terminators: [6], minNewTokens: 5 })).ids).toEqual([3, 1, 6])
  expect(told).toEqual([3, 1, 6])
})
