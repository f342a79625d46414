/** @file What every device keeps of the executor's contract: outputs, caches, and errors that name the feed. */
import { afterAll, describe, expect, test } from "vitest"
import { Graph } from "../graph/index.ts"
import { f32, type HostTensor, i64, relativeToMaxAbs } from "../tensor/index.ts"
import { BackendError, CheckpointError, ShapeError } from "../util/index.ts"
import { describeDevices } from "./devices.test-util.ts"
import type { Executor, Program } from "./executor.ts"
import { memoryWeights } from "./weight-store.ts"

const WEIGHTS = memoryWeights(new Map([["w", f32([2, 3], [1, 2, 3, 4, 5, 6])]]))

/** y = x · wᵀ and its doubled rows picked by `ids`. */
function smallGraph(): Graph {
  const g = new Graph("small")
  const x = g.input("x", "f32", ["B", "T", 3])
  const ids = g.input("ids", "i64", ["B"])
  const y = g.linear(x, g.weight("w", [2, 3]))
  g.output("y", y)
  g.output("picked", g.gather(g.scale(y, 2), ids))
  return g
}

const X = f32([2, 1, 3], [1, 0, 0, 1, 1, 1])
const IDS = i64([2], [1, 1])

/** A one-head cached attention over one number per position, so that sums can be done by hand. */
function cachedGraph(rows: "B" | 1): Graph {
  const g = new Graph("cached")
  const x = g.input("x", "f32", ["B", "T", 1])
  const mask = g.input("attentionMask", "f32", [rows, 1, "T", "S + T"])
  const zero = g.scale(x, 0) // equal scores: the mean of all visible values
  g.output("mean", g.cachedAttention("one", [zero, zero, x], { heads: 1, kvHeads: 1, scale: 1 }, mask))
  return g
}

const numbers = (value: HostTensor | undefined) => [...(value!.data as Float32Array)]
const rounded = (value: HostTensor | undefined) => numbers(value).map((x) => Math.round(x * 1e4) / 1e4)
const SPEC = [{ name: "one", kvHeads: 1, headSize: 1 }]

