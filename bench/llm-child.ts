/**
 * @file The language model as a child process of its benchmark, with the same requests as the peers: one JSON request
 * per line on standard input, one reply per line on standard output.
 */
import { readFileSync } from "node:fs"
import { createInterface } from "node:readline"
import { openBundle } from "../src/convert/index.node.ts"
import { LanguageModel } from "../src/inference/index.ts"
import { parseQwen2Config } from "../src/models/minicpmo/index.ts"
import { createOrtNodeExecutor } from "../src/runtime/index.node.ts"
import type { KvCache } from "../src/runtime/index.ts"
import { errorText, runSteps } from "../src/util/index.ts"

type LoadRequest = {
  readonly bundle: string
  readonly config: unknown
  readonly kinds: readonly ["int8" | "int4", "int8" | "int4"]
  readonly threads: number
  readonly layersPerStep: number
}
type MeasureRequest = { readonly past: number; readonly rows?: number; readonly tokens?: number; readonly reps: number }

let model: LanguageModel
let weights: ReturnType<typeof openBundle>
let prefillKind: "int8" | "int4"
let cache: KvCache

/** Memory of this process: what is resident now and at most, and the part that is no file's. */
function memory() {
  const status = readFileSync("/proc/self/status", "utf8")
  const bytes = (key: string) => Number(new RegExp(`${key}:\\s+(\\d+)`).exec(status)?.[1] ?? 0) * 1024
  return { rssBytes: bytes("VmRSS"), peakRssBytes: bytes("VmHWM"), anonymousBytes: bytes("RssAnon") }
}

/** Ids spread over the vocabulary, always the same. */
function someIds(count: number): number[] {
  return Array.from({ length: count }, (_, i) => (i * 7919 + 11) % (model.config.vocabSize - 1000))
}

async function load({ bundle, config, kinds, threads, layersPerStep }: LoadRequest) {
  const start = performance.now()
  weights = openBundle(bundle)
  prefillKind = kinds[0]
  weights.prefetch?.(kinds[1])
  const many = weights.weights(kinds[0])
  model = await LanguageModel.load({
    config: parseQwen2Config(config),
    executor: createOrtNodeExecutor({ device: "cpu", threads }),
    prefill: many,
    decode: kinds[0] === kinds[1] ? many : weights.weights(kinds[1]),
    embeddingRows: (ids) => weights.readRows("llm.model.embed_tokens.weight", ids),
    layersPerStep,
    deferPrefill: true,
  })
  cache = model.createCache()
  return { loadMs: performance.now() - start, ...memory() }
}

/** Loads what `load` deferred. */
async function loadRest() {
  const start = performance.now()
  weights.prefetch?.(prefillKind)
  await runSteps(model.loadRest())
  return { loadMs: performance.now() - start, ...memory() }
}

/** Brings the cache to exactly `past` positions. */
async function build(past: number): Promise<void> {
  if (cache.length > past) cache.truncate(past)
  const missing = past - cache.length
  if (missing > 0) await runSteps(model.forward(cache, model.embed(someIds(missing))))
}

async function prefill({ past, rows = 92, reps }: MeasureRequest) {
  await build(past)
  const tokensPerSecond: number[] = []
  for (let i = 0; i < reps; i++) {
    const start = performance.now()
    const [hidden] = await runSteps(model.forward(cache, model.embed(someIds(rows))))
    await model.lastLogits(hidden!)
    tokensPerSecond.push((rows / (performance.now() - start)) * 1000)
    cache.truncate(past)
  }
  return { tokensPerSecond, ...memory() }
}

async function decode({ past, tokens = 8, reps }: MeasureRequest) {
  await build(past)
  const tokensPerSecond: number[] = []
  for (let i = 0; i < reps; i++) {
    const start = performance.now()
    for (const id of someIds(tokens)) {
      const [hidden] = await runSteps(model.forward(cache, model.embed([id])))
      await model.lastLogits(hidden!)
    }
    tokensPerSecond.push((tokens / (performance.now() - start)) * 1000)
    cache.truncate(past)
  }
  return { tokensPerSecond, ...memory() }
}

const HANDLERS: { readonly [cmd: string]: (request: never) => Promise<object> } = { load, loadRest, prefill, decode }

for await (const line of createInterface({ input: process.stdin })) {
  let reply: object
  try {
    const { cmd, ...request } = JSON.parse(line) as { cmd: string }
    reply = await HANDLERS[cmd]!(request as never)
  } catch (error) {
    reply = { error: errorText(error) }
  }
  process.stdout.write(`${JSON.stringify(reply)}\n`)
}
process.exit(0)
