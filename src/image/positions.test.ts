import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { positionBuckets, positionIds, resamplerPositions } from "./positions.ts"
import { goldenJson, goldenTensor } from "./test-goldens.node.ts"

describe("position ids of the vision tower", () => {
  const cases = goldenJson<{ grid: [number, number]; position_ids: number[] }[]>("cases/vision_positions.json")

  test.each(cases)("golden grid $grid", ({ grid: [rows, cols], position_ids }) => {
    expect(Array.from(positionIds({ rows, cols }, 70))).toEqual(position_ids)
  })

  test.each([
    [32, 32, 2431040],
    [28, 37, 2464196],
    [24, 43, 2424716],
    [39, 26, 2419677],
    [34, 30, 2426070],
    [29, 35, 2401210],
    [13, 78, 2294981],
    [50, 20, 2397600],
    [25, 41, 2405120],
  ])("sum over %i x %i", (rows, cols, sum) => {
    expect(positionIds({ rows, cols }, 70).reduce((total, id) => total + id, 0)).toBe(sum)
  })

  test("quirk: up to 70, only these buckets lie one below floor(70 i / n)", () => {
    const exceptions: Record<number, number[]> = {
      25: [5, 10, 15, 20],
      49: [7, 14, 35, 42],
      50: [5, 10, 15, 20, 30, 40],
      55: [11, 22, 33, 44],
      58: [29],
    }
    for (let n = 1; n <= 70; n++) {
      const want = Array.from({ length: n }, (_, i) => Math.floor((70 * i) / n) - (exceptions[n]?.includes(i) ? 1 : 0))
      expect(Array.from(positionBuckets(n, 70)), `n = ${n}`).toEqual(want)
    }
  })

  // Recorded with PyTorch 2.13: boundaries that are filled in blocks as well lie one step off.
  test.each<[side: number, n: number, below: number[]]>([
    [20, 25, [5, 10, 20]],
    [20, 50, [5, 10, 15, 20, 40]],
    [36, 75, [25]],
    [50, 10, [7]],
    [50, 25, [5, 6, 9, 10, 15, 18, 19, 20, 23]],
    [54, 18, [15]],
    [54, 27, [22]],
    [54, 75, [50]],
    [60, 36, [21]],
    [60, 50, [5, 10, 15, 20, 30, 40]],
    [73, 73, [11, 15, 18, 19, 22, 23, 27, 30, 31, 35, 37, 44, 45, 53, 60, 61]],
    [100, 20, [7]],
  ])("quirk with %i positions per side: of %i patches, %j lie one below floor(side i / n)", (side, n, below) => {
    const want = Array.from({ length: n }, (_, i) => Math.floor((side * i) / n) - (below.includes(i) ? 1 : 0))
    expect(Array.from(positionBuckets(n, side))).toEqual(want)
  })

  test.each([
    [77, 55, 49],
    [82, 41, 34],
    [86, 43, 34],
    [94, 47, 34],
  ])("quirk beyond 70: %i patches, patch %i in bucket %i", (n, i, bucket) => {
    expect(positionBuckets(n, 70)[i]).toBe(bucket)
  })

  test("any axis: ascending, inside the table, at most one below the exact bucket", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 5000 }), fc.integer({ min: 1, max: 100 }), (n, side) => {
        const buckets = positionBuckets(n, side)
        for (let i = 0; i < n; i++) {
          const below = Math.floor((side * i) / n) - buckets[i]!
          expect(below === 0 || below === 1).toBe(true)
          if (i > 0) expect(buckets[i]!).toBeGreaterThanOrEqual(buckets[i - 1]!)
        }
      }),
      { numRuns: 50 },
    )
  })
})

describe("positions of the resampler", () => {
  test("recorded values at row 3, column 5 of the full model", () => {
    const row = resamplerPositions({ rows: 4, cols: 6 }, 3584).subarray((3 * 6 + 5) * 3584)
    const want: Record<number, number> = {
      0: -0.958924294,
      1: -0.972169399,
      895: 0.000505166361,
      896: 0.28366217,
      897: 0.234279051,
      1791: 0.999999881,
      1792: 0.141120002,
      1793: 0.171422213,
      2687: 0.000303099805,
      2688: -0.989992499,
      2689: -0.985197663,
      3583: 0.99999994,
    }
    // 2e-7: f32 powers and sines of other libraries may differ by one unit in the last place.
    for (const [index, value] of Object.entries(want)) {
      expect(Math.abs(row[Number(index)]! - value), index).toBeLessThanOrEqual(2e-7)
    }
  })

  test("golden corner of the small model", () => {
    const { shape, data } = goldenTensor("cases/vision_small.safetensors", "out.resampler_pos_0_0_to_2_3")
    const [rows, cols, dim] = shape as [number, number, number]
    const got = resamplerPositions({ rows, cols }, dim)
    expect(got.length).toBe(data.length)
    for (let i = 0; i < got.length; i++) expect(Math.abs(got[i]! - Number(data[i])), `${i}`).toBeLessThanOrEqual(2e-7)
  })

  test("positions are absolute: a part of a larger grid has the same values", () => {
    const large = resamplerPositions({ rows: 90, cols: 3 }, 16)
    const small = resamplerPositions({ rows: 5, cols: 3 }, 16)
    expect(large.subarray(0, small.length)).toEqual(small)
  })

  test("error", () => {
    expect(() => resamplerPositions({ rows: 1, cols: 1 }, 6)).toThrow(
      "resamplerPositions: expected dim to be a multiple of 4, got 6 (check hidden_size)",
    )
  })
})
