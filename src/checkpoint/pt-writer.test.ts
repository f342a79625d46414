import { expect, test } from "vitest"
import { f32, type HostTensor, i64, tensor } from "../tensor/index.ts"
import { openFolder } from "./folder.node.ts"
import { openPt } from "./pt.ts"
import { writePt } from "./pt-writer.ts"
import { memorySink } from "./sink.ts"
import { memorySource } from "./source.ts"
import { sameBits, utf8 } from "./test-support.ts"
import { readZip } from "./zip.ts"
import { crc32 } from "./zip-writer.ts"

const FIXTURE = new URL("../../test/fixtures/tiny-a/checkpoint", import.meta.url).pathname

async function write(tensors: ReadonlyMap<string, HostTensor>) {
  const files = new Map<string, Uint8Array>()
  await writePt(memorySink(files), "assets/Vocos.pt", tensors)
  return memorySource(files)
}

test("what is written is read back", async () => {
  const tensors = new Map<string, HostTensor>([
    ["a.é.weight", f32([2, 3], [1, 2, 3, 4, 5, 6])],
    ["scalar", i64([], [-7])],
    ["empty", f32([0, 3], [])],
    ["half", tensor("f16", [2], Uint16Array.of(1, 2))],
    ["brain", tensor("bf16", [1, 1, 1, 2], Uint16Array.of(3, 4))],
    ["flags", tensor("bool", [3], Uint8Array.of(1, 0, 1))],
    ["part of a larger buffer", tensor("f32", [1], Float32Array.of(8, 9, 10).subarray(1, 2))],
    ["many", tensor("u8", [70000], new Uint8Array(70000).fill(5))],
  ])
  const read = await openPt(await write(tensors), "assets/Vocos.pt")
  expect(read.names()).toEqual([...tensors.keys()])
  for (const [name, value] of tensors) {
    const stored = await read.read(name)
    expect([stored.dtype, stored.shape, stored.data]).toEqual([value.dtype, value.shape, value.data])
  }
})

test("rewrites the vocoder of the test checkpoint in PyTorch's layout", async () => {
  await using folder = openFolder(FIXTURE)
  const original = await openPt(folder, "assets/Vocos.pt")
  const tensors = new Map<string, HostTensor>()
  for (const name of original.names()) tensors.set(name, await original.read(name))
  const source = await write(tensors)
  const copy = await openPt(source, "assets/Vocos.pt")
  expect(copy.names()).toEqual(original.names())
  for (const name of copy.names()) expect(sameBits(await copy.read(name), await original.read(name))).toBe(true)

  const entries = await readZip(source, "assets/Vocos.pt")
  const text = async (name: string) => {
    const { start, sizeBytes } = entries.get(`Vocos/${name}`)!
    return new TextDecoder().decode(await source.read("assets/Vocos.pt", start, sizeBytes))
  }
  expect([await text("version"), await text("byteorder")]).toEqual(["3\n", "little"])
  expect([...entries.values()].every(({ start }) => start % 64 === 0)).toBe(true)
})

test("the checksum is that of the ZIP format", () => {
  expect(crc32(utf8("123456789"))).toBe(0xcbf43926)
  expect(crc32(new Uint8Array(0))).toBe(0)
})

test("refuses an empty state dict", async () => {
  await expect(write(new Map())).rejects.toThrow("assets/Vocos.pt: expected at least one tensor, got none")
})
