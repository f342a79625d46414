/**
 * @file `npm run bench -- engine`: how long the main thread's event loop waits while the engine's worker decodes at full
 * size. Flags: --folder DIR, --layers N, --tokens N.
 */
import { existsSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { monitorEventLoopDelay } from "node:perf_hooks"
import { initCheckpoint } from "../src/convert/index.node.ts"
import { startEngine } from "../src/engine/index.node.ts"
import type { Bench } from "./harness.ts"
import { quietMachine } from "./quiet.ts"

const FULL_LAYERS = 28

export async function run(bench: Bench): Promise<void> {
  const layers = Number(bench.flags.layers ?? FULL_LAYERS)
  const root = bench.flags.folder ?? join(tmpdir(), "omni-bench")
  const folder = join(root, layers === FULL_LAYERS ? "full" : `full-${layers}`)
  if (!existsSync(join(folder, "config.json"))) {
    await initCheckpoint({ directory: folder, preset: "full", layers, seed: 1, quantize: "int8+int4" })
  }
  const engine = startEngine()
  try {
    const info = await engine.load({
      model: folder,
      device: "cpu",
      quantize: "int8+int4",
      threads: 2,
      cacheFolder: root,
    })
    bench.row({ bench: "engine.load", value: info.loadMs / 1000, unit: "s" })
    if (!(await quietMachine())) bench.note("the machine was busy")
    const delay = monitorEventLoopDelay({ resolution: 1 })
    let tokens = 0
    const messages = [{ role: "user" as const, content: "Tell me what you see. ".repeat(8) }]
    for await (const event of engine.chat({ messages, maxNewTokens: Number(bench.flags.tokens ?? 40), seed: 1 })) {
      // From the first token on: only decode steps run.
      if (tokens === 0) delay.enable()
      if (event.type !== "turn-end") tokens++
      else {
        delay.disable()
        const rate = ((event.completionTokens - 1) / event.timings.decodeMs) * 1000
        bench.row({ bench: "engine.decode", value: rate, unit: "tok/s" })
        bench.row({
          bench: "engine.prefill",
          value: (event.promptTokens / event.timings.prefillMs) * 1000,
          unit: "tok/s",
        })
      }
    }
    bench.row({ bench: "engine.eventLoopDelay.p50", value: delay.percentile(50) / 1e6, unit: "ms" })
    bench.row({ bench: "engine.eventLoopDelay.p99", value: delay.percentile(99) / 1e6, unit: "ms", floor: "≤ 20" })
    bench.row({ bench: "engine.eventLoopDelay.max", value: delay.max / 1e6, unit: "ms" })
  } finally {
    await engine.close()
  }
}
