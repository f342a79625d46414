/** @file Laws of the block rotation: orthonormal, its own inverse, and the matrix that the definition gives. */
import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { hadamardBlock, rotateRows } from "./hadamard.ts"

function popcount(value: number): number {
  let count = 0
  for (let rest = value; rest > 0; rest >>>= 1) count += rest & 1
  return count
}

const blocks = fc.constantFrom(1, 2, 4, 8, 16, 32, 64, 128)
const values = (length: number) =>
  fc.float32Array({ minLength: length, maxLength: length, min: -1000, max: 1000, noNaN: true })
/** Rows of blocks, with the block's size and the rows' width. */
const rotations = fc
  .record({ block: blocks, perRow: fc.integer({ min: 1, max: 3 }), rows: fc.integer({ min: 0, max: 3 }) })
  .chain(({ block, perRow, rows }) =>
    fc.record({ block: fc.constant(block), width: fc.constant(block * perRow), data: values(rows * perRow * block) }),
  )

describe("hadamardBlock", () => {
  test("is the largest power of two that divides the width, at most 128", () => {
    const table = { 3584: 128, 18944: 128, 1152: 128, 4304: 16, 320: 64, 48: 16, 7: 1, 1: 1, 96: 32 }
    for (const [width, block] of Object.entries(table)) expect(hadamardBlock(Number(width)), width).toBe(block)
  })

  test("refuses widths that are not counts", () => {
    expect(() => hadamardBlock(0)).toThrow("internal: hadamardBlock: expected a positive width, got 0")
  })
})

describe("rotateRows", () => {
  test("multiplies each block by the matrix of its definition", () => {
    fc.assert(
      fc.property(rotations, ({ block, width, data }) => {
        const got = data.slice()
        rotateRows(got, width, block)
        for (let start = 0; start < data.length; start += block) {
          const largest = Math.max(1e-30, ...data.subarray(start, start + block).map(Math.abs))
          for (let i = 0; i < block; i++) {
            let sum = 0
            for (let j = 0; j < block; j++) sum += (popcount(i & j) % 2 ? -1 : 1) * data[start + j]!
            expect(Math.abs(got[start + i]! - sum / Math.sqrt(block)) / largest).toBeLessThan(2e-5)
          }
        }
      }),
      { numRuns: 50 },
    )
  })

  test("is its own inverse and keeps lengths", () => {
    fc.assert(
      fc.property(rotations, ({ block, width, data }) => {
        const got = data.slice()
        // Below 1e-40 floats have few digits left.
        const squares = (array: Float32Array) => array.reduce((sum, value) => sum + value * value, 0)
        rotateRows(got, width, block)
        expect(Math.abs(squares(got) - squares(data))).toBeLessThanOrEqual(1e-5 * squares(data) + 1e-80)
        rotateRows(got, width, block)
        for (let i = 0; i < data.length; i++) expect(got[i]).toBeCloseTo(data[i]!, 2)
      }),
      { numRuns: 100 },
    )
  })

  test("a huge channel is spread evenly over its block and no further", () => {
    const data = new Float32Array(256)
    data[5] = 100
    rotateRows(data, 256, 128)
    for (let i = 0; i < 256; i++) expect(Math.abs(data[i]!)).toBeCloseTo(i < 128 ? 100 / Math.sqrt(128) : 0, 4)
  })

  test("refuses blocks that do not fit", () => {
    expect(() => rotateRows(new Float32Array(6), 6, 4)).toThrow("rotateRows: expected a block of 6, got 4")
    expect(() => rotateRows(new Float32Array(6), 6, 3)).toThrow("rotateRows: expected a block of 6, got 3")
    expect(() => rotateRows(new Float32Array(7), 6, 2)).toThrow("rotateRows: expected rows of 6, got 7 elements")
  })
})
