import { expect, test } from "vitest"
import { bf16BitsToF32, f32, sizeOf } from "../tensor/index.ts"
import { CheckpointError, ShapeError } from "../util/index.ts"
import { readText } from "./config-file.ts"
import { openFolder } from "./folder.node.ts"
import { INDEX_FILE, openCheckpoint, openSafetensors } from "./safetensors.ts"
import { memorySource } from "./source.ts"
import { guarded, oneFile, rawSafetensors, utf8 } from "./test-support.ts"

const FIXTURE = new URL("../../test/fixtures/tiny-a/checkpoint", import.meta.url).pathname
const entry = (dtype: unknown, shape: unknown, offsets: unknown) => ({ dtype, shape, data_offsets: offsets })
const bytes = (count: number) => Uint8Array.from({ length: count }, (_, index) => index)
const open = (file: Uint8Array) => openSafetensors(oneFile("m.safetensors", file), "m.safetensors")

test("reads tensors, rows and chunks in the stored dtype", async () => {
  const header = {
    __metadata__: { format: "pt" },
    a: entry("U8", [3], [0, 3]), // leaves everything after it unaligned, which the format allows
    b: entry("I32", [4, 2], [3, 35]),
    scalar: entry("F32", [], [35, 39]),
    empty: entry("F16", [0, 4], [39, 39]),
    flags: entry("BOOL", [2], [39, 41]),
    wide: entry("I64", [1], [41, 49]),
  }
  const data = new Uint8Array(49)
  const view = new DataView(data.buffer)
  for (let i = 0; i < 8; i++) view.setInt32(3 + 4 * i, i * 100, true)
  view.setFloat32(35, 1.5, true)
  data[40] = 1
  view.setBigInt64(41, -5n, true)
  const source = guarded(oneFile("m.safetensors", rawSafetensors(header, data)))
  const checkpoint = await openSafetensors(source, "m.safetensors")
  expect(new Set(checkpoint.names())).toEqual(new Set(Object.keys(header).slice(1)))
  expect(checkpoint.metadata.get("format")).toBe("pt")
  expect(checkpoint.info("b")).toEqual({ dtype: "i32", shape: [4, 2], file: "m.safetensors", sizeBytes: 32 })
  expect(await checkpoint.read("b")).toEqual({
    dtype: "i32",
    shape: [4, 2],
    data: Int32Array.of(0, 100, 200, 300, 400, 500, 600, 700),
  })
  expect(await checkpoint.read("scalar")).toEqual({ dtype: "f32", shape: [], data: Float32Array.of(1.5) })
  expect(await checkpoint.read("empty")).toEqual({ dtype: "f16", shape: [0, 4], data: new Uint16Array(0) })
  expect((await checkpoint.read("flags")).data).toEqual(Uint8Array.of(0, 1))
  expect((await checkpoint.read("wide")).data).toEqual(BigInt64Array.of(-5n))

  source.calls.length = 0
  const rows = await checkpoint.readRows("b", 1, 2)
  expect([rows.shape, rows.data]).toEqual([[2, 2], Int32Array.of(200, 300, 400, 500)])
  expect(source.calls.map(({ length }) => length)).toEqual([16])
  const chunks = await Array.fromAsync(checkpoint.rowChunks("b", 31))
  expect(chunks.map(({ firstRow, tensor }) => [firstRow, tensor.shape])).toEqual([
    [0, [3, 2]],
    [3, [1, 2]],
  ])
  expect((await Array.fromAsync(checkpoint.rowChunks("b", 1))).length).toBe(4)
  expect((await Array.fromAsync(checkpoint.rowChunks("scalar", 1)))[0]?.tensor.shape).toEqual([])
  expect(await Array.fromAsync(checkpoint.rowChunks("empty", 1))).toEqual([])

  await expect(checkpoint.readRows("b", 3, 2)).rejects.toThrow(ShapeError)
  await expect(checkpoint.readRows("b", 3, 2)).rejects.toThrow("b: expected rows inside [4, 2], got 2 from 3")
  await expect(checkpoint.readRows("scalar", 0, 1)).rejects.toThrow("scalar: expected rows inside [], got 1 from 0")
  await expect(checkpoint.readF32("b")).rejects.toThrow("b: expected a tensor of floats, got i32")
  await expect(checkpoint.read("c")).rejects.toThrow('"c": expected a tensor of m.safetensors, got none')
})

