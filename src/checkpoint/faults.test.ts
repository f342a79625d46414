/**
 * @file Damaged and hostile files: whatever the bytes, a reader gives tensors or one of our errors, in bounded time, and
 * never asks its source for more than a file holds. fast-check prints the seed of a failing run.
 */
import fc from "fast-check"
import { expect, test } from "vitest"
import { f32, type HostTensor, i64, tensor } from "../tensor/index.ts"
import { CheckpointError, ConfigError, concatenate } from "../util/index.ts"
import { readJsonObject } from "./config-file.ts"
import { openFolder } from "./folder.node.ts"
import { openPt } from "./pt.ts"
import { writePt } from "./pt-writer.ts"
import { openCheckpoint, openSafetensors } from "./safetensors.ts"
import { writeCheckpoint, writeSafetensors } from "./safetensors-writer.ts"
import { memorySink } from "./sink.ts"
import { type FileSource, memorySource } from "./source.ts"
import type { Checkpoint } from "./tensor-reader.ts"
import { guarded, oneFile, op, pickled, rawPt, rawSafetensors, utf8 } from "./test-support.ts"

const FIXTURE = new URL("../../test/fixtures/tiny-a/checkpoint", import.meta.url).pathname
const RUNS = { numRuns: 400, interruptAfterTimeLimit: 20_000, markInterruptAsFailure: true }
/** No tensor of a damaged file may be larger than the file, and no run may take longer. */
const RUN_MS = 1500

const tensors = new Map<string, HostTensor>([
  ["layers.0.weight", f32([3, 4], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12])],
  ["layers.0.bias", tensor("bf16", [3], Uint16Array.of(1, 2, 3))],
  ["ids", i64([2], [1, 2])],
])

/** Opens and reads everything; true when all went well, false when one of our errors was thrown. */
async function survives(source: FileSource, open: (source: FileSource) => Promise<Checkpoint>): Promise<boolean> {
  const started = performance.now()
  try {
    const checkpoint = await open(guarded(source))
    for (const name of checkpoint.names()) {
      const { sizeBytes, file } = checkpoint.info(name)
      expect(sizeBytes).toBeLessThanOrEqual(await source.size(file))
      const { data } = await checkpoint.read(name)
      expect(data.byteLength).toBe(sizeBytes)
    }
    return true
  } catch (error) {
    if (error instanceof CheckpointError) {
      expect(error.message.length).toBeLessThan(2000)
      return false
    }
    throw error
  } finally {
    expect(performance.now() - started).toBeLessThan(RUN_MS)
  }
}

/** Ways to damage a file: flipped bytes, a cut, a repeated piece, a run of one byte. */
const damage = fc.array(
  fc.record({
    kind: fc.constantFrom("flip", "cut", "repeat", "fill"),
    at: fc.double({ min: 0, max: 1, noNaN: true }),
    length: fc.integer({ min: 1, max: 16 }),
    byte: fc.constantFrom(0, 1, 0x20, 0x7f, 0x80, 0xff, 0x22, 0x30, 0x39, 0x71, 0x28),
  }),
  { minLength: 1, maxLength: 3 },
)
type Damage = typeof damage extends fc.Arbitrary<infer Value> ? Value : never

function apply(bytes: Uint8Array, faults: Damage): Uint8Array {
  let out = bytes.slice()
  for (const { kind, at, length, byte } of faults) {
    const start = Math.floor(at * out.length)
    if (kind === "cut") out = out.slice(0, start)
    else if (kind === "fill") out.fill(byte, start, start + length)
    else if (kind === "flip" && start < out.length) out[start]! ^= byte || 1
    else if (kind === "repeat") {
      out = Uint8Array.from([...out.subarray(0, start + length), ...out.subarray(start)])
    }
  }
  return out
}

async function filesOf(write: (files: Map<string, Uint8Array>) => Promise<unknown>) {
  const files = new Map<string, Uint8Array>()
  await write(files)
  return files
}

test("damaged safetensors", async () => {
  const files = await filesOf((target) => writeSafetensors(memorySink(target), "m", tensors))
  await fc.assert(
    fc.asyncProperty(damage, async (faults) => {
      await survives(oneFile("m", apply(files.get("m")!, faults)), (source) => openSafetensors(source, "m"))
    }),
    RUNS,
  )
})

test("every cut of a safetensors file is noticed when it is opened", async () => {
  const whole = (await filesOf((target) => writeSafetensors(memorySink(target), "m", tensors))).get("m")!
  for (let length = 0; length < whole.length; length++) {
    const opened = survives(oneFile("m", whole.slice(0, length)), (source) => openSafetensors(source, "m"))
    expect(await opened).toBe(false)
  }
})

