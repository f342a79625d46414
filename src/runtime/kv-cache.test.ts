/** @file The cache against a naive model: rows as lists of positions, every operation written out. */
import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { f32Data, type HostTensor } from "../tensor/index.ts"
import { InputError } from "../util/index.ts"
import { type CacheSpec, KvCache } from "./kv-cache.ts"

const SPEC: CacheSpec = [
  { name: "a", kvHeads: 2, headSize: 3 },
  { name: "b", kvHeads: 1, headSize: 2 },
]

/** What hides a score. */
const MASKED = Math.fround(-1e30)

/** One cached position of one row: per slot its keys and values, [G · K]. */
type Position = { valid: number; slots: { [name: string]: { keys: number[]; values: number[] } } }
type Naive = Position[][] // by row, then position

/** Distinct small integers: exact in float32, and no two cells are alike. */
function counter(): () => number {
  let last = 0
  return () => ++last
}

/** The new rows of T steps as the graph would give them, and the same as naive positions. */
function newRows(rows: number, steps: number, valid: Uint8Array | undefined, next: () => number) {
  const positions: Naive = Array.from({ length: rows }, (_, b) =>
    Array.from({ length: steps }, (_, t) => ({ valid: valid ? valid[b * steps + t]! : 1, slots: {} })),
  )
  const staged = SPEC.map(({ name, kvHeads, headSize }) => {
    const width = kvHeads * headSize
    const keys = Float32Array.from({ length: rows * steps * width }, next)
    const values = Float32Array.from({ length: rows * steps * width }, next)
    for (let b = 0; b < rows; b++) {
      for (let t = 0; t < steps; t++) {
        const from = (b * steps + t) * width
        const cut = (data: Float32Array) => [...data.subarray(from, from + width)]
        positions[b]![t]!.slots[name] = { keys: cut(keys), values: cut(values) }
      }
    }
    return { name, keys, values }
  })
  return { positions, staged }
}

function stage(cache: KvCache, steps: number, staged: ReturnType<typeof newRows>["staged"]): void {
  for (const { name, keys, values } of staged) cache.stage(name, steps, { keys, values })
}

/** A turn of the key that is easy to see: every component moves by the change of position. */
const shift = (key: Float32Array, delta: number) => {
  for (let k = 0; k < key.length; k++) key[k]! += delta
}

/** What the cache holds, as it is saved; the keys must lie in the feeds alike. */
function contents(cache: KvCache): Naive {
  const { length, capacity, rows } = cache
  const { slots, valid } = cache.snapshot()
  return Array.from({ length: rows }, (_, b) =>
    Array.from({ length }, (_, j) => ({
      valid: valid[b * length + j]!,
      slots: Object.fromEntries(
        SPEC.map(({ name, kvHeads, headSize }) => {
          const pick = (data: Float32Array, positions: number) =>
            Array.from({ length: kvHeads }, (_, g) => {
              const from = ((b * kvHeads + g) * positions + j) * headSize
              return [...data.subarray(from, from + headSize)]
            }).flat()
          const { keys, values } = slots[name]!
          const fed = cache.feed(name).keys
          expect(fed.shape).toEqual([rows, kvHeads, capacity, headSize])
          expect(pick(f32Data(fed), capacity)).toEqual(pick(keys, length))
          return [name, { keys: pick(keys, length), values: pick(values, length) }]
        }),
      ),
    })),
  )
}

type Operation =
  | { kind: "push" | "abandon"; steps: number; padding: number[] | undefined }
  | { kind: "truncate"; to: number }
  | { kind: "remove"; from: number; to: number }
  | { kind: "fork" }
  | { kind: "select"; ids: number[] }
  | { kind: "restore"; step: number }

const fraction = fc.double({ min: 0, max: 1, noNaN: true })
const operation: fc.Arbitrary<Operation> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant("push" as const),
      steps: fc.integer({ min: 1, max: 6 }),
      padding: fc.option(fc.array(fc.nat(2), { minLength: 3, maxLength: 3 }), { nil: undefined, freq: 4 }),
    }),
  },
  fc.record({
    kind: fc.constant("abandon" as const),
    steps: fc.integer({ min: 1, max: 9 }),
    padding: fc.constant(undefined),
  }),
  fc.record({ kind: fc.constant("truncate" as const), to: fraction }),
  fc.record({ kind: fc.constant("remove" as const), from: fraction, to: fraction }),
  fc.constant({ kind: "fork" as const }),
  fc.record({ kind: fc.constant("select" as const), ids: fc.array(fraction, { minLength: 1, maxLength: 3 }) }),
  fc.record({ kind: fc.constant("restore" as const), step: fc.constantFrom(1, 4, 7) }),
)

