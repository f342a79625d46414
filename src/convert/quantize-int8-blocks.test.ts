/** @file Laws of 8-bit blocks: error bounds, idempotence, layout of ragged rows. */
import fc from "fast-check"
import { expect, test } from "vitest"
import { dequantizeInt8Blocks, quantizeInt8Blocks } from "./quantize-int8-blocks.ts"
import { normal } from "./weights.test-util.ts"

function quantize(rows: Float32Array, width: number, blockSize: number) {
  const count = rows.length / width
  const blocks = Math.ceil(width / blockSize)
  const target = { codes: new Uint8Array(count * blocks * blockSize), scales: new Float32Array(count * blocks) }
  quantizeInt8Blocks(rows, width, { ...target, blockSize, firstRow: 0 })
  return { ...target, values: dequantizeInt8Blocks(target.codes, target.scales, { width, blockSize }) }
}

const matrices = fc
  .record({
    width: fc.constantFrom(1, 3, 64, 200),
    rows: fc.integer({ min: 1, max: 20 }),
    power: fc.integer({ min: -30, max: 34 }),
    seed: fc.nat(1e6),
    blockSize: fc.constantFrom(32, 64, 128),
  })
  .map(({ width, rows, power, seed, blockSize }) => {
    return { width, blockSize, data: normal(width * rows, 10 ** power, seed) }
  })

test("each weight is off by at most half a step of its block, and the codes say the same again", () => {
  fc.assert(
    fc.property(matrices, ({ width, data, blockSize }) => {
      const first = quantize(data, width, blockSize)
      const blocks = Math.ceil(width / blockSize)
      for (const [i, value] of data.entries()) {
        const scale = first.scales[Math.floor(i / width) * blocks + Math.floor((i % width) / blockSize)]!
        expect(Math.abs(value - first.values[i]!)).toBeLessThanOrEqual(0.5001 * scale)
      }
      expect(quantize(first.values, width, blockSize).codes).toEqual(first.codes)
    }),
    { numRuns: 60 },
  )
})

test("rows lie one after the other, blocks are filled up with zeros, and zeros stay zero", () => {
  const { codes, scales } = quantize(Float32Array.of(127, -1, 2, 0, 0, 0), 3, 32)
  expect(Array.from(codes.slice(0, 5))).toEqual([255, 127, 130, 128, 128])
  expect(new Set(codes.slice(32))).toEqual(new Set([128]))
  expect(Array.from(scales)).toEqual([1, 0])
})

test("rows may come in any order", () => {
  const data = normal(10 * 100, 1)
  const whole = quantize(data, 100, 64)
  const target = { codes: new Uint8Array(whole.codes.length), scales: new Float32Array(whole.scales.length) }
  quantizeInt8Blocks(data.slice(300), 100, { ...target, blockSize: 64, firstRow: 3 })
  quantizeInt8Blocks(data.slice(0, 300), 100, { ...target, blockSize: 64, firstRow: 0 })
  expect(target).toEqual({ codes: whole.codes, scales: whole.scales })
})
