/** @file A call of 30 minutes with the tiny checkpoint, as fast as it goes: it passes its context limit many times. */
import { startEngine } from "../../src/engine/index.node.ts"
import type { Soak } from "./run.ts"
import { checkFlat, simulateCall, TINY_CHECKPOINT } from "./simulated-call.ts"

export const name = "call"

const FULL_MINUTES = 30
/** What the process may grow after its first minutes: the collector's slack. */
const SLACK_MB = 60

export async function run({ row, note, minutes = FULL_MINUTES }: Soak): Promise<void> {
  const engine = startEngine()
  try {
    await engine.load({ model: TINY_CHECKPOINT, device: "cpu", quantize: "none", threads: 1, cacheFolder: "cache" })
    const start = performance.now()
    const result = await simulateCall(engine, minutes)
    const seconds = (performance.now() - start) / 1000
    const { turns, compactions, interruptMs, mostPositions, memory, simulatedMs } = result
    row({ bench: "soak.call.simulated", value: simulatedMs / 60_000, unit: "min" })
    row({ bench: "soak.call.took", value: seconds, unit: "s" })
    row({ bench: "soak.call.turns", value: turns, unit: "" })
    row({ bench: "soak.call.compactions", value: compactions, unit: "" })
    row({ bench: "soak.call.mostPositions", value: mostPositions, unit: "" })
    row({
      bench: "soak.call.interrupt",
      value: interruptMs[interruptMs.length >> 1] ?? 0,
      unit: "ms",
      samples: interruptMs,
    })
    row({
      bench: "soak.call.interrupt.p95",
      value: interruptMs[Math.floor(interruptMs.length * 0.95)] ?? 0,
      unit: "ms",
    })
    row({ bench: "soak.call.memory", value: memory.at(-1) ?? 0, unit: "MB", samples: memory })
    note(`memory by minute: ${memory.map((value) => value.toFixed(0)).join(" ")}`)
    if (turns < minutes * 5) throw new Error(`expected at least ${minutes * 5} turns, got ${turns}`)
    if (compactions < minutes / 3) throw new Error(`expected the context to fill several times, got ${compactions}`)
    if (minutes >= 10) checkFlat(result, SLACK_MB)
  } finally {
    await engine.close()
  }
}
