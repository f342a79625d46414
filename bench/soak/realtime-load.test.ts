/** @file The short form of `realtime.soak.ts`. */
import { expect, test } from "vitest"
import { realtimeLoad } from "./realtime-load.ts"

test("silent and speaking connections lose nothing beside hostile ones; slow readers are cut", async () => {
  const result = await realtimeLoad({ idle: 12, speaking: 3, seconds: 14, hostile: 300, callSeconds: 9 })
  expect(result.turns).toBeGreaterThanOrEqual(3)
  expect(result.latenciesMs.length).toBeGreaterThan(50)
  expect(result.firstSoundMs.length).toBeGreaterThan(0)
  expect(result.slowReadersCut).toBe(2)
  expect(result.refused).toBeGreaterThan(30)
  expect(result.hostileGrowthMb).toBeLessThan(200)
}, 60_000)
