/** @file Caches that WebGPU keeps on the device compute what the interpreter does, whatever was done to them between runs. */
import { setTimeout } from "node:timers/promises"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import fc from "fast-check"
import { Tensor } from "onnxruntime-common"
import { afterAll, describe, expect, test, vi } from "vitest"
import { skipUnless } from "../../test/skip.ts"
import { Graph } from "../graph/index.ts"
import { f32, f32Data, type HostTensor } from "../tensor/index.ts"
import { createRandom } from "../util/index.ts"
import { DeviceCaches } from "./device-cache.ts"
import type { Executor, Program } from "./executor.ts"
import type { KvCache } from "./kv-cache.ts"
import { createOrtNodeExecutor, findVulkanDriver, useVulkanDriver } from "./ort.node.ts"
import type { OrtSession } from "./ort-executor.ts"
import { createReferenceExecutor } from "./reference-executor.ts"
import { memoryWeights } from "./weight-store.ts"

const [HEADS, GROUPS, K] = [4, 2, 4]
const SPEC = ["a", "b"].map((name) => ({ name, kvHeads: GROUPS, headSize: K }))

/** Two layers as two graphs, as long stacks are cut: the first stages its rows, the second advances. */
function layer(slot: string): Graph {
  const g = new Graph(slot)
  const x = g.input("x", "f32", ["B", "T", HEADS * K])
  const mask = g.input("attentionMask", "f32", [1, 1, "T", "S + T"])
  const kv = g.slice(x, 2, 0, GROUPS * K)
  g.output("y", g.cachedAttention(slot, [x, kv, g.scale(kv, 0.5)], { heads: HEADS, kvHeads: GROUPS, scale: 0.5 }, mask))
  return g
}

type Device = { readonly executor: Executor; readonly programs: readonly Program[] }

async function open(executor: Executor): Promise<Device> {
  const programs = [await executor.compile(layer("a"), memoryWeights(new Map()))]
  programs.push(await executor.compile(layer("b"), memoryWeights(new Map())))
  return { executor, programs }
}

/** One pass through both layers; an abandoned one stops after the first. */
async function pass({ executor, programs }: Device, cache: KvCache, x: HostTensor, abandoned: boolean) {
  const { y } = await executor.run(programs[0]!, { x }, { cache, advance: false })
  if (abandoned) return f32Data(y!)
  return f32Data((await executor.run(programs[1]!, { x: y! }, { cache })).y!)
}

type Action =
  | { readonly type: "pass"; readonly steps: number; readonly abandoned: boolean }
  | { readonly type: "truncate" | "fork" | "restore"; readonly share: number }
  | { readonly type: "remove"; readonly from: number; readonly share: number }

const share = fc.double({ min: 0, max: 1, noNaN: true })
const actions = fc.array(
  fc.oneof(
    {
      weight: 3,
      arbitrary: fc.record({
        type: fc.constant("pass" as const),
        steps: fc.constantFrom(1, 2, 5, 90),
        abandoned: fc.boolean(),
      }),
    },
    fc.record({ type: fc.constantFrom("truncate" as const, "fork" as const, "restore" as const), share }),
    fc.record({ type: fc.constant("remove" as const), from: share, share }),
  ),
  { minLength: 3, maxLength: 8 },
)

const turn = (key: Float32Array, delta: number) => {
  for (let k = 0; k < key.length; k++) key[k]! += delta / 16
}

/** The same action on one device's cache. @returns the cache to go on with, and what a pass gave */
async function act(device: Device, cache: KvCache, action: Action, x: (steps: number) => HostTensor) {
  if (action.type === "pass") return { cache, got: await pass(device, cache, x(action.steps), action.abandoned) }
  const cut = Math.floor(cache.length * action.share)
  if (action.type === "truncate") cache.truncate(cut)
  if (action.type === "fork") return { cache: cache.fork(), got: undefined }
  if (action.type === "remove") {
    const from = Math.floor(cache.length * action.from)
    cache.remove(from, Math.min(cache.length, from + cut), turn)
  }
  if (action.type === "restore") {
    const saved = cache.snapshot()
    cache.truncate(0)
    cache.restore(saved)
  }
  return { cache, got: undefined }
}

setFlagsFromString("--expose-gc")
const collect = runInNewContext("gc") as () => void