/** Applies one operation to both; returns what stands for the cache afterwards. */
function apply(cache: KvCache, naive: Naive, op: Operation, next: () => number): [KvCache, Naive] {
  const length = naive[0]!.length
  switch (op.kind) {
    case "push":
    case "abandon": {
      const { steps, padding } = op
      const valid =
        padding &&
        Uint8Array.from({ length: cache.rows * steps }, (_, i) => (i % steps < padding[Math.trunc(i / steps)]! ? 0 : 1))
      const { positions, staged } = newRows(cache.rows, steps, valid, next)
      stage(cache, steps, staged)
      if (op.kind === "abandon") return [cache, naive]
      cache.advance(steps, valid)
      return [cache, naive.map((row, b) => [...row, ...positions[b]!])]
    }
    case "truncate": {
      const to = Math.floor(op.to * length)
      cache.truncate(to)
      return [cache, naive.map((row) => row.slice(0, to))]
    }
    case "remove": {
      if (naive.some((row) => row.some(({ valid }) => valid === 0))) return [cache, naive]
      const [from, to] = [op.from, op.to].map((part) => Math.floor(part * length)).sort((a, b) => a - b) as [
        number,
        number,
      ]
      cache.remove(from, to, shift)
      const moved = (position: Position): Position => ({
        valid: 1,
        slots: Object.fromEntries(
          Object.entries(position.slots).map(([name, { keys, values }]) => [
            name,
            { keys: keys.map((key) => key + from - to), values },
          ]),
        ),
      })
      return [cache, naive.map((row) => [...row.slice(0, from), ...row.slice(to).map(moved)])]
    }
    case "fork":
      return [cache.fork(), naive]
    case "select": {
      const ids = op.ids.map((id) => Math.min(naive.length - 1, Math.floor(id * naive.length)))
      return [cache.selectRows(ids), ids.map((id) => naive[id]!)]
    }
    case "restore": {
      const other = new KvCache(SPEC, cache.rows, op.step)
      other.restore(cache.snapshot())
      return [other, naive]
    }
  }
}

test("a large cache is saved and restored in several steps, layer by layer", () => {
  const spec = ["a", "b", "c"].map((name) => ({ name, kvHeads: 2, headSize: 64 }))
  const positions = 25_000
  const cache = new KvCache(spec, 1)
  for (const [i, { name }] of spec.entries()) {
    const rows = Float32Array.from({ length: positions * 128 }, (_, at) => (at * 31 + i) % 1009)
    cache.stage(name, positions, { keys: rows, values: rows })
  }
  cache.advance(positions)
  const counted = <T>(steps: Generator<undefined, T, void>): [T, number] => {
    for (let count = 1; ; count++) {
      const { done, value } = steps.next()
      if (done) return [value, count]
    }
  }
  const [snapshot, saving] = counted(cache.snapshotSteps())
  const restored = new KvCache(spec, 1)
  const [, restoring] = counted(restored.restoreSteps(snapshot))
  expect([saving, restoring]).toEqual([2, 2])
  const bytesOf = (tensor: HostTensor) => new Uint8Array(f32Data(tensor).buffer)
  for (const { name } of spec) {
    const [mine, theirs] = [restored.feed(name), cache.feed(name)]
    for (const part of ["keys", "values"] as const)
      expect(Buffer.compare(bytesOf(mine[part]), bytesOf(theirs[part]))).toBe(0)
  }
})

