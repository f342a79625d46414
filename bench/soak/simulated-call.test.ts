/** @file The short form of the soak of a live call: half a minute that passes a small context limit several times. */
import { expect, test } from "vitest"
import { startEngine } from "../../src/engine/index.node.ts"
import { checkFlat, simulateCall, TINY_CHECKPOINT } from "./simulated-call.ts"

test("a simulated call goes on through forgetting, interruptions, tools and saving", { timeout: 90_000 }, async () => {
  const engine = startEngine()
  try {
    await engine.load({ model: TINY_CHECKPOINT, device: "cpu", quantize: "none", threads: 1, cacheFolder: "cache" })
    const result = await simulateCall(engine, 0.5, { contextPositions: 800 })
    expect(result.turns).toBeGreaterThan(4)
    expect(result.compactions).toBeGreaterThan(2)
    expect(result.mostPositions).toBeLessThanOrEqual(800)
  } finally {
    await engine.close()
  }
})

test("what grew is told", () => {
  const flat = { memory: [300, 310, 312, 311, 312], snapshotBytes: [10, 20, 20, 20, 20] }
  const of = (change: object) => ({ ...flat, ...change }) as Parameters<typeof checkFlat>[0]
  checkFlat(of({}), 20)
  expect(() => checkFlat(of({ memory: [300, 310, 340, 380, 420] }), 20)).toThrow("memory grew by 110 MB")
  expect(() => checkFlat(of({ snapshotBytes: [10, 20, 30, 40, 50] }), 20)).toThrow("snapshots grew 2.50 times")
})
