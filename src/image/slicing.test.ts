import { crc32 } from "node:zlib"
import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { exactLog } from "./exact-log.ts"
import { blockCount, nearestMultiple, planSlices, roundHalfToEven, type SliceSettings, sliceCorner } from "./slicing.ts"

const settings: SliceSettings = { scaleResolution: 448, patchSize: 14, maxSliceNums: 9 }
const plan = (width: number, height: number, maxSliceNums = 9) =>
  planSlices({ width, height }, { ...settings, maxSliceNums })
const text = ({ width, height }: { width: number; height: number }) => `${width}x${height}`

describe("worked examples, checked against the official processor", () => {
  test.each<[string, number, string | undefined, string, string?, string?]>([
    ["448x448", 9, undefined, "448x448"],
    ["300x200", 9, undefined, "546x364"],
    ["640x480", 9, "2x1", "518x392", "728x546", "364x546"],
    ["1280x720", 9, "3x2", "602x336", "1470x812", "490x406"],
    ["1920x1080", 9, "4x2", "602x336", "1680x952", "420x476"],
    ["1080x1920", 9, "2x4", "336x602", "952x1680", "476x420"],
    ["1344x1344", 9, "3x3", "448x448", "1344x1344", "448x448"],
    ["4032x3024", 9, "3x3", "518x392", "1554x1176", "518x392"],
    ["3000x500", 9, "7x1", "1092x182", "2940x476", "420x476"],
    ["500x3000", 9, "1x7", "182x1092", "476x2940", "476x420"],
    ["30x1000", 9, undefined, "84x2590"],
    ["1920x1080", 1, undefined, "602x336"],
    ["1920x1080", 2, "2x1", "602x336", "840x476", "420x476"],
    ["1920x1080", 6, "3x2", "602x336", "1470x812", "490x406"],
    ["2000x300", 9, "4x1", "1148x168", "2296x350", "574x350"],
    ["1024x768", 9, "2x2", "518x392", "1036x784", "518x392"],
    ["1x4000", 9, undefined, "14x28336"],
    ["4000x16", 9, undefined, "7000x28"],
  ])("%s, at most %i", (size, maxSliceNums, grid, overview, refined, slice) => {
    const [width, height] = size.split("x").map(Number)
    const got = plan(width!, height!, maxSliceNums)
    expect(got.slices && `${got.slices.grid.cols}x${got.slices.grid.rows}`).toBe(grid)
    expect(text(got.overview)).toBe(overview)
    expect(got.slices && text(got.slices.refined)).toBe(refined)
    expect(got.slices && text(got.slices.slice)).toBe(slice)
  })
})

describe("quirks, all intended", () => {
  test("sides round half to even", () => {
    expect([0.5, 1.5, 2.5, 3.5, 2.4, 2.6].map(roundHalfToEven)).toEqual([0, 2, 2, 4, 2, 3])
    expect([7, 21, 35, 49, 63, 77].map((length) => nearestMultiple(length, 14))).toEqual([14, 28, 28, 56, 56, 84])
  })

  test("of equally good grids the first wins, fewest columns: a square in two slices is 1 column, 2 rows", () => {
    expect(plan(450, 450).slices).toEqual({
      grid: { cols: 1, rows: 2 },
      refined: { width: 630, height: 644 },
      slice: { width: 630, height: 322 },
    })
  })

  test.each([
    [2328, 776, 7, { cols: 6, rows: 1 }], // 6x1 and 3x2 are equally far from 3:1; the rounding of logarithms decides
    [2834, 1417, 12, { cols: 4, rows: 3 }],
    [6390, 6390, 27, { cols: 3, rows: 9 }],
  ])("%ix%i, at most %i: a tie that Math.log breaks the other way", (width, height, maxSliceNums, grid) => {
    expect(plan(width, height, maxSliceNums).slices?.grid).toEqual(grid)
  })

  test("the truncated height drives the width", () => {
    // 448 / sqrt(200 / 300) is 548.68: height 548, and the width is 2/3 of 548, not of 548.68.
    expect(plan(200, 300).overview).toEqual({ width: 364, height: 546 })
    expect(plan(573, 2).overview).toEqual({ width: 7448, height: 28 })
  })

  test("extreme aspect ratios are not clamped, and never fall below one patch", () => {
    expect(plan(1_000_000, 1).overview).toEqual({ width: 14, height: 14 })
    expect(plan(1, 20_000).overview).toEqual({ width: 14, height: 63_350 })
  })
})

