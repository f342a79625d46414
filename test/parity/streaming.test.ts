/** @file Recorded live conversations. The interpreter and WebGPU take longer for them; the parity command runs those. */
import { fileURLToPath } from "node:url"
import { afterAll, describe, expect, test } from "vitest"
import { readText } from "../../src/checkpoint/index.ts"
import { createOrtNodeExecutor } from "../../src/runtime/index.node.ts"
import { type GoldenSet, openGoldenSet } from "./golden-set.ts"
import { CaseReport } from "./report.ts"
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

  type Event = { readonly session: string; readonly generate?: number; readonly [key: string]: unknown }

  /** Failures of `streaming_voice` with another log. */
  async function failuresOf(change: (log: readonly Event[]) => readonly Event[]): Promise<readonly string[]> {
    await using set = await openGoldenSet(TINY)
    const golden = set.cases.find(({ name }) => name === "streaming_voice")!
    const log = change(JSON.parse(await readText(set.folder, golden.data!)) as Event[])
    const bytes = new TextEncoder().encode(JSON.stringify(log))
    const folder: GoldenSet["folder"] = {
      name: set.folder.name,
      exists: (path) => set.folder.exists(path),
      size: async (path) => (path === golden.data ? bytes.length : set.folder.size(path)),
      read: async (path, start, length) =>
        path === golden.data ? bytes.slice(start, start + length) : set.folder.read(path, start, length),
    }
    const report = new CaseReport(golden)
    await streamingCases.streaming_voice({ set: { ...set, folder }, golden, executor }, report)
    expect(report.comparisons).toBeGreaterThan(10)
    return report.failures
  }
  const upToFirstAnswer = (log: readonly Event[]) => log.slice(0, log.findIndex(({ generate }) => generate === 0) + 1)

  test("an answer may be stopped at a piece without text", async () => {
    const stopped = (event: Event) =>
      event.generate === 0 ? { ...event, aborted_after_pieces: 2, completed: false } : event
    expect(await failuresOf((log) => upToFirstAnswer(log).map(stopped))).toEqual([])
  })

  test("a model has one session: returning to an earlier id starts anew", async () => {
    expect(await failuresOf((log) => [...log, ...upToFirstAnswer(log)])).toEqual([])
  })

  test("an answer does not look at its session's id", async () => {
    const elsewhere = (event: Event) => (event.generate === undefined ? event : { ...event, session: "elsewhere" })
    expect(await failuresOf((log) => log.map(elsewhere))).toEqual([])
  })
})
