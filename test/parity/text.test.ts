/** @file The recorded text cases on every device, and what the runner says about cases that fail or are unknown. */
import { mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { createOrtNodeExecutor, findVulkanDriver, useVulkanDriver } from "../../src/runtime/index.node.ts"
import { createReferenceExecutor, type Executor } from "../../src/runtime/index.ts"
import { f32 } from "../../src/tensor/index.ts"
import { skipUnless } from "../skip.ts"
import type { GoldenCase } from "./golden-set.ts"
import { CaseReport } from "./report.ts"
import { type CaseResult, matcher, runCases } from "./runner.ts"

const TINY = fileURLToPath(new URL("../fixtures/tiny-a", import.meta.url))

async function results(directory: string, executor: Executor, patterns: readonly string[]): Promise<CaseResult[]> {
  const all: CaseResult[] = []
  for await (const result of runCases(directory, executor, matcher(patterns))) all.push(result)
  return all
}

/** One test for each case: it must be there, be compared and pass. */
function passes(open: () => Executor, names: readonly string[]) {
  let executor: Executor
  beforeAll(() => {
    executor = open()
  })
  afterAll(async () => executor[Symbol.asyncDispose]())
  test.each(names)(
    "%s",
    async (name) => {
      const [result, ...more] = await results(TINY, executor, [name])
      expect([result?.name, result?.failures, more]).toEqual([name, [], []])
      expect(result!.ok).toBe(true)
    },
    60_000,
  )
}

const LLM = ["llm", "llm_left_padding", "llm_sampling"]

describe("on the reference interpreter", () => {
  passes(createReferenceExecutor, ["tokenizer", "tts_tokenizer", ...LLM])
})

describe("on the CPU", () => {
  passes(() => createOrtNodeExecutor({ device: "cpu", threads: 1 }), LLM)
})

const driver = findVulkanDriver(process.env) !== undefined
skipUnless(driver, "no Vulkan driver (apt install chromium libvulkan1)")("on WebGPU", () => {
  passes(() => {
    useVulkanDriver(process.env)
    return createOrtNodeExecutor({ device: "webgpu" })
  }, LLM)
})

describe("the runner", () => {
  let folder: string
  const executor = createReferenceExecutor()
  /** A set with the recorded checkpoint and changed cases. */
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "omni-parity-"))
    await symlink(join(TINY, "checkpoint"), join(folder, "checkpoint"))
    await symlink(join(TINY, "cases"), join(folder, "cases"))
    const { cases } = JSON.parse(await readFile(join(TINY, "cases.json"), "utf8")) as { cases: GoldenCase[] }
    const named = (name: string) => cases.find((golden) => golden.name === name)!
    const [tokenizer, llm] = [named("tokenizer"), named("llm")]
    const changed = [
      tokenizer,
      { ...tokenizer, name: "telepathy" },
      { ...tokenizer, name: "tts_tokenizer", data: "cases/missing.json" },
      { ...llm, tolerance: { rel_to_max_abs: 1e-12 } },
    ]
    await writeFile(join(folder, "cases.json"), JSON.stringify({ cases: changed }))
  })
  afterAll(async () => rm(folder, { recursive: true }))

  test("fails cases that it does not know, by name", async () => {
    const failures = [expect.stringMatching(/^no such case is known here; known are tokenizer, .*speech_session$/)]
    expect(await results(folder, executor, ["telepathy"])).toMatchObject([{ name: "telepathy", ok: false, failures }])
  })

  test("fails cases that stop, and goes on", async () => {
    const [good, broken] = await results(folder, executor, ["tokenizer", "tts_tokenizer"])
    expect(good).toMatchObject({ name: "tokenizer", ok: true, error: 0 })
    expect(broken).toMatchObject({ name: "tts_tokenizer", ok: false })
    expect(broken!.failures).toEqual([expect.stringMatching(/^stopped: .*missing\.json: expected a file/)])
  })

  test("fails arrays outside the tolerance, naming each with its error", async () => {
    const [result] = await results(folder, executor, ["llm"])
    expect(result!.ok).toBe(false)
    expect(result!.error).toBeGreaterThan(1e-12)
    expect(result!.error).toBeLessThan(1e-4)
    expect(result!.failures).toContainEqual(expect.stringMatching(/^logits: error \d\.\d\de-\d+ above 1e-12$/))
  })

  test("runs what the patterns choose, in the set's order", async () => {
    const names = async (...patterns: string[]) => (await results(folder, executor, patterns)).map(({ name }) => name)
    expect(await names("t*izer")).toEqual(["tokenizer", "tts_tokenizer"])
    expect(await names("tts_tokenizer", "*pathy", "tokenizer")).toEqual(["tokenizer", "telepathy", "tts_tokenizer"])
    expect(await names("token", "izer", "tokenizer.", "")).toEqual([])
  })
})

test("patterns are names, with * for anything and nothing else special", () => {
  expect(["a", "ab", "b"].filter(matcher(["a*"]))).toEqual(["a", "ab"])
  expect(["a.b", "axb"].filter(matcher(["a.b"]))).toEqual(["a.b"])
  expect(["a", "a+", "aa"].filter(matcher(["a+"]))).toEqual(["a+"])
  expect(["x", ""].filter(matcher(["*"]))).toEqual(["x", ""])
  expect(["x"].filter(matcher([]))).toEqual([])
})

describe("a report", () => {
  const report = (relative?: number) =>
    new CaseReport({ tolerance: { rel_to_max_abs: relative } } as unknown as GoldenCase)

  test("takes arrays within the tolerance of their largest value, and keeps the largest error", () => {
    const one = report(0.1)
    one.close("a", f32([2], [10, 0.9]), f32([2], [10, 0]))
    one.close("b", f32([1], [1]), f32([1], [1]))
    expect(one.failures).toEqual([])
    expect(one.error).toBeCloseTo(0.09, 6)
    expect(one.comparisons).toBe(2)
    one.close("c", f32([2], [10, 1.1]), f32([2], [10, 0]))
    one.close("d", f32([2], [1, 2]), f32([2], [1, 2.1]), 0.01)
    expect(one.failures).toEqual(["c: error 1.10e-1 above 1e-1", "d: error 4.76e-2 above 1e-2"])
  })

  test("never takes other lengths or NaN; without a tolerance arrays are equal or wrong", () => {
    const one = report(10)
    one.close("length", f32([1], [1]), f32([2], [1, 1]))
    one.close("nan", f32([1], [Number.NaN]), f32([1], [1]))
    expect(one.failures).toEqual(["length: error Infinity above 1e+1", "nan: error Infinity above 1e+1"])
    const exact = report()
    exact.close("same", f32([1], [0.1]), f32([1], [0.1]))
    expect(exact.failures).toEqual([])
    exact.close("near", f32([1], [1.0000001]), f32([1], [1]))
    expect(exact.failures).toHaveLength(1)
  })

  test("shows both sides of what differs, cut to a line", () => {
    const one = report()
    one.equal("ids", [1, 2], [1, 3])
    one.equal("big", 1n, 2n)
    one.equal("none", undefined, [1])
    one.equal("long", "x".repeat(200), "y")
    one.equal("same", { a: [1] }, { a: [1] })
    expect(one.failures).toEqual([
      "ids: expected [1,3], got [1,2]",
      "big: expected 2, got 1",
      "none: expected [1], got nothing",
      `long: expected "y", got "${"x".repeat(119)}…`,
    ])
    expect(one.error).toBe(Infinity)
    expect(one.comparisons).toBe(5)
  })
})
