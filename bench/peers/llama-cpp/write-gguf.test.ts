import { mkdtemp, readdir, readFile, rm, truncate } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { FULL_DIMS, type GgufTensor, ggufLayout } from "./gguf-layout.ts"
import { writeGguf } from "./write-gguf.ts"

const DIMS = { layers: 1, hidden: 512, ffn: 1024, heads: 4, kvHeads: 2, vocab: 1024 }

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "omni-gguf-"))
})
afterAll(() => rm(folder, { recursive: true }))

/** Root mean square of a tensor's weights: reads the blocks independently of the writer, in any order within one. */
function deviation(bytes: DataView, type: GgufTensor["type"]): number {
  let sum = 0
  let count = 0
  const block = type === "Q4_0" ? 18 : 210
  for (let at = 0; at < bytes.byteLength; at += block) {
    const scale = bytes.getFloat16(at + (type === "Q4_0" ? 0 : 208), true)
    for (let i = 0; i < (type === "Q4_0" ? 32 : 256); i++) {
      let weight: number
      if (type === "Q4_0") {
        const byte = bytes.getUint8(at + 2 + (i & 15))
        weight = scale * ((i < 16 ? byte & 15 : byte >> 4) - 8)
      } else {
        const low = (bytes.getUint8(at + (i >> 1)) >> (4 * (i & 1))) & 15
        const high = (bytes.getUint8(at + 128 + (i >> 2)) >> (2 * (i & 3))) & 3
        weight = scale * bytes.getInt8(at + 192 + (i >> 4)) * (low + 16 * high - 32)
      }
      sum += weight * weight
      count++
    }
  }
  return Math.sqrt(sum / count)
}

describe("ggufLayout", () => {
  test("the full model has the size and types of a real Q4_0 file", () => {
    const { tensors, totalBytes } = ggufLayout(FULL_DIMS)
    expect(tensors).toHaveLength(28 * 12 + 3)
    expect(totalBytes / 1e9).toBeCloseTo(4.43, 2)
    expect(tensors.find(({ name }) => name === "output.weight")?.type).toBe("Q6_K")
    expect(tensors.find(({ name }) => name === "token_embd.weight")?.type).toBe("Q4_0")
    expect(tensors.every(({ offset }) => offset % 32 === 0)).toBe(true)
  })

  test("refuses sizes that do not fill a block", () => {
    expect(() => ggufLayout({ ...DIMS, hidden: 500 })).toThrow(
      "gguf layout: expected hidden to be a multiple of 256, got 500",
    )
    expect(() => ggufLayout({ ...DIMS, kvHeads: 3 })).toThrow(
      "gguf layout: expected heads to be a multiple of 3, got 4",
    )
    expect(() => ggufLayout({ ...DIMS, vocab: 100 })).toThrow("expected a vocab of 512 or more, got 100")
  })
})

describe("writeGguf", () => {
  test("fills every tensor with finite weights that keep the scale of activations", async () => {
    const { path } = await writeGguf(folder, DIMS)
    const { tensors, header, totalBytes } = ggufLayout(DIMS)
    const file = await readFile(path)
    expect(file.byteLength).toBe(totalBytes)
    expect(file.subarray(0, header.byteLength).equals(header)).toBe(true)
    expect(file.toString("latin1", 0, 4)).toBe("GGUF")
    for (const { name, type, dims, offset, bytes } of tensors) {
      if (type === "F32") continue
      const view = new DataView(file.buffer, file.byteOffset + header.byteLength + offset, bytes)
      const ratio = deviation(view, type) * Math.sqrt(dims[0]!)
      expect(ratio, name).toBeGreaterThan(0.9)
      expect(ratio, name).toBeLessThan(1.15)
    }
  })

  test("reuses a complete file, replaces a cut one, and leaves nothing else behind", async () => {
    const first = await writeGguf(folder, DIMS)
    const content = await readFile(first.path)
    expect((await writeGguf(folder, DIMS)).reused).toBe(true)
    await truncate(first.path, 1000)
    expect((await writeGguf(folder, DIMS)).reused).toBe(false)
    expect((await readFile(first.path)).equals(content)).toBe(true)
    expect(await readdir(folder)).toHaveLength(1)
  })
})
