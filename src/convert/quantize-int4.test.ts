/** @file Laws of int4 quantization: error bounds, idempotence, edge cases, packing. */
import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { dequantizeInt4, quantizeInt4 } from "./quantize-int4.ts"
import { heavyTailed, normal, relativeError } from "./weights.test-util.ts"

function quantize(rows: Float32Array, width: number, blockSize: number) {
  const blocks = Math.ceil(width / blockSize)
  const count = rows.length / width
  const target = {
    codes: new Uint8Array((count * blocks * blockSize) / 2),
    scales: new Float32Array(count * blocks),
    blockSize,
    firstRow: 0,
  }
  quantizeInt4(rows, width, target)
  return { ...target, values: dequantizeInt4(target.codes, target.scales, { width, blockSize }) }
}

/** Rows of all magnitudes, with zeros, repeated values and outliers. */
const matrices = fc
  .record({
    width: fc.integer({ min: 1, max: 150 }),
    rows: fc.integer({ min: 1, max: 3 }),
    power: fc.integer({ min: -35, max: 36 }),
  })
  .chain(({ width, rows, power }) => {
    const value = fc.oneof(
      { weight: 6, arbitrary: fc.double({ min: -1, max: 1, noNaN: true }) },
      { weight: 2, arbitrary: fc.constantFrom(0, 1, -1, 0.5, -0.5, 0.0625) },
      { weight: 1, arbitrary: fc.double({ min: -30, max: 30, noNaN: true }) },
    )
    return fc
      .array(value, { minLength: width * rows, maxLength: width * rows })
      .map((values) => ({ width, data: Float32Array.from(values, (x) => x * 10 ** power) }))
  })
const blockSizes = fc.constantFrom(2, 32, 64, 128)

describe("quantizeInt4", () => {
  test("the squared error of a block is at most that of rounding to largest / -8", () => {
    fc.assert(
      fc.property(matrices, blockSizes, ({ width, data }, blockSize) => {
        const { values } = quantize(data, width, blockSize)
        for (let start = 0; start < data.length; start += 1) {
          if ((start % width) % blockSize !== 0) continue
          const end = Math.min(start + blockSize, start - (start % width) + width)
          const block = Array.from(data.subarray(start, end))
          const largest = block.reduce((a, b) => (Math.abs(b) > Math.abs(a) ? b : a), 0)
          const scale = largest / -8
          if (Math.abs(largest) < 1e-36) continue // scales below the normal range are coarse; see denormals
          let plain = 0
          let got = 0
          for (const [i, weight] of block.entries()) {
            const code = scale === 0 ? 0 : Math.max(-8, Math.min(7, Math.round(weight / scale)))
            plain += ((weight - code * scale) / largest || 0) ** 2
            got += ((weight - values[start + i]!) / largest || 0) ** 2
          }
          // The search runs on 15-bit integers: a weight midway between two codes may go to the other one.
          expect(got).toBeLessThanOrEqual(plain * 1.001 + block.length * 1e-9)
        }
      }),
      { numRuns: 300 },
    )
  })

  test("quantizing a dequantized weight gives the same codes, and the same scales but for rounding", () => {
    fc.assert(
      fc.property(matrices, blockSizes, ({ width, data }, blockSize) => {
        const first = quantize(data, width, blockSize)
        const second = quantize(first.values, width, blockSize)
        expect(second.codes).toEqual(first.codes)
        for (const [i, scale] of first.scales.entries()) {
          expect(Math.abs(second.scales[i]! - scale)).toBeLessThanOrEqual(Math.abs(scale) * 2e-7 + 2e-45)
        }
      }),
      { numRuns: 500 },
    )
  })

  test("packs low nibble first, codes + 8, and pads the tail of a row with zeros", () => {
    const { codes, scales } = quantize(Float32Array.of(-8, 7, 3, 0, 1, -1), 3, 4)
    expect(Array.from(scales)).toEqual([1, Math.fround(1 / 7)])
    // -8, 7 | 3, padding; then 0, 7 | -7, padding.
    expect(Array.from(codes)).toEqual([0xf0, 0x8b, 0xf8, 0x81])
  })

  test("zeros, single values and denormals", () => {
    const zeros = quantize(new Float32Array(40), 40, 32)
    expect(Array.from(zeros.scales)).toEqual([0, 0])
    expect(zeros.codes.every((byte) => byte === 0x88)).toBe(true)
    for (const value of [1, -1, 3e-45, -1e-40, 3e38, -3.4e38]) {
      const row = new Float32Array(32)
      row[7] = value
      const { values } = quantize(row, 32, 32)
      // Steps of a scale below the normal range are coarse.
      expect(Math.abs(values[7]! - row[7]!)).toBeLessThanOrEqual(Math.abs(row[7]!) * 1e-6 + 1.2e-44)
      expect(values.filter((x) => x !== 0).length).toBeLessThanOrEqual(1)
      expect(values.every(Number.isFinite)).toBe(true)
    }
  })

  test("writes rows at their place in a larger weight", () => {
    const data = normal(4 * 64, 1)
    const whole = quantize(data, 64, 32)
    const target = { codes: new Uint8Array(4 * 32), scales: new Float32Array(8), blockSize: 32 }
    quantizeInt4(data.slice(2 * 64), 64, { ...target, firstRow: 2 })
    quantizeInt4(data.slice(0, 2 * 64), 64, { ...target, firstRow: 0 })
    expect(target.codes).toEqual(whole.codes)
    expect(target.scales).toEqual(whole.scales)
  })

  test("error on normal and heavy-tailed weights, by block", () => {
    // Plain rounding to the maximum with codes ±7 gives 0.097, 0.108, 0.117 and 0.131, 0.160, 0.192.
    const bounds = { normal: { 32: 0.0825, 64: 0.0915, 128: 0.0985 }, heavy: { 32: 0.114, 64: 0.138, 128: 0.163 } }
    for (const [kind, data] of [
      ["normal", normal(128 * 400, 0.02)],
      ["heavy", heavyTailed(128 * 400, 0.02)],
    ] as const) {
      for (const blockSize of [32, 64, 128] as const) {
        const error = relativeError(quantize(data, 128, blockSize).values, data)
        expect(error, `${kind} ${blockSize}`).toBeLessThan(bounds[kind][blockSize])
      }
    }
  })
})
