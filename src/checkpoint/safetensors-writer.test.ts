import fc from "fast-check"
import { expect, test } from "vitest"
import { allocate, DTYPES, dtypeBytes, f32, type HostTensor, sizeOf } from "../tensor/index.ts"
import { CheckpointError } from "../util/index.ts"
import { openCheckpoint, openSafetensors } from "./safetensors.ts"
import { type TensorProducer, writeCheckpoint, writeSafetensors } from "./safetensors-writer.ts"
import { memorySink } from "./sink.ts"
import { memorySource } from "./source.ts"
import { sameBits } from "./test-support.ts"

/** Any tensors under any names, `__proto__` and control characters included. */
const tensorMaps = fc.array(
  fc.tuple(
    fc.oneof(fc.string({ unit: "binary" }), fc.constantFrom("__proto__", "0", "constructor")),
    fc.constantFrom(...DTYPES),
    fc.array(fc.nat({ max: 4 }), { maxLength: 3 }),
    fc.infiniteStream(fc.nat({ max: 255 })),
  ),
  { maxLength: 12 },
)

type TensorSpecs = typeof tensorMaps extends fc.Arbitrary<infer Value> ? Value : never

function toTensors(specs: TensorSpecs): Map<string, HostTensor> {
  return new Map(
    specs.map(([name, dtype, shape, stream]) => {
      const data = allocate(dtype, sizeOf(shape))
      const bytes = new Uint8Array(data.buffer)
      for (let i = 0; i < bytes.length; i++) bytes[i] = stream.next().value! & (dtype === "bool" ? 1 : 255)
      return [name.isWellFormed() ? name : name.toWellFormed(), { dtype, shape, data }]
    }),
  )
}

const planOf = (tensors: ReadonlyMap<string, HostTensor>) =>
  [...tensors].map(([name, { dtype, shape }]) => ({ name, dtype, shape }))

/** Delivers each tensor in pieces of three bytes. */
const inPieces = (tensors: ReadonlyMap<string, HostTensor>): TensorProducer =>
  async function* ({ name }) {
    const { data } = tensors.get(name)!
    const bytes = new Uint8Array(data.buffer)
    for (let at = 0; at < bytes.length; at += 3) yield bytes.subarray(at, at + 3)
  }

test("what is written is read back, whatever the tensors, pieces and shards", async () => {
  await fc.assert(
    fc.asyncProperty(tensorMaps, fc.integer({ min: 1, max: 200 }), async (specs, maxShardBytes) => {
      const tensors = toTensors(specs)
      const files = new Map<string, Uint8Array>()
      const result = await writeCheckpoint(memorySink(files), planOf(tensors), inPieces(tensors), { maxShardBytes })
      expect(new Set(files.keys())).toEqual(new Set(result.files))
      const checkpoint = await openCheckpoint(memorySource(files))
      expect(new Set(checkpoint.names())).toEqual(new Set(tensors.keys()))
      for (const [name, tensor] of tensors) {
        expect(sameBits(await checkpoint.read(name), tensor)).toBe(true)
        const chunks = await Array.fromAsync(checkpoint.rowChunks(name, 5))
        const rows = chunks.flatMap((chunk) => [...chunk.tensor.data].map(String))
        expect(rows).toEqual([...tensor.data].map(String))
      }
    }),
    { numRuns: 150 },
  )
})

const plan = (name: string, rows: number, dtype: "f32" | "u8" = "f32") => ({ name, dtype, shape: [rows] })
const zeros: TensorProducer = ({ dtype, shape }) => [new Uint8Array(sizeOf(shape) * dtypeBytes(dtype))]

test("shards have official names, stay below the limit, and the index comes last", async () => {
  const files = new Map<string, Uint8Array>([["model.safetensors", new Uint8Array(1)]])
  const tensors = [plan("a", 10), plan("b", 10), plan("c", 30), plan("d", 1)]
  const result = await writeCheckpoint(memorySink(files), tensors, zeros, { maxShardBytes: 80 })
  expect(result).toEqual({
    files: [
      "model-00001-of-00003.safetensors",
      "model-00002-of-00003.safetensors",
      "model-00003-of-00003.safetensors",
      "model.safetensors.index.json",
    ],
    totalBytes: 204,
  })
  const index = JSON.parse(new TextDecoder().decode(files.get("model.safetensors.index.json")))
  expect(index.metadata).toEqual({ total_size: 204 })
  expect(Object.values(index.weight_map)).toEqual([0, 0, 1, 2].map((shard) => result.files[shard]))
  expect(files.has("model.safetensors")).toBe(false) // it would be opened instead
})

test("a single file replaces an index, starts its data at a multiple of 8 and puts wide dtypes first", async () => {
  const files = new Map<string, Uint8Array>([["model.safetensors.index.json", new Uint8Array(1)]])
  await writeCheckpoint(memorySink(files), [plan("bytes", 3, "u8"), plan("floats", 2)], zeros)
  expect([...files.keys()]).toEqual(["model.safetensors"])
  const bytes = files.get("model.safetensors")!
  const headerBytes = Number(new DataView(bytes.buffer).getBigUint64(0, true))
  expect(headerBytes % 8).toBe(0)
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + headerBytes)))
  expect(header).toEqual({
    __metadata__: { format: "pt" },
    floats: { dtype: "F32", shape: [2], data_offsets: [0, 8] },
    bytes: { dtype: "U8", shape: [3], data_offsets: [8, 11] },
  })
})

test("one named file with its own metadata", async () => {
  const files = new Map<string, Uint8Array>()
  const options = { metadata: { maker: "test" } }
  await writeSafetensors(memorySink(files), "x/y.safetensors", new Map([["a", f32([2], [1, 2])]]), options)
  const checkpoint = await openSafetensors(memorySource(files), "x/y.safetensors")
  expect(checkpoint.metadata).toEqual(new Map([["maker", "test"]]))
  expect(await checkpoint.read("a")).toEqual(f32([2], [1, 2]))
})

test.each([
  ["too few", [new Uint8Array(7)], "expected 8 bytes, got 7 (the producer and the plan disagree)"],
  ["too many", [new Uint8Array(7), new Uint8Array(7)], "expected 8 bytes, got at least 14 (the producer"],
])("a producer of %s bytes leaves what was there", async (_, pieces, message) => {
  const old = new Uint8Array(1)
  const files = new Map<string, Uint8Array>([["model.safetensors", old]])
  const write = writeCheckpoint(memorySink(files), [plan("a", 2)], () => pieces)
  await expect(write).rejects.toThrow(CheckpointError)
  await expect(write).rejects.toThrow(`model.safetensors: "a": ${message}`)
  expect([...files]).toEqual([["model.safetensors", old]])
})

test.each([
  [[plan("a", 1), plan("a", 2)], '"a"'],
  [[plan("__metadata__", 1)], '"__metadata__"'],
])("refuses the plan %j", async (tensors, name) => {
  const write = writeCheckpoint(memorySink(new Map()), tensors, zeros)
  await expect(write).rejects.toThrow(`checkpoint plan: expected unique tensor names, got ${name} (rename the tensor)`)
})

test("stops when aborted and leaves nothing", async () => {
  const files = new Map<string, Uint8Array>()
  const signal = AbortSignal.abort()
  const write = writeCheckpoint(memorySink(files), [plan("a", 1)], zeros, { signal })
  await expect(write).rejects.toBe(signal.reason)
  expect(files.size).toBe(0)
})