describe("cache", () => {
  test("does what lists of positions do, and copies stay apart", () => {
    fc.assert(
      fc.property(
        fc.constantFrom(1, 4, 7),
        fc.integer({ min: 1, max: 3 }),
        fc.array(operation, { maxLength: 25 }),
        (step, rows, operations) => {
          const next = counter()
          let cache = new KvCache(SPEC, rows, step)
          let naive: Naive = Array.from({ length: rows }, () => [])
          const left: [KvCache, Naive][] = []
          for (const op of operations) {
            const [after, expected] = apply(cache, naive, op, next)
            if (after !== cache) left.push([cache, naive])
            ;[cache, naive] = [after, expected]
            expect(cache.length).toBe(naive[0]!.length)
            expect(cache.capacity).toBeGreaterThanOrEqual(cache.length)
            expect(contents(cache)).toEqual(naive)
            for (const [b, row] of naive.entries())
              expect(cache.realLength(b)).toBe(row.filter(({ valid }) => valid).length)
          }
          for (const [old, was] of left) expect(contents(old)).toEqual(was)
        },
      ),
      { numRuns: 150 },
    )
  })

  test("the mask hides later positions, spare capacity and padding, and nothing else", () => {
    fc.assert(
      fc.property(
        fc.constantFrom(1, 4),
        fc.array(fc.nat(4), { minLength: 2, maxLength: 2 }),
        fc.array(fc.nat(2), { minLength: 2, maxLength: 2 }),
        fc.integer({ min: 1, max: 5 }),
        (step, oldPadding, newPadding, steps) => {
          const next = counter()
          const cache = new KvCache(SPEC, 2, step)
          const padded = (count: number, padding: number[]) =>
            Uint8Array.from({ length: 2 * count }, (_, i) => (i % count < padding[Math.trunc(i / count)]! ? 0 : 1))
          const old = padded(6, oldPadding)
          stage(cache, 6, newRows(2, 6, old, next).staged)
          cache.advance(6, old)
          const valid = padded(steps, newPadding)
          const mask = cache.mask(steps, true, valid)
          const columns = cache.capacity + steps
          expect(mask.shape).toEqual([2, 1, steps, columns])
          for (let b = 0; b < 2; b++) {
            for (let t = 0; t < steps; t++) {
              for (let j = 0; j < columns; j++) {
                const later = j - cache.capacity
                const seen = later < 0 ? j < 6 && old[b * 6 + j] === 1 : later <= t && valid[b * steps + later] === 1
                expect([b, t, j, mask.data[(b * steps + t) * columns + j]]).toEqual([b, t, j, seen ? 0 : MASKED])
              }
            }
          }
        },
      ),
    )
  })

  test("rows without padding share one mask; padded rows cannot", () => {
    const cache = new KvCache(SPEC, 2, 1)
    stage(cache, 2, newRows(2, 2, undefined, counter()).staged)
    cache.advance(2)
    const mask = cache.mask(2, false)
    expect(mask.shape).toEqual([1, 1, 2, 4])
    expect([...mask.data]).toEqual([0, 0, 0, MASKED, 0, 0, 0, 0])
    expect(() => cache.mask(1, false, Uint8Array.of(0, 1))).toThrow(
      "internal: a padded batch needs a mask for each row",
    )
  })

  test("capacity grows by whole steps, keeps some slack when cut, and shrinks when much is free", () => {
    const cache = new KvCache(SPEC, 1, 4)
    expect([cache.length, cache.capacity]).toEqual([0, 4])
    const push = (steps: number) => {
      stage(cache, steps, newRows(1, steps, undefined, counter()).staged)
      cache.advance(steps)
      return cache.capacity
    }
    expect([push(4), push(1), push(16)]).toEqual([4, 8, 24])
    expect(cache.sizeBytes).toBe(24 * (2 * 3 + 2) * 2 * 4)
    cache.truncate(9) // 12 would do, 12 more are slack
    expect(cache.capacity).toBe(24)
    cache.truncate(8) // 8 would do: 16 are more than slack
    expect(cache.capacity).toBe(8)
    const exact = new KvCache(SPEC, 1, 1)
    expect(exact.capacity).toBe(0)
    stage(exact, 3, newRows(1, 3, undefined, counter()).staged)
    exact.advance(3)
    expect(exact.capacity).toBe(3)
    exact.truncate(1)
    expect(exact.capacity).toBe(1)
  })

  test("slots grow one by one as they are used, so that no step of a pass grows all of them", () => {
    const cache = new KvCache(SPEC, 1, 4)
    stage(cache, 4, newRows(1, 4, undefined, counter()).staged)
    cache.advance(4)
    const before = contents(cache)
    const bytes = (capacity: number, { kvHeads, headSize }: (typeof SPEC)[number]) =>
      capacity * kvHeads * headSize * 2 * 4
    const [first, second] = [SPEC[0]!, SPEC[1]!]
    cache.reserve(5)
    expect([cache.capacity, cache.sizeBytes]).toEqual([8, bytes(4, first) + bytes(4, second)])
    cache.feed(first.name)
    expect(cache.sizeBytes).toBe(bytes(8, first) + bytes(4, second))
    cache.truncate(3)
    expect(contents(cache)).toEqual(before.map((row) => row.slice(0, 3)))
    expect(cache.sizeBytes).toBe(bytes(8, first) + bytes(8, second))
  })

  test("a step of 256 positions is what executors use when nothing else is said", () => {
    expect(new KvCache(SPEC, 1).capacity).toBe(256)
  })
})

