import { crc32 } from "node:zlib"
import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { resize, resizeSteps } from "./resize.ts"
import { type RgbImage, rgbImage } from "./rgb-image.ts"

/** The synthetic image whose resized checksums were recorded from Pillow. */
function synthetic(width: number, height: number): RgbImage {
  const data = new Uint8Array(width * height * 3)
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0; x < width; x++) for (let c = 0; c < 3; c++) data[i++] = 3 * x + 5 * y + 40 * c + ((x * y) >> 6)
  }
  return rgbImage(width, height, data)
}

function crop(image: RgbImage, left: number, top: number, width: number, height: number): RgbImage {
  const data = new Uint8Array(width * height * 3)
  for (let y = 0; y < height; y++) {
    const start = ((top + y) * image.width + left) * 3
    data.set(image.data.subarray(start, start + width * 3), y * width * 3)
  }
  return rgbImage(width, height, data)
}

const checksum = (image: RgbImage) => ({
  size: [image.width, image.height],
  sum: image.data.reduce((sum, byte) => sum + byte, 0),
  crc: crc32(image.data).toString(16),
})

describe("Pillow's checksums", () => {
  const large = synthetic(640, 480)
  const small = synthetic(20, 10)
  const refined = resize(large, 728, 546)
  test.each<[string, RgbImage, ReturnType<typeof checksum>]>([
    ["source", large, { size: [640, 480], sum: 117497984, crc: "dca347ac" }],
    ["smaller", resize(large, 518, 392), { size: [518, 392], sum: 77667400, crc: "f625c97d" }],
    ["larger", refined, { size: [728, 546], sum: 152036956, crc: "e5006bf3" }],
    ["left slice", crop(refined, 0, 0, 364, 546), { size: [364, 546], sum: 76028403, crc: "25367e32" }],
    ["right slice", crop(refined, 364, 0, 364, 546), { size: [364, 546], sum: 76008553, crc: "29494682" }],
    ["small source", small, { size: [20, 10], sum: 54792, crc: "1f4b787c" }],
    ["narrower and taller", resize(small, 14, 14), { size: [14, 14], sum: 53655, crc: "2f1a68ac" }],
    ["wider and taller", resize(small, 28, 14), { size: [28, 14], sum: 107364, crc: "a9e10cf8" }],
  ])("%s", (_, image, want) => expect(checksum(image)).toEqual(want))

  test("single pixels", () => {
    const square = resize(small, 14, 14).data
    expect([0, 1, 2, 3, 4].map((x) => square[x * 3])).toEqual([1, 5, 9, 13, 18])
    expect([0, 1, 2, 3, 4].map((x) => square[(7 * 14 + x) * 3 + 1])).toEqual([65, 69, 73, 77, 82])
  })
})

/** Plain f64 bicubic with antialiasing and rounding after each pass; no fixed point, no tricks. */
function slowResize(image: RgbImage, width: number, height: number): number[] {
  const kernel = (x: number) => {
    const t = Math.abs(x)
    return t < 1 ? 1.5 * t ** 3 - 2.5 * t ** 2 + 1 : t < 2 ? -0.5 * t ** 3 + 2.5 * t ** 2 - 4 * t + 2 : 0
  }
  const pass = (inputs: number, outputs: number, at: (i: number) => number) => {
    const scale = inputs / outputs
    const stretch = Math.max(scale, 1)
    return Array.from({ length: outputs }, (_, o) => {
      let sum = 0
      let total = 0
      for (let i = 0; i < inputs; i++) {
        const weight = kernel((i + 0.5 - (o + 0.5) * scale) / stretch)
        sum += weight * at(i)
        total += weight
      }
      return Math.min(Math.max(Math.round(sum / total), 0), 255)
    })
  }
  const channels = [0, 1, 2].map((c) => {
    const rows = Array.from({ length: image.height }, (_, y) =>
      pass(image.width, width, (x) => image.data[(y * image.width + x) * 3 + c]!),
    )
    const columns = Array.from({ length: width }, (_, x) => pass(image.height, height, (y) => rows[y]![x]!))
    return (x: number, y: number) => columns[x]![y]!
  })
  return Array.from({ length: width * height * 3 }, (_, i) =>
    channels[i % 3]!(Math.floor(i / 3) % width, Math.floor(i / 3 / width)),
  )
}

const anySide = fc.integer({ min: 1, max: 24 })
const anyImage = fc
  .record({ width: anySide, height: anySide })
  .chain(({ width, height }) =>
    fc
      .uint8Array({ minLength: width * height * 3, maxLength: width * height * 3 })
      .map((data) => rgbImage(width, height, data)),
  )

