import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { normalizationTable, padBatch, patchify } from "./normalize.ts"
import { rgbImage } from "./rgb-image.ts"
import { goldenTensor } from "./test-goldens.node.ts"

const table = normalizationTable([0.5, 0.5, 0.5], [0.5, 0.5, 0.5])

test("normalized bytes, each step in f32", () => {
  expect([table[1], table[256 + 41], table[512 + 81]].map((value) => value!.toFixed(10))).toEqual([
    "-0.9921568632",
    "-0.6784313917",
    "-0.3647058606",
  ])
  const other = normalizationTable([0.48, 0, 1], [0.27, 1, 2])
  expect([other[0]!, other[256 + 255], other[512]]).toEqual([
    Math.fround(Math.fround(-0.48) / Math.fround(0.27)),
    1,
    -0.5,
  ])
})

test("strip layout: out[c, i, p k + j] is pixel (p row + i, p col + j) of patch k, from any part of the image", () => {
  fc.assert(
    fc.property(
      fc.record({
        patch: fc.integer({ min: 1, max: 5 }),
        rows: fc.integer({ min: 1, max: 4 }),
        cols: fc.integer({ min: 1, max: 4 }),
        left: fc.nat(6),
        top: fc.nat(6),
        extra: fc.nat(3),
      }),
      ({ patch, rows, cols, left, top, extra }) => {
        const [width, height] = [left + cols * patch + extra, top + rows * patch + extra]
        const image = rgbImage(
          width,
          height,
          new Uint8Array(width * height * 3).map((_, i) => (i * 37) ^ (i >> 3)),
        )
        const part = { left, top, width: cols * patch, height: rows * patch }
        const { patches, grid } = patchify(image, part, patch, table)
        expect(grid).toEqual({ rows, cols })
        const line = rows * cols * patch
        for (let i = 0; i < patches.length; i++) {
          const channel = Math.floor(i / (patch * line))
          const k = Math.floor((i % line) / patch)
          const y = top + Math.floor(k / cols) * patch + (Math.floor(i / line) % patch)
          const x = left + (k % cols) * patch + (i % patch)
          expect(patches[i]).toBe(table[channel * 256 + image.data[(y * width + x) * 3 + channel]!])
        }
      },
    ),
    { numRuns: 50 },
  )
})

describe("padBatch", () => {
  test("three golden strips: shapes, mask, sizes, zeros at the right, and the strips unchanged", () => {
    const file = "cases/vision_small.safetensors"
    const golden = goldenTensor(file, "in.pixel_values")
    const sizes = Array.from(goldenTensor(file, "in.tgt_sizes").data as BigInt64Array, Number)
    const [count, , patchSize, width] = golden.shape as [number, number, number, number]
    const strips = Array.from({ length: count }, (_, n) => {
      const grid = { rows: sizes[n * 2]!, cols: sizes[n * 2 + 1]! }
      const line = grid.rows * grid.cols * patchSize
      const patches = new Float32Array(3 * patchSize * line)
      for (let row = 0; row < 3 * patchSize; row++) {
        const from = (n * 3 * patchSize + row) * width
        patches.set((golden.data as Float32Array).subarray(from, from + line), row * line)
      }
      return { patches, grid }
    })
    const batch = padBatch(strips, patchSize)
    expect(batch.pixelValues).toEqual({ dtype: "f32", shape: golden.shape, data: golden.data })
    expect(Array.from(batch.tgtSizes.data)).toEqual(sizes)
    const mask = goldenTensor(file, "in.patch_mask")
    expect(batch.patchMask.shape).toEqual(mask.shape)
    expect(Array.from(batch.patchMask.data)).toEqual(Array.from(mask.data as BigInt64Array, Number))
  })

  test("errors", () => {
    expect(() => padBatch([], 14)).toThrow("padBatch: expected at least one strip, got 0 (leave vision out instead)")
    expect(() => padBatch([{ patches: new Float32Array(5), grid: { rows: 1, cols: 2 } }], 2)).toThrow(
      "padBatch: expected strip 0 to be [3, 2, 4] for 1x2 patches, got 5 values (check patchSize)",
    )
  })
})