describe("bad arguments", () => {
  const filled = (rows = 2) => {
    const cache = new KvCache(SPEC, rows, 4)
    stage(cache, 3, newRows(rows, 3, undefined, counter()).staged)
    cache.advance(3)
    return cache
  }

  test.each([
    ["truncate", () => filled().truncate(4), "cache.truncate: expected a length in [0, 3], got 4"],
    ["truncate", () => filled().truncate(-1), "cache.truncate: expected a length in [0, 3], got -1"],
    ["truncate", () => filled().truncate(0.5), "cache.truncate: expected a length in [0, 3], got 0.5"],
    ["selectRows", () => filled().selectRows([0, 2]), "cache.selectRows: expected rows in [0, 2), got 2"],
    ["selectRows", () => filled().selectRows([-1]), "cache.selectRows: expected rows in [0, 2), got -1"],
    ["remove", () => filled().remove(1, 4, shift), "cache.remove: expected 0 ≤ from ≤ to ≤ 3, got 1 to 4"],
    ["remove", () => filled().remove(2, 1, shift), "cache.remove: expected 0 ≤ from ≤ to ≤ 3, got 2 to 1"],
    ["remove", () => filled().remove(0.5, 1, shift), "cache.remove: expected 0 ≤ from ≤ to ≤ 3, got 0.5 to 1"],
    ["restore", () => filled().restore(filled(1).snapshot()), "cache.restore: expected 2 rows, got 1"],
  ])("%s says what is wrong", (_, run, message) => {
    expect(run).toThrow(InputError)
    expect(run).toThrow(message)
  })

  test("restore refuses snapshots of another model and leaves the cache as it was", () => {
    const cache = filled()
    const before = contents(cache)
    const { slots, ...rest } = filled().snapshot()
    const { a, b } = slots as {
      a: { keys: Float32Array; values: Float32Array }
      b: { keys: Float32Array; values: Float32Array }
    }
    const refuse = (snapshot: Parameters<KvCache["restore"]>[0], message: string) => {
      expect(() => cache.restore(snapshot)).toThrow(InputError)
      expect(() => cache.restore(snapshot)).toThrow(message)
      expect(contents(cache)).toEqual(before)
    }
    refuse({ ...rest, slots: { a } }, "cache.restore: expected 12 values for b, got none")
    refuse(
      { ...rest, slots: { a, b: { ...b, keys: b.keys.slice(1) } } },
      "cache.restore: expected 12 values for b, got 11",
    )
    refuse(
      { ...rest, slots: { a, b: { ...b, values: b.values.slice(2) } } },
      "cache.restore: expected 12 values for b, got 10",
    )
    refuse({ ...rest, slots: { a, b, c: b } }, "cache.restore: expected slots a, b, got a, b, c")
    refuse({ ...rest, slots, valid: rest.valid.slice(1) }, "cache.restore: expected 6 marks of valid positions, got 5")
  })

  test("our own mistakes are called that", () => {
    const cache = filled()
    expect(() => cache.feed("c")).toThrow("internal: the cache has no slot c")
    expect(() => cache.stage("c", 1, { keys: new Float32Array(), values: new Float32Array() })).toThrow(
      "internal: the cache has no slot c",
    )
    const padded = new KvCache(SPEC, 1, 4)
    padded.advance(2, Uint8Array.of(0, 1))
    expect(() => padded.remove(0, 1, shift)).toThrow("internal: remove from a padded cache")
  })
})