describeDevices((open, device) => {
  let opened: { executor: Executor; program: Program } | undefined
  const small = async () => {
    opened ??= await (async () => {
      const executor = open()
      return { executor, program: await executor.compile(smallGraph(), WEIGHTS) }
    })()
    return opened
  }
  afterAll(async () => opened?.executor[Symbol.asyncDispose]())

  test("gives the graph's outputs by name, with shapes", async () => {
    const { executor, program } = await small()
    expect(executor.device).toBe(device)
    const { y, picked, ...rest } = await executor.run(program, { x: X, ids: IDS })
    expect(rest).toEqual({})
    expect([y!.dtype, y!.shape, rounded(y)]).toEqual(["f32", [2, 1, 2], [1, 4, 6, 15]])
    expect([picked!.shape, rounded(picked)]).toEqual([
      [2, 1, 2],
      [12, 30, 12, 30],
    ])
  })

  test("leaves its feeds as they are and gives fresh outputs each time", async () => {
    const { executor, program } = await small()
    const first = await executor.run(program, { x: X, ids: IDS })
    const second = await executor.run(program, { x: f32([2, 1, 3], [0, 0, 0, 0, 0, 0]), ids: IDS })
    expect(rounded(first.y)).toEqual([1, 4, 6, 15])
    expect(rounded(second.y)).toEqual([0, 0, 0, 0])
    expect(numbers(X)).toEqual([1, 0, 0, 1, 1, 1])
  })

  test.each([
    ["a missing feed", { x: X }, "small: expected a feed ids i64 [B], got none"],
    ["an unknown feed", { x: X, ids: IDS, z: X }, "small: expected feeds x, ids, got z"],
    ["another dtype", { x: X, ids: f32([2], [0, 1]) }, "small: expected ids i64 [B], got f32 [2]"],
    ["another rank", { x: f32([2, 3], X.data), ids: IDS }, "small: expected x f32 [B, T, 3], got f32 [2, 3]"],
    [
      "another size",
      { x: f32([2, 1, 2], [1, 2, 3, 4]), ids: IDS },
      "small: expected x f32 [B, T, 3], got f32 [2, 1, 2]",
    ],
    ["sizes that disagree", { x: X, ids: i64([3], [0, 0, 0]) }, "small: expected ids i64 [B], got i64 [3]"],
  ])("refuses %s", async (_, feeds, message) => {
    const { executor, program } = await small()
    const failure = executor.run(program, feeds as { [name: string]: HostTensor })
    await expect(failure).rejects.toThrow(ShapeError)
    await expect(failure).rejects.toThrow(message)
  })

  test("a released program says so; releasing again is harmless", async () => {
    await using executor = open()
    const program = await executor.compile(smallGraph(), WEIGHTS)
    await program.release()
    await program.release()
    const failure = executor.run(program, { x: X, ids: IDS })
    await expect(failure).rejects.toThrow(BackendError)
    await expect(failure).rejects.toThrow("small: expected a live program, got a released one")
  })

  test("closing the executor releases its programs", async () => {
    const executor = open()
    const program = await executor.compile(smallGraph(), WEIGHTS)
    await executor[Symbol.asyncDispose]()
    await expect(executor.run(program, { x: X, ids: IDS })).rejects.toThrow("got a released one")
  })

  test("a weight that is missing or of another shape fails by name, at the latest when it is needed", async () => {
    await using executor = open()
    const attempt = async (weights: Map<string, HostTensor>) => {
      const program = await executor.compile(smallGraph(), memoryWeights(weights))
      await executor.run(program, { x: X, ids: IDS })
    }
    await expect(attempt(new Map())).rejects.toThrow(CheckpointError)
    await expect(attempt(new Map())).rejects.toThrow("w: expected a weight f32 [2, 3], got none")
    const turned = new Map([["w", f32([3, 2], [1, 2, 3, 4, 5, 6])]])
    await expect(attempt(turned)).rejects.toThrow("w: expected f32 [2, 3], got f32 [3, 2]")
  })

  test("a cache grows by the new rows, which stay out of the outputs", async () => {
    await using executor = open()
    const program = await executor.compile(cachedGraph(1), WEIGHTS)
    const cache = executor.createCache(SPEC, 1)
    const outputs = await executor.run(program, { x: f32([1, 3, 1], [3, 6, 12]) }, { cache })
    expect(Object.keys(outputs)).toEqual(["mean"])
    expect(rounded(outputs.mean)).toEqual([3, 4.5, 7])
    expect(cache.length).toBe(3)
    expect([...cache.snapshot().slots.one!.values]).toEqual([3, 6, 12])
    const more = await executor.run(program, { x: f32([1, 1, 1], [-1]) }, { cache })
    expect(rounded(more.mean)).toEqual([5])
    cache.truncate(1)
    expect(rounded((await executor.run(program, { x: f32([1, 1, 1], [5]) }, { cache })).mean)).toEqual([4])
  })

  test("rows that are not advanced leave the cache as it was", async () => {
    await using executor = open()
    const program = await executor.compile(cachedGraph(1), WEIGHTS)
    const cache = executor.createCache(SPEC, 1)
    await executor.run(program, { x: f32([1, 1, 1], [8]) }, { cache })
    const before = cache.snapshot()
    await executor.run(program, { x: f32([1, 2, 1], [1, 1]) }, { cache, advance: false })
    expect(cache.snapshot()).toEqual(before)
    const again = await executor.run(program, { x: f32([1, 1, 1], [4]) }, { cache })
    expect(rounded(again.mean)).toEqual([6])
  })

  test("a failed run leaves the cache as it was", async () => {
    await using executor = open()
    const program = await executor.compile(cachedGraph(1), WEIGHTS)
    const cache = executor.createCache(SPEC, 1)
    await executor.run(program, { x: f32([1, 1, 1], [8]) }, { cache })
    const before = cache.snapshot()
    await expect(executor.run(program, { x: f32([1, 1, 2], [1, 1]) }, { cache })).rejects.toThrow(
      "cached: expected x f32 [B, T, 1], got f32 [1, 1, 2]",
    )
    expect(cache.snapshot()).toEqual(before)
  })

  test("padding is invisible to its row alone", async () => {
    await using executor = open()
    const program = await executor.compile(cachedGraph("B"), WEIGHTS)
    const cache = executor.createCache(SPEC, 2)
    const valid = Uint8Array.of(1, 1, 0, 1)
    const { mean } = await executor.run(program, { x: f32([2, 2, 1], [2, 4, 100, 6]) }, { cache, valid })
    expect(rounded(mean).filter((_, i) => valid[i])).toEqual([2, 3, 6])
    const later = await executor.run(program, { x: f32([2, 1, 1], [6, 8]) }, { cache })
    expect(rounded(later.mean)).toEqual([4, 7])
    expect([cache.realLength(0), cache.realLength(1)]).toEqual([3, 2])
  })

  test("a cache is asked for where the graph has slots, with as many rows as the feeds", async () => {
    await using executor = open()
    const program = await executor.compile(cachedGraph(1), WEIGHTS)
    const x = f32([1, 1, 1], [1])
    await expect(executor.run(program, { x })).rejects.toThrow(ShapeError)
    await expect(executor.run(program, { x })).rejects.toThrow("cached: expected a cache for 1 slots, got none")
    const cache = executor.createCache(SPEC, 2)
    await expect(executor.run(program, { x }, { cache })).rejects.toThrow(
      "cached: expected one.keys f32 [B, 1, S, 1], got",
    )
    await expect(executor.run(program, {}, { cache: executor.createCache(SPEC, 1) })).rejects.toThrow(
      "cached: expected a feed with the dim T, got none",
    )
  })

  test("a mask that is fed is used, and must span the cache and the new positions", async () => {
    await using executor = open()
    const program = await executor.compile(cachedGraph(1), WEIGHTS)
    const cache = executor.createCache(SPEC, 1)
    const x = f32([1, 2, 1], [2, 6])
    const fed = (columns: number) => f32([1, 1, 2, columns], new Float32Array(2 * columns))
    const columns = cache.capacity + 2
    const attentionMask = fed(columns)
    attentionMask.data.fill(-1e30, 0, cache.capacity)
    attentionMask.data.fill(-1e30, columns, columns + cache.capacity)
    expect(rounded((await executor.run(program, { x, attentionMask }, { cache })).mean)).toEqual([4, 4]) // not causal
    const failure = executor.run(
      program,
      { x, attentionMask: fed(columns + 1) },
      { cache: executor.createCache(SPEC, 1) },
    )
    await expect(failure).rejects.toThrow(ShapeError)
    await expect(failure).rejects.toThrow(
      `cached: expected attentionMask [1, 1, 2, ${columns}], got [1, 1, 2, ${columns + 1}]`,
    )
  })

  test("many positions cross the steps of capacity", async () => {
    await using executor = open()
    const program = await executor.compile(cachedGraph(1), WEIGHTS)
    const cache = executor.createCache(SPEC, 1)
    const values = Float32Array.from({ length: 300 }, (_, i) => (i * 7) % 11)
    const whole = await executor.run(program, { x: f32([1, 300, 1], values) }, { cache })
    const pieces = executor.createCache(SPEC, 1)
    const parts: number[] = []
    for (let start = 0; start < 300; start += 60) {
      const x = f32([1, 60, 1], values.slice(start, start + 60))
      parts.push(...numbers((await executor.run(program, { x }, { cache: pieces })).mean))
    }
    expect(relativeToMaxAbs(f32([300], parts), f32([300], numbers(whole.mean)))).toBeLessThan(1e-5)
    expect(pieces.snapshot()).toEqual(cache.snapshot())
    expect(cache.capacity).toBe(device === "reference" ? 300 : 512)
  })
})

describe("memory weights", () => {
  test("stand for what they are, in float32 unless said otherwise", () => {
    const w = f32([2], [1, 2])
    const store = memoryWeights(new Map([["w", w]]))
    expect(store.read("w", "f32", [2])).toBe(w)
    expect(store.storage("w")).toEqual({ kind: "f32" })
    expect(memoryWeights(new Map(), () => ({ kind: "int8" }) as never).storage("w")).toEqual({ kind: "int8" })
  })

  test.each([
    ["v", "f32", [2], "v: expected a weight f32 [2], got none"],
    ["w", "f32", [3], "w: expected f32 [3], got f32 [2]"],
    ["w", "f32", [2, 1], "w: expected f32 [2, 1], got f32 [2]"],
    ["w", "f16", [2], "w: expected f16 [2], got f32 [2]"],
  ] as const)("refuse %s %s %j", (name, dtype, shape, message) => {
    const store = memoryWeights(new Map([["w", f32([2], [1, 2])]]))
    expect(() => store.read(name, dtype, shape)).toThrow(CheckpointError)
    expect(() => store.read(name, dtype, shape)).toThrow(message)
  })
})
