/**
 * @file `npm run bench -- llm`: the language model at full size with random weights, beside llama.cpp on the same shapes
 * (Q4_0), in turns within one run. Flags: --reps N, --layers N, --long POSITIONS, --no-peer, --folder DIR.
 */
import { existsSync, readFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { initCheckpoint } from "../src/convert/index.node.ts"
import { OWN_BUNDLE_FOLDER } from "../src/convert/index.ts"
import { type Bench, median } from "./harness.ts"
import { type JsonChild, startJsonChild } from "./json-child.ts"
import { type LlamaCppPeer, llamaCppInstalled, startLlamaCpp } from "./peers/llama-cpp/client.ts"
import { FULL_DIMS } from "./peers/llama-cpp/gguf-layout.ts"
import { writeGguf } from "./peers/llama-cpp/write-gguf.ts"
import { quietMachine } from "./quiet.ts"

type Memory = { readonly rssBytes: number; readonly peakRssBytes: number; readonly anonymousBytes: number }
type Rates = Memory & { readonly tokensPerSecond: number[] }
type Kinds = readonly ["int8" | "int4", "int8" | "int4"]

const THREADS = 2
const PROMPT = { past: 256, rows: 92 }
/** Layers of one prefill step; the engine's own cut. */
const LAYERS_PER_STEP = 4

async function ensureModel(folder: string, layers: number): Promise<void> {
  if (existsSync(join(folder, "config.json"))) return
  await initCheckpoint({ directory: folder, preset: "full", layers, seed: 1, quantize: "int8+int4" })
}

async function startOurs(
  folder: string,
  kinds: Kinds,
): Promise<JsonChild & { readonly loaded: Memory & { readonly loadMs: number } }> {
  const child = startJsonChild("omni", fileURLToPath(new URL("llm-child.ts", import.meta.url)))
  const config: unknown = JSON.parse(readFileSync(join(folder, "config.json"), "utf8"))
  await quietMachine()
  const loaded = await child.send<Memory & { loadMs: number }>("load", {
    bundle: join(folder, OWN_BUNDLE_FOLDER),
    config,
    kinds,
    threads: THREADS,
    layersPerStep: LAYERS_PER_STEP,
  })
  return { ...child, loaded }
}

async function startPeer(bench: Bench, folder: string, layers: number): Promise<LlamaCppPeer | undefined> {
  if (bench.flags["no-peer"] !== undefined) return undefined
  if (!llamaCppInstalled()) {
    bench.note("llama.cpp is not installed: npm ci --prefix bench/peers/llama-cpp")
    return undefined
  }
  const { path } = await writeGguf(folder, { ...FULL_DIMS, layers })
  const peer = startLlamaCpp()
  const loaded = await peer.load({ path, threads: THREADS, contextSize: 4608, batchSize: 512, flashAttention: true })
  bench.note(`llama.cpp ${loaded.llamaCpp}: ${loaded.system}`)
  bench.row({ bench: "peer.load", value: loaded.loadMs / 1000, unit: "s" })
  bench.row({ bench: "peer.peakMemory", value: loaded.peakRssBytes / 1e9, unit: "GB" })
  return peer
}

/** The same measurement of both, in turns; one row. */
async function compare(
  bench: Bench,
  name: string,
  floor: string,
  reps: number,
  ours: () => Promise<Rates>,
  peer: (() => Promise<{ tokensPerSecond: number[] }>) | undefined,
): Promise<void> {
  const samples: number[] = []
  const peerSamples: number[] = []
  let noisy = 0
  for (let i = 0; i < reps; i++) {
    if (!(await quietMachine())) noisy++
    samples.push(...(await ours()).tokensPerSecond)
    if (!peer) continue
    if (!(await quietMachine())) noisy++
    peerSamples.push(...(await peer()).tokensPerSecond)
  }
  if (noisy > 0) bench.note(`${name}: the machine was busy in ${noisy} of ${reps * 2} measurements`)
  const value = median(samples)
  const beside = peer ? { peer: "llama.cpp", peerValue: median(peerSamples), ratio: value / median(peerSamples) } : {}
  bench.row({ bench: name, value, unit: "tok/s", samples, floor, ...beside })
}

export async function run(bench: Bench): Promise<void> {
  const reps = Number(bench.flags.reps ?? 5)
  const layers = Number(bench.flags.layers ?? FULL_DIMS.layers)
  const long = Number(bench.flags.long ?? 4096)
  const root = bench.flags.folder ?? join(tmpdir(), "omni-bench")
  const folder = join(root, layers === FULL_DIMS.layers ? "full" : `full-${layers}`)
  await ensureModel(folder, layers)

  // A child left running would keep the benchmark alive after a failure.
  await using children = new AsyncDisposableStack()
  const ours = await startOurs(folder, ["int8", "int4"])
  children.defer(ours.close)
  const first = await ours.send<Rates>("prefill", { past: 0, rows: PROMPT.rows, reps: 1 })
  const rest = await ours.send<{ readonly loadMs: number }>("loadRest", {})
  // Until it can answer; the rest is loaded while nobody waits.
  bench.row({ bench: "llm.load", value: ours.loaded.loadMs / 1000, unit: "s", floor: "≤ 15" })
  bench.row({ bench: "llm.load.rest", value: rest.loadMs / 1000, unit: "s" })
  bench.row({ bench: `llm.prefill.${PROMPT.rows}.beforeRest`, value: first.tokensPerSecond[0]!, unit: "tok/s" })
  const peer = await startPeer(bench, root, layers)
  children.defer(async () => peer?.close())
  const ask = (cmd: string, request: object) => () => ours.send<Rates>(cmd, { ...request, reps: 1 })
  const askPeer = (cmd: "prefill" | "decode", request: { past: number; rows: number; tokens: number }) =>
    peer && (() => peer[cmd]({ ...request, reps: 1 }))

  const prefill = { ...PROMPT, tokens: 0 }
  await compare(
    bench,
    `llm.prefill.${PROMPT.rows}@${PROMPT.past}`,
    "≥ 1.8×",
    reps,
    ask("prefill", prefill),
    askPeer("prefill", prefill),
  )
  for (const past of [PROMPT.past, long]) {
    const decode = { past, tokens: 8, rows: 0 }
    await compare(bench, `llm.decode@${past}`, "≥ 0.95×", reps, ask("decode", decode), askPeer("decode", decode))
  }
  const memory = await ours.send<Rates>("decode", { past: long, tokens: 1, reps: 1 })
  bench.row({ bench: "llm.peakMemory.int8+int4", value: memory.peakRssBytes / 1e9, unit: "GB", floor: "≤ 14" })
  await ours.close()
  await peer?.close()

  const small = await startOurs(folder, ["int4", "int4"])
  children.defer(small.close)
  const rates = await small.send<Rates>("prefill", { ...PROMPT, reps: 2 })
  const decoded = await small.send<Rates>("decode", { past: PROMPT.past, tokens: 8, reps: 2 })
  bench.row({ bench: "llm.int4.load", value: small.loaded.loadMs / 1000, unit: "s" })
  bench.row({
    bench: `llm.int4.prefill.${PROMPT.rows}@${PROMPT.past}`,
    value: median(rates.tokensPerSecond),
    unit: "tok/s",
  })
  bench.row({ bench: "llm.int4.peakMemory", value: decoded.peakRssBytes / 1e9, unit: "GB", floor: "≤ 7" })
}
