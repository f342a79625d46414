/**
 * @file llama.cpp as a child process of the benchmark: one JSON request per line on stdin, one JSON reply per line on
 * stdout, in order. CPU only, one sequence. `client.ts` starts it and documents requests and replies.
 */
import { createInterface } from "node:readline"
import { setTimeout } from "node:timers/promises"
import { getLlama } from "node-llama-cpp"

/** Lines of llama.cpp's log that say how it runs: instruction set, buffers, attention, cache. */
const TELLING = /load_backend:|preferred buffer type|buffer size|flash_attn|kv_cache: size/
const REPACKED = /^repack: repack tensor \S+ with (\S+)/

/** Tensors rearranged at load, counted by the layout they got. */
const repacked = {}
const log = []
const handlers = { load, prefill, decode }
/** @type {import("node-llama-cpp").LlamaContextSequence | undefined} */
let sequence

/** Loads the model and makes the only context. KV cache: f16, llama.cpp's default. */
async function load({ path, threads, contextSize, batchSize, flashAttention }) {
  const started = performance.now()
  const llama = await getLlama({
    gpu: false,
    build: "never",
    skipDownload: true,
    maxThreads: threads,
    logLevel: "debug",
    logger: (_level, message) => keep(message),
  })
  const model = await llama.loadModel({ modelPath: path, gpuLayers: 0 })
  const context = await model.createContext({
    contextSize,
    batchSize,
    flashAttention,
    sequences: 1,
    threads: { ideal: threads, min: threads },
  })
  sequence = context.getSequence()
  const loadMs = performance.now() - started
  // Messages arrive a little after what they tell of; later ones would only disturb the timing.
  await setTimeout(100)
  llama.logLevel = "error"
  return {
    loadMs,
    llamaCpp: llama.llamaCppRelease.release,
    system: llama.systemInfo,
    threads: context.currentThreads,
    contextSize: context.contextSize,
    batchSize: context.batchSize,
    flashAttention: context.flashAttention,
    mmap: model.useMmap,
    repacked,
    log,
  }
}

/** Times `rows` positions in one batch after `past` cached ones, with the logits of the last, as llama-bench does. */
async function prefill({ past, rows, reps }) {
  const built = await reachPast(past)
  const tokensPerSecond = []
  for (let rep = 0; rep < reps; rep++) {
    const tokens = tokenIds(past, rows)
    const last = [tokens.pop(), { generateNext: { token: true, options: { temperature: 0 } } }]
    const started = performance.now()
    await sequence.controlledEvaluate([...tokens, last])
    tokensPerSecond.push(rows / seconds(started))
    await truncate(past)
  }
  return { ...built, tokensPerSecond }
}

/** Times `tokens` greedy steps after `past` cached positions. */
async function decode({ past, tokens, reps }) {
  const built = await reachPast(past)
  const tokensPerSecond = []
  const stepMs = []
  for (let rep = 0; rep < reps; rep++) {
    const steps = []
    let started = performance.now()
    for await (const _ of sequence.evaluate(tokenIds(past, 1), { temperature: 0, yieldEogToken: true })) {
      steps.push(1000 * seconds(started))
      if (steps.length === tokens) break
      started = performance.now()
    }
    tokensPerSecond.push((1000 * steps.length) / steps.reduce((sum, ms) => sum + ms, 0))
    stepMs.push(steps)
    await truncate(past)
  }
  return { ...built, tokensPerSecond, stepMs }
}

/** Cuts the cache to `past` positions, or evaluates those missing: what is there is kept. */
async function reachPast(past) {
  if (sequence === undefined) throw new Error("llama.cpp peer: expected a loaded model, got none (send load first)")
  if (past >= sequence.contextSize) {
    throw new Error(`llama.cpp peer: expected past below ${sequence.contextSize}, got ${past} (load a larger context)`)
  }
  await truncate(past)
  const builtPositions = past - sequence.nextTokenIndex
  const started = performance.now()
  if (builtPositions > 0) {
    await sequence.evaluateWithoutGeneratingNewTokens(tokenIds(sequence.nextTokenIndex, builtPositions))
  }
  return { builtPositions, builtMs: performance.now() - started }
}

async function truncate(length) {
  const end = sequence.nextTokenIndex
  if (end > length) await sequence.eraseContextTokenRanges([{ start: length, end }])
  // A library that failed to cut would evaluate everything again, inside somebody's timing.
  if (sequence.nextTokenIndex > length)
    throw new Error(`llama.cpp peer: could not cut the cache to ${length} positions`)
}

/** `count` ids that depend only on their positions: no two neighbours alike, all plain tokens of the vocabulary. */
function tokenIds(start, count) {
  return Array.from({ length: count }, (_, i) => 300 + (((start + i) * 7919) % 3000))
}

function keep(message) {
  for (const line of message.split("\n")) {
    const layout = REPACKED.exec(line)?.[1]
    if (layout !== undefined) repacked[layout] = (repacked[layout] ?? 0) + 1
    else if (TELLING.test(line)) log.push(line.trim())
  }
}

const seconds = (started) => (performance.now() - started) / 1000

for await (const line of createInterface({ input: process.stdin })) {
  let reply
  try {
    const { cmd, ...request } = JSON.parse(line)
    if (!Object.hasOwn(handlers, cmd)) {
      throw new Error(`llama.cpp peer: expected cmd ${Object.keys(handlers).join(", ")}, got ${cmd}`)
    }
    reply = await handlers[cmd](request)
  } catch (error) {
    reply = { error: error instanceof Error ? error.message : String(error) }
  }
  const memory = { rssBytes: process.memoryUsage().rss, peakRssBytes: process.resourceUsage().maxRSS * 1024 }
  process.stdout.write(`${JSON.stringify({ ...reply, ...memory })}\n`)
}
process.exit(0)
