/** @file Batches of answers on a small random model: each row says what it would say alone. */
import { beforeAll, describe, expect, test } from "vitest"
import { createReferenceExecutor } from "../runtime/index.ts"
import { f32, f32Data } from "../tensor/index.ts"
import { createRandom, runSteps } from "../util/index.ts"
import { type GenerateOptions, generate } from "./generate.ts"
import { generateBatch } from "./generate-batch.ts"
import type { LanguageModel } from "./language-model.ts"
import { loadTinyQwen2, tinyQwen2Config } from "./tiny-qwen2.test-util.ts"

const config = tinyQwen2Config({ max_position_embeddings: 30 })
const GREEDY: GenerateOptions = {
  ...{ temperature: 0, topK: 0, topP: 1, repetitionPenalty: 1.3, minNewTokens: 0 },
  ...{ maxNewTokens: 9, terminators: [], reserved: [], random: () => 0 },
}
const PROMPTS = [[3, 1, 4], [15, 9, 2, 6, 5], [35]]

let model: LanguageModel
beforeAll(async () => {
  model = await loadTinyQwen2(createReferenceExecutor(), config)
})

async function alone(prompt: readonly number[], options: GenerateOptions) {
  const ids: number[] = []
  for await (const step of generate(model, model.createCache(), model.embed(prompt), options))
    if (step) ids.push(step.id)
  return ids
}

async function together(prompts: readonly number[][], options: GenerateOptions) {
  const longest = Math.max(0, ...prompts.map(({ length }) => length))
  const padded = prompts.map((ids) => [...new Array<number>(longest - ids.length).fill(0), ...ids])
  const valid = Uint8Array.from(
    prompts.flatMap((ids) => Array.from({ length: longest }, (_, t) => (t < longest - ids.length ? 0 : 1))),
  )
  const embeds = f32([prompts.length, longest, config.hiddenSize], f32Data(model.embed(padded.flat())))
  return await runSteps(generateBatch(model, model.createCache(prompts.length), { embeds, valid }, options))
}

describe("a batch of answers", () => {
  test("says what each prompt gets alone", async () => {
    const answers = await together(PROMPTS, GREEDY)
    expect(answers.map(({ ids }) => ids)).toEqual(await Promise.all(PROMPTS.map((prompt) => alone(prompt, GREEDY))))
    expect(new Set(answers.map(({ ids }) => ids.join())).size).toBe(PROMPTS.length)
    expect(answers.map(({ reason }) => reason)).toEqual(["length", "length", "length"])
  })

  test("rows end on their own; the others do not notice", async () => {
    const free = await Promise.all(PROMPTS.map((prompt) => alone(prompt, GREEDY)))
    const terminator = free[1]![3]! // the second row stops here, or earlier
    const options = { ...GREEDY, terminators: [terminator] }
    const answers = await together(PROMPTS, options)
    for (const [row, prompt] of PROMPTS.entries()) {
      const { ids, reason } = answers[row]!
      expect(ids).toEqual(await alone(prompt, options))
      expect(reason).toBe(ids.at(-1) === terminator ? "stop" : "length")
    }
    expect(answers[1]!.ids.length).toBeLessThan(GREEDY.maxNewTokens)
    const everything = Array.from({ length: config.vocabSize }, (_, id) => id)
    const single = await together(PROMPTS, { ...GREEDY, terminators: everything })
    expect(single.map(({ ids, reason }) => [ids.length, reason])).toEqual(PROMPTS.map(() => [1, "stop"]))
  })

  test("ends where the context does, padding included", async () => {
    const answers = await together(PROMPTS, { ...GREEDY, maxNewTokens: 1000 })
    expect(answers.map(({ ids }) => ids.length)).toEqual(PROMPTS.map(() => 30 - 5 + 1))
  })

  test("draws by one source of randomness", async () => {
    const draw = async (seed: number) =>
      (await together(PROMPTS, { ...GREEDY, temperature: 2, random: createRandom(seed) })).map(({ ids }) => ids)
    expect(await draw(1)).toEqual(await draw(1))
    expect(await draw(1)).not.toEqual(await draw(2))
  })

  test("of no prompt is none", async () => {
    expect(await together([], GREEDY)).toEqual([])
  })
})
