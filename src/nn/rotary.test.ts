/** @file Rotary tables: known values, and the laws that make rotated keys comparable. */
import fc from "fast-check"
import { describe, expect, test, vi } from "vitest"
import { rotaryTables, rotateKey } from "./rotary.ts"

const HEAD = 128
const THETA = 1_000_000

/** One vector [K] turned to a position, pairs (d, d + K/2). */
function rotate(x: ArrayLike<number>, position: number, headSize: number, theta: number): Float64Array {
  const half = headSize / 2
  const { cos, sin } = rotaryTables([position], [1, 1], headSize, theta)
  const out = new Float64Array(headSize)
  for (let d = 0; d < half; d++) {
    out[d] = x[d]! * cos.data[d]! - x[d + half]! * sin.data[d]!
    out[d + half] = x[d + half]! * cos.data[d]! + x[d]! * sin.data[d]!
  }
  return out
}

const dot = (a: ArrayLike<number>, b: ArrayLike<number>) => Array.from(a).reduce((sum, x, i) => sum + x * b[i]!, 0)

const vector = (length: number) =>
  fc.array(fc.float({ min: -1, max: 1, noNaN: true }), { minLength: length, maxLength: length })

describe("tables", () => {
  test("are those of the official code at position 7", () => {
    const { cos, sin } = rotaryTables([7], [1, 1], HEAD, THETA)
    const expected: [number, number, number][] = [
      [0, 0.753902256, 0.656986594],
      [1, 0.800726116, -0.599030614],
      [31, 0.99996227, 0.0086864559],
      [63, 1, 8.68656389e-6],
    ]
    for (const [d, c, s] of expected) {
      expect(Math.abs(cos.data[d]! - c)).toBeLessThanOrEqual(6e-8) // half a unit in the last place of float32
      expect(Math.abs(sin.data[d]! - s)).toBeLessThanOrEqual(6e-8 * Math.abs(s))
    }
  })

  test("have the official inverse frequencies", () => {
    // For a small angle the sine at position 1 is the frequency itself; the larger ones come back through asin.
    const { sin } = rotaryTables([1], [1, 1], HEAD, THETA)
    const expected: [number, number][] = [
      [1, 0.805842221],
      [2, 0.649381638],
      [31, 0.00124093785],
      [32, 0.001],
      [62, 1.53992653e-6],
      [63, 1.24093776e-6],
    ]
    for (const [d, frequency] of expected) {
      expect(Math.abs(Math.asin(sin.data[d]!) / frequency - 1)).toBeLessThan(2e-7)
    }
    expect(sin.data[0]).toBe(Math.fround(Math.sin(1)))
  })

  test("hold one row for each position, in order", () => {
    const { cos, sin } = rotaryTables([0, 3, 3, 9, 1, 2], [2, 3], 8, 100)
    expect(cos.shape).toEqual([2, 3, 4])
    expect(sin.shape).toEqual([2, 3, 4])
    for (const [row, position] of [0, 3, 3, 9, 1, 2].entries()) {
      const one = rotaryTables([position], [1, 1], 8, 100)
      expect(cos.data.slice(row * 4, row * 4 + 4)).toEqual(one.cos.data)
      expect(sin.data.slice(row * 4, row * 4 + 4)).toEqual(one.sin.data)
    }
    expect([...cos.data.slice(0, 4), ...sin.data.slice(0, 4)]).toEqual([1, 1, 1, 1, 0, 0, 0, 0])
  })
})

describe("laws", () => {
  const head = fc.constantFrom(2, 8, 64)
  const theta = fc.constantFrom(100, 10_000, 1_000_000)

  test("scores depend on the difference of positions alone", () => {
    const cases = head.chain((size) => fc.tuple(fc.constant(size), theta, vector(size), vector(size)))
    fc.assert(
      fc.property(cases, fc.nat(2000), fc.nat(2000), fc.nat(2000), ([size, base, q, k], m, n, shift) => {
        const near = dot(rotate(q, m, size, base), rotate(k, n, size, base))
        const far = dot(rotate(q, m + shift, size, base), rotate(k, n + shift, size, base))
        // Angles up to 4,000 are float32 values 2.4e-4 apart, so each of four is off by half of that at most.
        expect(Math.abs(near - far)).toBeLessThan(4 * 1.3e-4 * size)
      }),
    )
  })

  test("rotateKey moves a rotated key to another position", () => {
    const cases = head.chain((size) => fc.tuple(fc.constant(size), theta, vector(size)))
    fc.assert(
      fc.property(cases, fc.nat(2000), fc.integer({ min: -2000, max: 2000 }), ([size, base, k], position, delta) => {
        fc.pre(position + delta >= 0)
        const key = Float32Array.from(rotate(k, position, size, base))
        rotateKey(size, base)(key, delta)
        const wanted = rotate(k, position + delta, size, base)
        const error = Math.max(...wanted.map((x, d) => Math.abs(x - key[d]!)))
        expect(error).toBeLessThan(1.5 * 2 * 1.3e-4) // two rounded angles, on both parts of a pair
      }),
    )
  })

  test("rotateKey computes the angles of one change of position once", () => {
    const cos = vi.spyOn(Math, "cos")
    const rotate = rotateKey(8, THETA)
    const keys = Array.from({ length: 5 }, () => Float32Array.of(1, 2, 3, 4, 5, 6, 7, 8))
    for (const key of keys) rotate(key, -3)
    expect(cos).toHaveBeenCalledTimes(4)
    cos.mockRestore()
    for (const key of keys) expect(key).toEqual(keys[0])
    const there = keys[0]!.slice()
    rotate(there, 2)
    const other = Float32Array.of(1, 2, 3, 4, 5, 6, 7, 8)
    rotateKey(8, THETA)(other, -1)
    for (const [i, value] of there.entries()) expect(value).toBeCloseTo(other[i]!, 5)
  })

  test("rotateKey there and back changes nothing, and keeps lengths", () => {
    fc.assert(
      fc.property(vector(8), fc.integer({ min: -32_000, max: 32_000 }), (values, delta) => {
        const key = Float32Array.from(values)
        const turn = rotateKey(8, THETA)
        turn(key, delta)
        expect(dot(key, key)).toBeCloseTo(dot(values, values), 5)
        turn(key, -delta)
        expect(Math.max(...values.map((x, d) => Math.abs(x - key[d]!)))).toBeLessThan(1e-6)
      }),
    )
  })
})