test("laws for any size and any number of slices", () => {
  const side = fc.oneof(fc.integer({ min: 1, max: 20_000 }), fc.integer({ min: 1, max: 1500 }))
  fc.assert(
    fc.property(side, side, fc.integer({ min: 1, max: 40 }), (width, height, maxSliceNums) => {
      const got = plan(width, height, maxSliceNums)
      const wanted = Math.min(Math.ceil((width * height) / 448 ** 2), maxSliceNums)
      expect(got.slices !== undefined).toBe(wanted > 1)
      for (const size of [got.overview, ...(got.slices ? [got.slices.slice] : [])]) {
        expect(size.width % 14 === 0 && size.height % 14 === 0 && size.width > 0 && size.height > 0).toBe(true)
        // The area is about 448², up to the rounding of each side to whole patches.
        if (size.width > 28 && size.height > 28) expect(size.width * size.height).toBeLessThan(448 ** 2 * 1.3)
      }
      if (!got.slices) return
      const { grid, refined, slice } = got.slices
      const count = grid.cols * grid.rows
      expect(count).toBeLessThanOrEqual(maxSliceNums)
      expect(Math.abs(count - wanted)).toBeLessThanOrEqual(1)
      expect(blockCount(got)).toBe(1 + count)
      expect(refined).toEqual({ width: slice.width * grid.cols, height: slice.height * grid.rows })
      const last = sliceCorner(got.slices, count - 1)
      expect([last.left + slice.width, last.top + slice.height]).toEqual([refined.width, refined.height])
    }),
    { numRuns: 1000 },
  )
})

test("a plan says no more for 20,000x20,000 than for 1x1, and takes no memory that grows with the image", () => {
  const sides = [1, 2, 13, 14, 447, 448, 449, 1344, 19_999, 20_000]
  const sizes = sides.flatMap((width) => sides.map((height) => [width, height] as const))
  const used = () => {
    const { arrayBuffers, heapUsed } = process.memoryUsage()
    return arrayBuffers + heapUsed
  }
  plan(20_000, 20_000)
  const before = used()
  for (let round = 0; round < 20; round++) {
    for (const [width, height] of sizes) {
      const got = plan(width, height)
      expect(JSON.stringify(got).length).toBeLessThan(250)
      expect(blockCount(got)).toBeLessThanOrEqual(11)
    }
  }
  // 2,000 plans: a bit for each pixel of the largest alone would be 50 MB.
  expect(used() - before).toBeLessThan(50e6)
})

test("slices run row by row, left to right", () => {
  const { slices } = plan(1280, 720)
  expect(Array.from({ length: 6 }, (_, index) => sliceCorner(slices!, index))).toEqual([
    { left: 0, top: 0 },
    { left: 490, top: 0 },
    { left: 980, top: 0 },
    { left: 0, top: 406 },
    { left: 490, top: 406 },
    { left: 980, top: 406 },
  ])
})

// CRC-32 of the plans of 1,500 sizes each, from a Python program with the official rules.
test.each([
  { scaleResolution: 448, maxSliceNums: 9, want: 2818596796 },
  { scaleResolution: 448, maxSliceNums: 4, want: 2512215492 },
  { scaleResolution: 336, maxSliceNums: 12, want: 2474140975 },
  { scaleResolution: 224, maxSliceNums: 6, want: 3826458469 },
])("recorded plans at $scaleResolution pixels, at most $maxSliceNums slices", ({ want, ...other }) => {
  const lines = Array.from({ length: 1500 }, (_, i) => {
    const size = { width: 1 + ((i * 37) % 2399), height: 1 + ((i * i * 101) % 1801) }
    const { overview, slices } = planSlices(size, { ...settings, ...other })
    const { cols, rows } = slices?.grid ?? { cols: 1, rows: 1 }
    return `${text(size)} ${cols}x${rows} ${text(overview)} ${text(slices?.refined ?? overview)}\n`
  })
  expect(crc32(lines.join(""))).toBe(want)
})

test("exactLog is the nearest f64", () => {
  expect(exactLog(1)).toBe(0)
  expect(exactLog(2)).toBe(Math.LN2)
  expect(exactLog(0.5)).toBe(-Math.LN2)
  expect(exactLog(10)).toBe(Math.LN10)
  // From 60 digits; Math.log(3) is one unit lower in some engines.
  expect(exactLog(3)).toBe(1.0986122886681098)
  expect(exactLog(1 / 3)).toBe(-1.0986122886681098)
  expect(exactLog(7)).toBe(1.9459101490553132)
  expect(exactLog(2 / 3)).toBe(-0.40546510810816444)
  expect(exactLog(4 / 3)).toBe(0.28768207245178085)
  fc.assert(
    fc.property(fc.double({ min: 1e-6, max: 1e6, noNaN: true }), (x) => {
      expect(Math.abs(exactLog(x) - Math.log(x))).toBeLessThanOrEqual(Math.abs(Math.log(x)) * 4e-16)
      expect(exactLog(1 / x) + exactLog(x)).toBeCloseTo(0, 12)
    }),
  )
})

test("errors", () => {
  expect(() => plan(0, 5)).toThrow("planSlices: expected sides of at least 1 pixel, got 0x5 (check the image)")
  expect(() => plan(5, 5, 0)).toThrow("planSlices: expected maxSliceNums of at least 1, got 0 (use a whole number)")
})