test("widens every float dtype, in pieces when it is large", async () => {
  const f64 = new Uint8Array(Float64Array.of(0.5, -3).buffer)
  const halves = new Uint8Array(Uint16Array.of(0x3c00, 0xc000).buffer)
  const count = 2 ** 24 + 3 // more than one piece of bf16 rows
  const large = new Uint16Array(count).fill(0x3f80)
  large[count - 1] = 0xc040
  const header = {
    d: entry("F64", [2], [0, 16]),
    h: entry("F16", [2], [16, 20]),
    l: entry("BF16", [count], [20, 20 + count * 2]),
  }
  const checkpoint = await open(rawSafetensors(header, Buffer.concat([f64, halves, new Uint8Array(large.buffer)])))
  expect(await checkpoint.readF32("d")).toEqual(f32([2], [0.5, -3]))
  expect(await checkpoint.readF32("h")).toEqual(f32([2], [1, -2]))
  const { data } = await checkpoint.readF32("l")
  expect([data.length, data[0], data[2 ** 24], data[count - 1]]).toEqual([count, 1, 1, -3])
})

test.each([
  ["a file without length", bytes(7), "m.safetensors: expected a safetensors file of at least 8 bytes, got 7"],
  [
    "a header longer than the file",
    rawSafetensors({}, bytes(0), 99n),
    "expected a header of 99 bytes, got a file of 10",
  ],
  [
    "a huge header",
    rawSafetensors({}, bytes(0), 2n ** 63n),
    "expected a header of at most 100000000 bytes, got 9223372",
  ],
  ["no JSON", rawSafetensors("{nonsense}", bytes(0)), 'm.safetensors header: expected JSON, got an unexpected "n"'],
  ["an array", rawSafetensors("[]", bytes(0)), 'expected a header that starts with "{", got byte 91'],
  ["an empty header", rawSafetensors("", bytes(0)), 'expected a header that starts with "{", got byte none'],
  ["an entry that is no object", rawSafetensors({ a: 3 }, bytes(0)), '"a": expected an object with dtype, shape and'],
  [
    "a duplicate",
    rawSafetensors(
      '{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8",' + '"shape":[1],"data_offsets":[0,1]}}',
      bytes(1),
    ),
    'expected unique names in the header, got "a" twice',
  ],
  [
    "an unknown dtype",
    rawSafetensors({ a: entry("F8_E4M3", [1], [0, 1]) }, bytes(1)),
    'got "F8_E4M3" (use a checkpoint',
  ],
  ["a dtype that is an object", rawSafetensors({ a: entry({ toString: 1 }, [1], [0, 1]) }, bytes(1)), "got an object"],
  ["a negative size", rawSafetensors({ a: entry("U8", [-1], [0, 1]) }, bytes(1)), "whole numbers, got [-1]"],
  ["a fraction", rawSafetensors({ a: entry("U8", [0.5], [0, 1]) }, bytes(1)), "whole numbers, got [0.5]"],
  ["no shape", rawSafetensors({ a: { dtype: "U8", data_offsets: [0, 1] } }, bytes(1)), "numbers, got nothing"],
  [
    "falling offsets",
    rawSafetensors({ a: entry("U8", [1], [1, 0]) }, bytes(1)),
    "increasing whole numbers, got [1, 0]",
  ],
  ["three offsets", rawSafetensors({ a: entry("U8", [1], [0, 1, 2]) }, bytes(1)), "whole numbers, got [0, 1, 2]"],
  [
    "a wrong size",
    rawSafetensors({ a: entry("F32", [2], [0, 4]) }, bytes(4)),
    '"a": expected 8 bytes for F32 [2], got 4',
  ],
  [
    "a product beyond 2^53",
    rawSafetensors({ a: entry("U8", [2 ** 40, 2 ** 40], [0, 0]) }, bytes(0)),
    "for U8 [1099511",
  ],
  [
    "an overlap",
    rawSafetensors({ a: entry("U8", [4], [0, 4]), b: entry("U8", [4], [2, 6]) }, bytes(6)),
    '"b": expected data from byte 4, got an overlap at byte 2',
  ],
  [
    "a gap",
    rawSafetensors({ a: entry("U8", [1], [0, 1]), b: entry("U8", [1], [2, 3]) }, bytes(3)),
    '"b": expected data from byte 1, got a gap at byte 2',
  ],
  [
    "a cut file",
    rawSafetensors({ a: entry("U8", [9], [0, 9]) }, bytes(8)),
    "expected 70 bytes as its header says, got a file of 69 bytes (the file is damaged or incomplete; download it again)",
  ],
  ["bytes after the data", rawSafetensors({ a: entry("U8", [9], [0, 9]) }, bytes(10)), "got a file of 71 bytes"],
  [
    "metadata that is no text",
    rawSafetensors({ __metadata__: { a: 1 } }, bytes(0)),
    '__metadata__ of strings, got "a": 1',
  ],
])("refuses %s", async (_, file, message) => {
  await expect(open(file)).rejects.toThrow(CheckpointError)
  await expect(open(file)).rejects.toThrow(message)
})