const NO_DRIVER = "no Vulkan driver for webgpu (install libvulkan1 and chromium, or set VK_ICD_FILENAMES)"
skipUnless(findVulkanDriver(process.env) !== undefined, NO_DRIVER)("caches on the device", () => {
  useVulkanDriver(process.env)
  const executor = createOrtNodeExecutor({ device: "webgpu", threads: 1 })
  const opened = open(executor)
  afterAll(() => executor[Symbol.asyncDispose]())

  test("passes, cuts, copies and moves in any order give what the interpreter gives", async () => {
    const webgpu = await opened
    const reference = await open(createReferenceExecutor())
    await fc.assert(
      fc.asyncProperty(actions, fc.integer({ min: 1, max: 1e6 }), async (script, seed) => {
        const uniform = createRandom(seed)
        const random = () => uniform() - 0.5
        let [mine, theirs] = [executor.createCache(SPEC, 1), reference.executor.createCache(SPEC, 1)]
        for (const action of script) {
          const data = Float32Array.from({ length: 90 * HEADS * K }, random)
          const x = (steps: number) => f32([1, steps, HEADS * K], data.slice(0, steps * HEADS * K))
          const [got, want] = [await act(webgpu, mine, action, x), await act(reference, theirs, action, x)]
          ;[mine, theirs] = [got.cache, want.cache]
          expect(mine.length).toBe(theirs.length)
          for (const [i, value] of (want.got ?? new Float32Array()).entries()) {
            if (Math.abs(got.got![i]! - value) > 1e-4) expect(got.got![i], `${action.type}[${i}]`).toBeCloseTo(value, 4)
          }
        }
        expect(mine.snapshot().length).toBe(theirs.snapshot().length)
      }),
      { numRuns: 5 },
    )
  })

  test("a cache goes up once, and again only when something else changed it", async () => {
    const webgpu = await opened
    const cache = executor.createCache(SPEC, 1)
    const fed = vi.spyOn(cache, "feed")
    const x = f32([1, 1, HEADS * K], new Float32Array(HEADS * K).fill(1))
    /** Reads of the cache beyond those that check feeds: two by `withCache` for each pass. */
    const uploads = async (act: () => void) => {
      act()
      fed.mockClear()
      await pass(webgpu, cache, x, false)
      return fed.mock.calls.length - 2
    }
    expect(await uploads(() => {})).toBe(2) // both slots
    expect(await uploads(() => {})).toBe(0)
    expect(await uploads(() => cache.truncate(1))).toBe(0)
    expect(await uploads(() => cache.remove(0, 1, turn))).toBe(2)
    expect(await uploads(() => {})).toBe(0)
  })
})

describe("tensors on the device", () => {
  /** A runtime whose tensors only count. */
  function counting() {
    const alive = new Set<object>()
    const made = () => {
      const made = { dispose: () => alive.delete(made) }
      alive.add(made)
      return made
    }
    const session = { inputNames: ["x"], run: async () => ({ there: made() }), release: async () => {} }
    const api = { Tensor, createSession: async () => session as unknown as OrtSession }
    const caches = new DeviceCaches(api, () => new Tensor("float32", new Float32Array(1), [1]))
    return { alive, caches, made: () => made() as unknown as Tensor }
  }
  const newCache = () => createReferenceExecutor().createCache(SPEC, 1)
  const rows = { keys: new Float32Array(GROUPS * K), values: new Float32Array(GROUPS * K) }

  test("are given back when they are replaced, stale, or nobody's", async () => {
    const { alive, caches, made } = counting()
    const cache = newCache()
    await caches.slotsOf(cache, ["a", "b"])
    expect(alive.size).toBe(4)
    const present = new Map([["a", { keys: made(), values: made() }]])
    caches.replace(cache, present, () => cache.stage("a", 1, rows))
    expect(alive.size).toBe(4)
    expect((await caches.slotsOf(cache, ["a"])).get("a")).toBe(present.get("a"))
    cache.stage("b", 1, rows) // not through the device
    await caches.slotsOf(cache, ["a"])
    expect(alive.size).toBe(2)
    caches.replace(newCache(), new Map([["a", { keys: made(), values: made() }]]), () => {}) // never seen
    expect(alive.size).toBe(2)
    await caches[Symbol.asyncDispose]()
    expect(alive.size).toBe(0)
  })

  test("of caches that are gone are given back", async () => {
    const { alive, caches } = counting()
    for (let i = 0; i < 20; i++) await caches.slotsOf(newCache(), ["a"])
    for (let i = 0; i < 20 && alive.size > 2; i++) {
      collect()
      await setTimeout(10)
    }
    expect(alive.size).toBeLessThanOrEqual(2)
  })
})

describe("a cache in host memory", () => {
  test("tells copies when they are stale", () => {
    const cache = createReferenceExecutor().createCache(SPEC, 1)
    const rows = { keys: new Float32Array(GROUPS * K), values: new Float32Array(GROUPS * K) }
    const changed = (act: () => void) => {
      const before = cache.revision
      act()
      return cache.revision !== before
    }
    expect(changed(() => cache.stage("a", 1, rows))).toBe(true)
    expect(changed(() => cache.advance(1))).toBe(false)
    expect(changed(() => cache.remove(0, 1, turn))).toBe(true)
    expect(changed(() => cache.restore(cache.snapshot()))).toBe(true)
    expect(changed(() => cache.snapshot())).toBe(false)
  })
})
