/** @file Recorded whole answers. The interpreter and WebGPU take minutes for them; the parity command runs those. */
import { fileURLToPath } from "node:url"
import { afterAll, describe, expect, test } from "vitest"
import { DEFAULT_BEAMS } from "../../src/inference/index.ts"
import { createOrtNodeExecutor } from "../../src/runtime/index.node.ts"
import { chatCases } from "./chat.ts"
import { openGoldenSet } from "./golden-set.ts"
import { CaseReport } from "./report.ts"
import { matcher, runCases } from "./runner.ts"

const TINY = fileURLToPath(new URL("../fixtures/tiny-a", import.meta.url))

describe("on the CPU", () => {
  const executor = createOrtNodeExecutor({ device: "cpu", threads: 1 })
  afterAll(async () => executor[Symbol.asyncDispose]())

  test.each(Object.keys(chatCases))("%s", { timeout: 30_000 }, async (name) => {
    const results = []
    for await (const result of runCases(TINY, executor, matcher([name]))) results.push(result)
    expect(results.map(({ failures, ok }) => [failures, ok])).toEqual([[[], true]])
  })

  test("a case that leaves out its penalty has the official one, and compares the arrays that it has", async () => {
    await using set = await openGoldenSet(TINY)
    const golden = set.cases.find(({ name }) => name === "chat_penalty")!
    const { repetition_penalty, ...params } = golden.params
    expect(repetition_penalty).toBe(DEFAULT_BEAMS.repetitionPenalty)
    const report = new CaseReport(golden)
    const { ids } = golden.outputs
    await chatCases.chat_penalty({ set, golden: { ...golden, params, outputs: { ids: ids! } }, executor }, report)
    expect([report.failures, report.comparisons]).toEqual([[], 2])
  })
})
