/** @file 50 silent and 8 speaking Realtime connections for 5 minutes, then 1,000 hostile ones beside them. */
import { realtimeLoad } from "./realtime-load.ts"
import type { Soak } from "./run.ts"

export const name = "realtime"

const FULL_MINUTES = 5
/** What a process may grow from the second quarter of the run to the last: the collector's slack. */
const SLACK_MB = 60
const HOSTILE_GROWTH_MB = 200

export async function run({ row, note, minutes = FULL_MINUTES }: Soak): Promise<void> {
  const result = await realtimeLoad({ idle: 50, speaking: 8, seconds: minutes * 60, hostile: 1000 })
  const at = (values: readonly number[], share: number) => values[Math.floor(values.length * share)] ?? Number.NaN
  const both = (bench: string, values: readonly number[], unit: string) => {
    row({ bench: `soak.realtime.${bench}`, value: at(values, 0.5), unit, samples: [...values] })
    row({ bench: `soak.realtime.${bench}.p95`, value: at(values, 0.95), unit })
  }
  row({ bench: "soak.realtime.turns", value: result.turns, unit: "" })
  both("latency", result.latenciesMs, "ms")
  both("latency.hostile", result.hostileLatenciesMs, "ms")
  both("firstSound", result.firstSoundMs, "ms")
  both("realTimeFactor", result.realTimeFactors, "")
  row({ bench: "soak.realtime.hostile.growth", value: result.hostileGrowthMb, unit: "MB" })
  row({ bench: "soak.realtime.hostile.refused", value: result.refused, unit: "" })
  const memories = [["server", result.serverMemory] as const, ["engine", result.engineMemory] as const]
  for (const [who, memory] of memories) {
    row({ bench: `soak.realtime.${who}.memory`, value: memory.at(-1) ?? 0, unit: "MB", samples: [...memory] })
    note(`${who} memory in MB: ${memory.map((value) => value.toFixed(0)).join(" ")}`)
  }
  if (result.turns < minutes * 8 * 5) throw new Error(`expected ${minutes * 40} turns, got ${result.turns}`)
  if (result.slowReadersCut < 2) throw new Error(`expected 2 slow readers to be cut, got ${result.slowReadersCut}`)
  if (result.hostileGrowthMb > HOSTILE_GROWTH_MB)
    throw new Error(`expected the server to grow by at most ${HOSTILE_GROWTH_MB} MB, got ${result.hostileGrowthMb}`)
  if (minutes < 4) return
  for (const [who, memory] of memories) {
    const quarter = Math.floor(memory.length / 4)
    const median = (values: readonly number[]) =>
      at(
        [...values].sort((a, b) => a - b),
        0.5,
      )
    const grown = median(memory.slice(-quarter)) - median(memory.slice(quarter, 2 * quarter))
    row({ bench: `soak.realtime.${who}.grown`, value: grown, unit: "MB" })
    if (grown > SLACK_MB) throw new Error(`expected flat memory of the ${who}, got ${grown.toFixed(0)} MB more`)
  }
}