describe("laws", () => {
  test("at most two levels from bicubic in f64: one rounding per pass may flip, and the second pass spreads the first", () => {
    fc.assert(
      fc.property(anyImage, anySide, anySide, (image, width, height) => {
        const got = resize(image, width, height).data
        for (const [i, want] of slowResize(image, width, height).entries()) {
          expect(Math.abs(got[i]! - want)).toBeLessThanOrEqual(2)
        }
      }),
      { numRuns: 60 },
    )
  })

  test("one colour stays that colour, in any size", () => {
    fc.assert(
      fc.property(
        anySide,
        anySide,
        fc.integer({ min: 1, max: 60 }),
        anySide,
        fc.nat(255),
        (w, h, width, height, level) => {
          const out = resize(rgbImage(w, h, new Uint8Array(w * h * 3).fill(level)), width, height)
          expect(out.data.every((byte) => byte === level)).toBe(true)
        },
      ),
    )
  })

  test("mirroring commutes with resizing", () => {
    const mirror = ({ width, height, data }: RgbImage) =>
      rgbImage(
        width,
        height,
        data.map((_, i) => {
          const pixel = Math.floor(i / 3)
          return data[(pixel - 2 * (pixel % width) + width - 1) * 3 + (i % 3)]!
        }),
      )
    fc.assert(
      fc.property(anyImage, anySide, anySide, (image, width, height) => {
        const a = resize(mirror(image), width, height).data
        const b = mirror(resize(image, width, height)).data
        // The order of summing the weights is not mirrored, so that a weight may differ by 2^-22.
        expect(a.every((byte, i) => Math.abs(byte - b[i]!) <= 1)).toBe(true)
      }),
    )
  })

  test("a box of whole pixels at its own size is a crop", () => {
    fc.assert(
      fc.property(anyImage, fc.nat(), fc.nat(), fc.nat(), fc.nat(), (image, a, b, c, d) => {
        const left = a % image.width
        const top = b % image.height
        const width = 1 + (c % (image.width - left))
        const height = 1 + (d % (image.height - top))
        const got = resize(image, width, height, { left, top, right: left + width, bottom: top + height })
        expect(got.data).toEqual(crop(image, left, top, width, height).data)
      }),
    )
  })
})

test("extreme ratios neither fail nor leave the range of bytes", () => {
  const stripes = rgbImage(
    5000,
    1,
    new Uint8Array(15000).map((_, i) => (Math.floor(i / 3) % 2) * 255),
  )
  // 127.5 in exact arithmetic; 5000 rounded weights decide.
  expect(resize(stripes, 1, 1).data.every((byte) => byte === 127 || byte === 128)).toBe(true)
  const grown = resize(rgbImage(2, 1, Uint8Array.of(0, 255, 0, 255, 0, 255)), 3000, 2).data
  expect([...grown.subarray(0, 3)]).toEqual([0, 255, 0])
  expect([...grown.subarray(-3)]).toEqual([255, 0, 255])
})

test("a large image is resized in several steps, and where they meet nothing shows", () => {
  const stepsOf = (image: RgbImage, width: number, height: number) => [...resizeSteps(image, width, height)].length + 1
  expect(stepsOf(synthetic(1280, 720), 588, 336)).toBe(1)
  expect(stepsOf(rgbImage(4000, 3000, new Uint8Array(36_000_000)), 1344, 1008)).toBeGreaterThan(4)
  const wide = synthetic(6000, 900)
  expect(stepsOf(wide, 3000, 900)).toBe(2)
  const narrowed = resize(wide, 3000, 900)
  for (const row of [0, 600, 621, 622, 899])
    expect(crop(narrowed, 0, row, 3000, 1)).toEqual(resize(crop(wide, 0, row, 6000, 1), 3000, 1))
  const high = synthetic(900, 6000)
  expect(stepsOf(high, 900, 4000)).toBeGreaterThan(1)
  expect(crop(resize(high, 900, 4000), 450, 0, 3, 4000)).toEqual(resize(crop(high, 450, 0, 3, 6000), 3, 4000))
})

test("equal size returns the image itself, and no call changes its input", () => {
  const image = synthetic(9, 7)
  const before = image.data.slice()
  expect(resize(image, 9, 7)).toBe(image)
  resize(image, 3, 14)
  expect(image.data).toEqual(before)
})

test("errors", () => {
  const image = synthetic(4, 3)
  expect(() => resize(image, 0, 3)).toThrow(
    "resize: expected a target of at least 1x1 whole pixels, got 0x3 (round first)",
  )
  expect(() => resize(image, 2, 2, { left: 0, top: 0, right: 5, bottom: 3 })).toThrow(
    "resize: expected a box inside 4x3, got 0,0 to 5,3 (clip the box first)",
  )
  expect(() => resize({ ...image, width: 5 }, 2, 2)).toThrow(
    "resize: expected 45 bytes for 5x3x3, got 36 (pass interleaved 8-bit pixels without row padding)",
  )
})
