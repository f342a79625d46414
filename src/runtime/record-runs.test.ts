/** @file Runs are told as they are, failed ones too, and change nothing. */
import { expect, test } from "vitest"
import { Graph } from "../graph/index.ts"
import { f32 } from "../tensor/index.ts"
import { type RunRecord, recordRuns } from "./record-runs.ts"
import { createReferenceExecutor } from "./reference-executor.ts"
import { memoryWeights } from "./weight-store.ts"

test("every run is told with its rows and times", async () => {
  let clock = 0
  const runs: RunRecord[] = []
  const plain = createReferenceExecutor()
  await using executor = recordRuns(
    plain,
    () => clock++,
    (run) => runs.push(run),
  )
  const g = new Graph("double")
  g.output("twice", g.add(g.input("hidden", "f32", ["B", "T"]), g.input("other", "f32", ["B", "T"])))
  const program = await executor.compile(g, memoryWeights(new Map()))
  const hidden = f32([2, 3], new Float32Array([1, 2, 3, 4, 5, 6]))
  const { twice } = await executor.run(program, { hidden, other: hidden })
  expect([...twice!.data]).toEqual([2, 4, 6, 8, 10, 12])
  await expect(executor.run(program, { hidden })).rejects.toThrow()
  expect(runs).toEqual([
    { name: "double", rows: 6, startMs: 0, endMs: 1 },
    { name: "double", rows: 6, startMs: 2, endMs: 3 },
  ])
  expect(executor.device).toBe("reference")
  expect(await executor.activationBits()).toBe(await plain.activationBits())
})
