/** @file Many turns of one call with the tiny checkpoint, spoken and written, some of them broken off: memory stays flat. */
import { startEngine } from "../../src/engine/index.node.ts"
import { createRandom } from "../../src/util/index.ts"
import type { Soak } from "./run.ts"
import { checkFlat, TINY_CHECKPOINT } from "./simulated-call.ts"

export const name = "turns"

const TURNS = 1000
/** A thousand turns take about so long. */
const FULL_MINUTES = 3
const SLACK_MB = 60

export async function run({ row, note, minutes = FULL_MINUTES }: Soak): Promise<void> {
  const turns = Math.max(100, Math.round((TURNS * minutes) / FULL_MINUTES))
  const engine = startEngine()
  try {
    await engine.load({ model: TINY_CHECKPOINT, device: "cpu", quantize: "none", threads: 1, cacheFolder: "cache" })
    const call = await engine.call({ contextPositions: 1024, maxNewTokens: 16 })
    const random = createRandom(5)
    const memory: number[] = []
    const snapshotBytes: number[] = []
    const start = performance.now()
    for (let turn = 0; turn < turns; turn++) {
      const tone = Float32Array.from({ length: 8000 }, (_, i) => 0.3 * Math.sin((i * (turn % 9)) / 30))
      await call.push(turn % 3 === 0 ? { text: `turn ${turn}` } : { pcm: tone })
      const leaveAfter = random() < 0.25 ? Math.floor(random() * 8) : Number.POSITIVE_INFINITY
      let events = 0
      for await (const _ of call.respond({ speak: turn % 4 === 0, seed: turn })) if (events++ >= leaveAfter) break
      if (leaveAfter < 8) await call.interrupt({ heardMs: random() * 400 })
      if (turn % Math.ceil(turns / 25) !== 0) continue
      memory.push((await engine.stats()).memoryBytes / 2 ** 20)
      snapshotBytes.push((await call.snapshot()).bytes.length)
    }
    row({ bench: "soak.turns", value: turns, unit: "" })
    row({ bench: "soak.turns.took", value: (performance.now() - start) / 1000, unit: "s" })
    row({ bench: "soak.turns.memory", value: memory.at(-1)!, unit: "MB", samples: memory })
    note(`memory: ${memory.map((value) => value.toFixed(0)).join(" ")}`)
    checkFlat({ memory, snapshotBytes }, SLACK_MB)
    await call.close()
  } finally {
    await engine.close()
  }
}
