/** @file Laws of int8 quantization: error bounds, idempotence, layout. */
import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { dequantizeInt8, quantizeInt8 } from "./quantize-int8.ts"
import { normal } from "./weights.test-util.ts"

function quantize(rows: Float32Array, width: number) {
  const count = rows.length / width
  const target = { codes: new Int8Array(rows.length), scales: new Float32Array(count), firstRow: 0 }
  quantizeInt8(rows, width, target)
  return { ...target, values: dequantizeInt8(target.codes, target.scales) }
}

const matrices = fc
  .record({
    width: fc.constantFrom(1, 3, 8, 200),
    rows: fc.integer({ min: 1, max: 70 }),
    power: fc.integer({ min: -30, max: 34 }),
    seed: fc.nat(1e6),
    outlier: fc.constantFrom(0, 100),
  })
  .map(({ width, rows, power, seed, outlier }) => {
    const data = normal(width * rows, 10 ** power, seed)
    if (outlier) data[seed % data.length] = outlier * 10 ** power
    return { width, data }
  })

describe("quantizeInt8", () => {
  test("each weight is off by at most half a step", () => {
    fc.assert(
      fc.property(matrices, ({ width, data }) => {
        const { codes, scales } = quantize(data, width)
        const outer = scales.length
        for (let row = 0; row < outer; row++) {
          for (let i = 0; i < width; i++) {
            const error = data[row * width + i]! - codes[i * outer + row]! * scales[row]!
            expect(Math.abs(error)).toBeLessThanOrEqual(0.5001 * scales[row]!)
          }
        }
      }),
      { numRuns: 60 },
    )
  })

  test("quantizing a dequantized weight gives the same codes", () => {
    fc.assert(
      fc.property(matrices, ({ width, data }) => {
        const first = quantize(data, width)
        const second = quantize(first.values, width)
        expect(second.codes).toEqual(first.codes)
        for (const [i, scale] of first.scales.entries()) expect(second.scales[i]! / scale).toBeCloseTo(1, 5)
      }),
      { numRuns: 60 },
    )
  })

  test("rows of zeros and of denormals", () => {
    const data = new Float32Array(3 * 8)
    data[8 + 3] = 1e-45
    data[16 + 2] = -1e-41
    const { codes, scales, values } = quantize(data, 8)
    expect(scales[0]).toBe(0)
    expect(codes.filter((code, at) => code !== 0 && at % 3 !== 2).length).toBe(0)
    expect(values[16 + 2]! / 1e-41).toBeCloseTo(-1, 1)
  })

  test("writes codes transposed, at the rows' place", () => {
    const data = normal(100 * 64, 1)
    const whole = quantize(data, 64)
    const target = { codes: new Int8Array(data.length), scales: new Float32Array(100) }
    quantizeInt8(data.slice(30 * 64), 64, { ...target, firstRow: 30 })
    quantizeInt8(data.slice(0, 30 * 64), 64, { ...target, firstRow: 0 })
    expect(target.codes).toEqual(whole.codes)
    expect(target.scales).toEqual(whole.scales)
    const small = quantize(Float32Array.of(127, 1, 2, 254, 4, 6), 3)
    expect(Array.from(small.codes)).toEqual([127, 127, 1, 2, 2, 3])
    expect(Array.from(small.scales)).toEqual([1, 2])
  })
})
