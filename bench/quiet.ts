/** @file Waits until other programs leave the processor alone: on a shared machine a measurement says little otherwise. */
import { readFileSync } from "node:fs"
import { setTimeout } from "node:timers/promises"

const WINDOW_MS = 400
const IDLE_SHARE = 0.88

function processorTimes(): { readonly idle: number; readonly total: number } {
  const [first = ""] = readFileSync("/proc/stat", "utf8").split("\n")
  const times = first.trim().split(/\s+/).slice(1, 9).map(Number)
  return { idle: (times[3] ?? 0) + (times[4] ?? 0), total: times.reduce((sum, time) => sum + time, 0) }
}

/** Resolves when the machine was idle for a moment; false when it was not within `limitMs`. Always true off Linux. */
export async function quietMachine(limitMs = 120_000): Promise<boolean> {
  if (process.platform !== "linux") return true
  for (const end = Date.now() + limitMs; Date.now() < end; ) {
    const before = processorTimes()
    await setTimeout(WINDOW_MS)
    const after = processorTimes()
    if ((after.idle - before.idle) / (after.total - before.total) >= IDLE_SHARE) return true
  }
  return false
}
