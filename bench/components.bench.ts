/**
 * @file `npm run bench -- components`: what sees, hears and speaks at full size with random weights, quantized beside
 * float32 of the same values, in turns within one run. Values are the best of all repeats: whatever else the machine does
 * only adds to them. Flags: --reps N, --folder DIR (kept, 2 GB a part), --part vision|audio|speech.
 */
import { rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { ensureBundles, PARTS, type Part, type Storage } from "./component-bundles.ts"
import type { Measured } from "./components-child.ts"
import type { Bench } from "./harness.ts"
import { type JsonChild, startJsonChild } from "./json-child.ts"
import { quietMachine } from "./quiet.ts"

/** One row of the table: what a task is called, and of how many seconds of input or output it is the time. */
type Measurement = {
  readonly task: string
  readonly name: string
  readonly seconds: number
  readonly floorMs?: number
  /** Long enough to be measured one time, warm from the measurement before. */
  readonly once?: boolean
}

const MEASUREMENTS: { readonly [P in Part]: readonly Measurement[] } = {
  vision: [
    { task: "frame448", name: "components.vision.448", seconds: 1, floorMs: 2200 },
    { task: "image1344", name: "components.vision.1344", seconds: 1, once: true },
  ],
  audio: [
    { task: "second1", name: "components.audio.second@0", seconds: 1, floorMs: 150 },
    { task: "second15", name: "components.audio.second@14", seconds: 1, floorMs: 150 },
    { task: "second29", name: "components.audio.second@28", seconds: 1, floorMs: 150 },
    { task: "clip30", name: "components.audio.second.offline", seconds: 1, floorMs: 150 },
  ],
  speech: [
    { task: "decoder100", name: "components.speech.decoder@100", seconds: 1 },
    { task: "codec", name: "components.speech.dvae", seconds: 1 },
    { task: "vocoder", name: "components.speech.vocos", seconds: 1 },
  ],
}
/** Together, per second of speech. */
const SPEECH_FLOOR_MS = 700

/** Longest wait for a quiet machine before each measurement. */
const QUIET_MS = 4000

type Child = JsonChild & { readonly loadMs: number }

async function start(folder: string, part: Part, storage: Storage): Promise<Child> {
  const child = startJsonChild(`${part}, ${storage}`, fileURLToPath(new URL("components-child.ts", import.meta.url)))
  try {
    return { ...child, ...(await child.send<{ loadMs: number }>("load", { part, folder, storage })) }
  } catch (error) {
    await child.close()
    throw error
  }
}

/** √(Σ(got - want)² / Σwant²) of what the storages computed. */
function errorOf(got: string, want: string): number {
  const floats = (text: string) => {
    const bytes = Buffer.from(text, "base64")
    return new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length))
  }
  const [a, b] = [floats(got), floats(want)]
  let error = 0
  let total = 0
  for (let i = 0; i < b.length; i++) {
    error += (a[i]! - b[i]!) ** 2
    total += b[i]! ** 2
  }
  return Math.sqrt(error / total)
}

async function measure(bench: Bench, folder: string, part: Part, reps: number): Promise<number> {
  await ensureBundles(folder, part)
  await using children = new AsyncDisposableStack()
  const quantized = await start(folder, part, "quantized")
  children.defer(quantized.close)
  const floats = await start(folder, part, "float32")
  children.defer(floats.close)
  bench.row({ bench: `components.${part}.load`, value: quantized.loadMs / 1000, unit: "s" })
  let total = 0
  for (const { task, name, seconds, floorMs, once = false } of MEASUREMENTS[part]) {
    const results = { quantized: [] as Measured[], float32: [] as Measured[] }
    let noisy = 0
    let measured = 0
    for (let i = once ? 0 : -1; i < (once ? 1 : reps); i++) {
      for (const [storage, child] of [["quantized", quantized] as const, ["float32", floats] as const]) {
        measured++
        if (!(await quietMachine(QUIET_MS))) noisy++
        const result = await child.send<Measured>("run", { task })
        if (i >= 0) results[storage].push(result) // the first warms up
      }
    }
    if (noisy > 0) bench.note(`${name}: the machine was busy in ${noisy} of ${measured} measurements`)
    const times = (storage: Storage) => results[storage].map(({ milliseconds }) => milliseconds)
    const [value, peerValue] = [Math.min(...times("quantized")), Math.min(...times("float32"))]
    total += value
    bench.row({
      ...{ bench: name, value, unit: "ms", samples: times("quantized") },
      ...{ peer: "float32", peerValue, ratio: peerValue / value },
      realTimeFactor: value / 1000 / seconds,
      error: errorOf(results.quantized[0]!.output, results.float32[0]!.output),
      peakMemoryGb: Math.max(...results.quantized.map(({ peakRssBytes }) => peakRssBytes)) / 1e9,
      peerPeakMemoryGb: Math.max(...results.float32.map(({ peakRssBytes }) => peakRssBytes)) / 1e9,
      ...(floorMs === undefined ? {} : { floor: `≤ ${floorMs} ms` }),
    })
  }
  return total
}

export async function run(bench: Bench): Promise<void> {
  const reps = Math.max(1, Number(bench.flags.reps ?? 5))
  const only = bench.flags.part
  const root = bench.flags.folder ?? join(tmpdir(), "omni-bench-components")
  for (const part of Object.keys(PARTS) as Part[]) {
    if (only !== undefined && only !== part) continue
    const folder = join(root, part)
    const total = await measure(bench, folder, part, reps)
    if (part === "speech") {
      const floor = `≤ ${SPEECH_FLOOR_MS} ms`
      bench.row({ bench: "components.speech", value: total, unit: "ms", realTimeFactor: total / 1000, floor })
    }
    if (bench.flags.folder === undefined) await rm(folder, { recursive: true })
  }
}
