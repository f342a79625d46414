/** @file A long conversation keeps its memory: native tensors, outputs and caches are given back at every step. */
import { setTimeout } from "node:timers/promises"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import { expect, test } from "vitest"
import { createOrtNodeExecutor } from "../runtime/index.node.ts"
import { hiddenOf, loadTinyQwen2, tinyQwen2Config, tokens } from "./tiny-qwen2.test-util.ts"

setFlagsFromString("--expose-gc")
const collect = runInNewContext("gc") as () => void

const MEGABYTE = 2 ** 20

test("200 steps over a cache that is cut back each time leave memory as it was", async () => {
  await using executor = createOrtNodeExecutor({ device: "cpu", threads: 1 })
  const config = tinyQwen2Config({
    ...{ hidden_size: 128, num_attention_heads: 2, num_key_value_heads: 2, num_hidden_layers: 2 },
    ...{ intermediate_size: 64, vocab_size: 2000 },
  })
  const model = await loadTinyQwen2(executor, config)
  const cache = model.createCache()
  const prompt = model.embed(tokens(config, 64))
  // One round: 64 positions of prefill and one of decode. Leaked, its cache feeds alone are 2 · 0.5 MB, its outputs 0.15 MB.
  const round = async () => {
    await hiddenOf(model, cache, prompt)
    await hiddenOf(model, cache, model.embed([3]))
    cache.truncate(0)
  }
  const settled = async () => {
    // Finalizers of native buffers run after a collection, when the event loop turns.
    for (let i = 0; i < 8; i++) {
      collect()
      await setTimeout(20)
    }
    const { rss, heapUsed, arrayBuffers } = process.memoryUsage()
    return { rss: rss / MEGABYTE, heap: heapUsed / MEGABYTE, buffers: arrayBuffers / MEGABYTE }
  }
  for (let i = 0; i < 100; i++) await round() // allocators reach their working size
  const before = await settled()
  for (let i = 0; i < 200; i++) await round()
  const after = await settled()
  // Either leak would show: 200 MB of feeds, or 30 MB of outputs. Measured on a quiet machine: below 3 MB each.
  expect(after.rss - before.rss).toBeLessThan(15)
  expect(after.heap - before.heap).toBeLessThan(4)
  expect(after.buffers - before.buffers).toBeLessThan(4)
  expect(cache.sizeBytes).toBe(256 * 2 * 128 * 2 * 4)
})