test("headers that lie", async () => {
  const number = fc.oneof(fc.nat({ max: 40 }), fc.constantFrom(-1, 0.5, 2 ** 31, 2 ** 53, 1e308, "1", null))
  const anyEntry = fc.record(
    {
      dtype: fc.oneof(fc.constantFrom("F32", "BF16", "U8", "BOOL", "I64"), fc.jsonValue()),
      shape: fc.oneof(fc.array(number, { maxLength: 3 }), fc.jsonValue()),
      data_offsets: fc.oneof(fc.array(number, { minLength: 2, maxLength: 2 }), fc.jsonValue()),
    },
    { requiredKeys: [] },
  )
  const header = fc.dictionary(fc.oneof(fc.string(), fc.constant("__metadata__")), fc.oneof(anyEntry, fc.jsonValue()))
  await fc.assert(
    fc.asyncProperty(
      header,
      fc.nat({ max: 40 }),
      fc.option(fc.bigInt(0n, 2n ** 64n - 1n)),
      async (lie, size, length) => {
        const file = rawSafetensors(lie, new Uint8Array(size), length ?? undefined)
        await survives(oneFile("m", file), (source) => openSafetensors(source, "m"))
      },
    ),
    RUNS,
  )
})

test("damaged indices and shards", async () => {
  const plan = [...tensors].map(([name, { dtype, shape }]) => ({ name, dtype, shape }))
  const files = await filesOf((target) =>
    writeCheckpoint(memorySink(target), plan, ({ name }) => [tensors.get(name)!.data], { maxShardBytes: 50 }),
  )
  expect(files.size).toBe(3)
  await fc.assert(
    fc.asyncProperty(damage, fc.constantFrom(...files.keys()), async (faults, path) => {
      const damaged = new Map(files).set(path, apply(files.get(path)!, faults))
      await survives(memorySource(damaged), openCheckpoint)
    }),
    RUNS,
  )
})

test("damaged .pt archives: ours, and the one PyTorch wrote", async () => {
  const files = await filesOf((target) => writePt(memorySink(target), "v.pt", tensors))
  await using folder = openFolder(FIXTURE)
  const torch = await folder.read("assets/Vocos.pt", 0, await folder.size("assets/Vocos.pt"))
  // Most of an archive is data, where damage is harmless: aim at its beginning (the pickle) and its end (the directory).
  const archives = [files.get("v.pt")!, torch]
  const aims = [(size: number) => [0, Math.min(size, 4000)], (size: number) => [Math.max(0, size - 400), size]] as const
  await fc.assert(
    fc.asyncProperty(damage, fc.constantFrom(0, 0, 0, 0, 1), fc.nat({ max: 1 }), async (faults, archive, aim) => {
      const bytes = archives[archive]!
      const [from, to] = aims[aim]!(bytes.length) as [number, number]
      const damaged = [bytes.subarray(0, from), apply(bytes.subarray(from, to), faults), bytes.subarray(to)]
      await survives(oneFile("v.pt", concatenate(damaged)), (source) => openPt(source, "v.pt"))
    }),
    { ...RUNS, numRuns: 800 },
  )
})

test("pickles of random opcodes", async () => {
  const known = [0x28, 0x29, 0x30, 0x31, 0x4b, 0x4e, 0x51, 0x52, 0x5d, 0x61, 0x62, 0x65, 0x68, 0x71, 0x73, 0x74, 0x75]
  const more = [0x7d, 0x85, 0x86, 0x87, 0x88, 0x93, 0x94, 0x58, 0x63, 0x8a, 0x8c, 0x95]
  const opcodes = fc.array(fc.oneof(fc.constantFrom(...known, ...more), fc.nat({ max: 255 })), { maxLength: 60 })
  await fc.assert(
    fc.asyncProperty(opcodes, async (bytes) => {
      const file = await rawPt(pickled(op(...bytes)), { "0": new Uint8Array(4) })
      await survives(oneFile("v.pt", file), (source) => openPt(source, "v.pt"))
    }),
    { ...RUNS, numRuns: 1000 },
  )
})

test("damaged JSON", async () => {
  const text = utf8('{"hidden_size": 64, "names": ["a", "\\u00e9", {"b": [1e3, -0.5, null, true]}]}')
  await fc.assert(
    fc.asyncProperty(damage, async (faults) => {
      try {
        expect(typeof (await readJsonObject(oneFile("c.json", apply(text, faults)), "c.json"))).toBe("object")
      } catch (error) {
        if (!(error instanceof ConfigError)) throw error
        expect(error.message).toMatch(/^c\.json: expected .*, got .* \(.*\)$/)
      }
    }),
    RUNS,
  )
})