test("refuses bool elements that are neither 0 nor 1", async () => {
  const checkpoint = await open(rawSafetensors({ a: entry("BOOL", [2], [0, 2]) }, Uint8Array.of(1, 2)))
  await expect(checkpoint.read("a")).rejects.toThrow(
    "m.safetensors: a: expected bool elements of 0 or 1, got other values",
  )
})

const shard = (name: string) => rawSafetensors({ [name]: entry("U8", [2], [0, 2]) }, bytes(2))
const folder = (index: unknown, files: Record<string, Uint8Array> = { "1": shard("a"), "2": shard("b") }) =>
  memorySource(
    new Map([...Object.entries(files), ["model.safetensors.index.json", utf8(JSON.stringify(index))]]),
    "models/x",
  )

test("opens shards through their index", async () => {
  const checkpoint = await openCheckpoint(folder({ weight_map: { a: "1", b: "2" } }))
  expect(checkpoint.names()).toEqual(["a", "b"])
  expect(checkpoint.info("b").file).toBe("2")
  expect(checkpoint.name).toBe("model.safetensors.index.json")
})

test.each([
  ["no map", {}, "model.safetensors.index.json: expected an object weight_map, got nothing"],
  ["a missing shard", { weight_map: { a: "1", b: "3" } }, 'expected the shard "3" in models/x, got none (download it)'],
  [
    "a tensor that is not in its shard",
    { weight_map: { a: "1", b: "2", c: "2" } },
    '2: expected the tensor "c" that model.safetensors.index.json lists, got none',
  ],
  [
    "a tensor that is not listed",
    { weight_map: { a: "1", c: "2" } },
    'expected "b" in "2", where it is stored, got no entry',
  ],
  ["a tensor in another shard", { weight_map: { a: "1", b: "1", c: "2" } }, 'it is stored, got an entry for "1"'],
  ["a path that leads out", { weight_map: { a: "../1" } }, 'expected a relative path inside the folder, got "../1"'],
  ["an absolute path", { weight_map: { a: "/1" } }, 'expected a relative path inside the folder, got "/1"'],
  ["a file name that is no text", { weight_map: { a: 1 } }, 'expected a file name for "a", got 1'],
])("refuses an index with %s", async (_, index, message) => {
  await expect(openCheckpoint(folder(index))).rejects.toThrow(CheckpointError)
  await expect(openCheckpoint(folder(index))).rejects.toThrow(message)
})

test("says what a folder without checkpoint lacks", async () => {
  const message = "models/x: expected model.safetensors or model.safetensors.index.json, got neither"
  await expect(openCheckpoint(memorySource(new Map(), "models/x"))).rejects.toThrow(message)
})

test("reads the whole test checkpoint: bf16 in two shards", async () => {
  await using source = openFolder(FIXTURE)
  const checkpoint = await openCheckpoint(source)
  const names = checkpoint.names()
  const index = JSON.parse(await readText(source, INDEX_FILE))
  expect(new Set(names)).toEqual(new Set(Object.keys(index.weight_map)))
  let totalBytes = 0
  for (const name of names) {
    const info = checkpoint.info(name)
    const stored = await checkpoint.read(name)
    const wide = await checkpoint.readF32(name)
    expect([stored.dtype, stored.shape, info.file]).toEqual([info.dtype, info.shape, index.weight_map[name]])
    expect(wide.data.length).toBe(sizeOf(info.shape))
    const middle = wide.data.length >> 1
    expect(wide.data[middle]).toBe(bf16BitsToF32(Number(stored.data[middle])))
    totalBytes += info.sizeBytes
  }
  expect(totalBytes).toBe(index.metadata.total_size)
  // The first elements, taken from the shard's bytes with another tool.
  const first = await checkpoint.readRows("llm.lm_head.weight", 0, 1)
  expect([...first.data.slice(0, 3)]).toEqual(SPOT_BITS)
})

const SPOT_BITS = [48734, 16133, 15313]
