/** @file Recorded live conversations. The interpreter and WebGPU take longer for them; the parity command runs those. */
import { fileURLToPath } from "node:url"
import { afterAll, describe, expect, test } from "vitest"
import { createOrtNodeExecutor } from "../../src/runtime/index.node.ts"
import { matcher, runCases } from "./runner.ts"
import { streamingCases } from "./streaming.ts"

const TINY = fileURLToPath(new URL("../fixtures/tiny-a", import.meta.url))

describe("on the CPU", () => {
  const executor = createOrtNodeExecutor({ device: "cpu", threads: 1 })
  afterAll(async () => executor[Symbol.asyncDispose]())

  test.each(Object.keys(streamingCases))("%s", { timeout: 30_000 }, async (name) => {
    const results = []
    for await (const result of runCases(TINY, executor, matcher([name]))) results.push(result)
    expect(results.map(({ failures, ok }) => [failures, ok])).toEqual([[[], true]])
  })
})
