import { crc32 } from "node:zlib"
import { beforeAll, describe, expect, test } from "vitest"
import { parseImageConfig } from "./config.ts"
import { decodeImage } from "./decode.node.ts"
import { type ProcessOptions, processImage, processImages } from "./processor.ts"
import { type RgbImage, rgbImage } from "./rgb-image.ts"
import { planSlices } from "./slicing.ts"
import { goldenBytes, goldenJson, goldenTensor } from "./test-goldens.node.ts"

type Case = {
  image: string
  file: string
  image_size: [number, number]
  max_slice_nums: number
  use_image_id: boolean | null
  grid: [number, number] | null
  tgt_sizes: [number, number][]
  slices: { shape: number[]; crc32_u8: number; sum_u8: number; first64: number[]; last64: number[] }[]
  placeholder_id3: string
}
type Row = [number, number, number, [number, number] | null, [number, number], [number, number] | null]

const golden = goldenJson<{ images: Case[]; sizes: { rows: Row[] } }>("cases/image_processor.json")
const config = parseImageConfig(goldenJson("checkpoint/preprocessor_config.json"))

/** The bytes behind normalized values, in the strip's order. */
function unnormalize(patches: Float32Array): Uint8Array {
  const bytes = new Uint8Array(patches.length)
  for (let i = 0; i < bytes.length; i++) bytes[i] = Math.round((patches[i]! * 0.5 + 0.5) * 255)
  return bytes
}

describe("golden images", () => {
  const decoded = new Map<string, RgbImage>()
  beforeAll(async () => {
    for (const { file } of golden.images) {
      if (!decoded.has(file)) decoded.set(file, await decodeImage(goldenBytes(file), { behaviour: "reference" }))
    }
  })

  test.each(golden.images)("$image, at most $max_slice_nums slices, id $use_image_id", (want) => {
    const got = processImage(decoded.get(want.file)!, config, {
      maxSliceNums: want.max_slice_nums,
      imageIdStart: 3,
      ...(want.use_image_id === null ? {} : { useImageId: want.use_image_id }),
    })
    expect([got.originalSize.width, got.originalSize.height]).toEqual(want.image_size)
    expect(got.grid ? [got.grid.cols, got.grid.rows] : null).toEqual(want.grid)
    expect(got.slices.map(({ grid }) => [grid.rows, grid.cols])).toEqual(want.tgt_sizes)
    expect(got.placeholder).toBe(want.placeholder_id3)
    for (const [index, slice] of want.slices.entries()) {
      const { patches } = got.slices[index]!
      expect(patches.length).toBe(slice.shape.reduce((product, dim) => product * dim, 1))
      expect(crc32(unnormalize(patches)), `slice ${index}`).toBe(slice.crc32_u8)
      expect(Array.from(patches.subarray(0, 64))).toEqual(slice.first64)
      expect(Array.from(patches.subarray(-64))).toEqual(slice.last64)
    }
  })

  test.each(["small_50x40_rgba", "tiny_5x4"])("%s: every byte", (name) => {
    const want = goldenTensor("cases/image_processor.safetensors", `out.${name}_u8`)
    const got = processImage(decoded.get(`assets/images/${name}.png`)!, config)
    expect(Buffer.compare(unnormalize(got.slices[0]!.patches), want.data as Uint8Array)).toBe(0)
  })
})

test("golden sizes", () => {
  expect(golden.sizes.rows.length).toBeGreaterThan(100)
  for (const [width, height, maxSliceNums, grid, overview, refined] of golden.sizes.rows) {
    const plan = planSlices({ width, height }, { ...config, maxSliceNums })
    const got = plan.slices
    expect(
      [
        got ? [got.grid.cols, got.grid.rows] : null,
        [plan.overview.width, plan.overview.height],
        got ? [got.refined.width, got.refined.height] : null,
      ],
      `${width}x${height}, ${maxSliceNums}`,
    ).toEqual([grid, overview, refined])
  }
})

describe("other inputs", () => {
  const gradient = (width: number, height: number) =>
    rgbImage(
      width,
      height,
      new Uint8Array(width * height * 3).map((_, i) => i),
    )

  test.each([
    [1, 1],
    [300, 1],
    [300, 3],
    [1, 300],
  ])("%ix%i works, where the official processor takes a height of 1 or 3 for channels", (width, height) => {
    const got = processImage(gradient(width, height), config)
    const { grid, patches } = got.slices[0]!
    expect(patches.length).toBe(3 * config.patchSize ** 2 * grid.rows * grid.cols)
    expect(patches.every((value) => value >= -1 && value <= 1)).toBe(true)
  })

  test("image numbers count up within a prompt; the config decides whether they are shown", () => {
    const images = [gradient(20, 20), gradient(30, 20)]
    const starts = (options: ProcessOptions) =>
      processImages(images, config, options).map(({ placeholder }) =>
        placeholder.slice(0, placeholder.indexOf("<unk>")),
      )
    expect(starts({})).toEqual(["<image_id>0</image_id><image>", "<image_id>1</image_id><image>"])
    expect(starts({ imageIdStart: 9 })).toEqual(["<image_id>9</image_id><image>", "<image_id>10</image_id><image>"])
    expect(starts({ useImageId: false })).toEqual(["<image>", "<image>"])
  })

  test("quirk of slice mode off: the image keeps its size, the rest beyond whole patches is cut off", () => {
    const got = processImage(gradient(500, 450), config, { sliceMode: false, useImageId: false })
    expect(got.grid).toBeUndefined()
    expect(got.slices.map(({ grid }) => grid)).toEqual([{ cols: 35, rows: 32 }])
    expect(got.placeholder).toBe(`<image>${"<unk>".repeat(64)}</image>`)
  })

  test("errors", () => {
    expect(() => processImage(gradient(20, 10), config, { sliceMode: false })).toThrow(
      "processImage: expected sides of at least 14 pixels without slice mode, got 20x10" +
        " (turn sliceMode on: small images are then enlarged)",
    )
    expect(() => processImage(gradient(20, 10), config, { maxSliceNums: 0 })).toThrow(
      "planSlices: expected maxSliceNums of at least 1, got 0 (use a whole number)",
    )
    expect(() => processImage(gradient(20, 10), config, { imageIdStart: -1 })).toThrow(
      "processImage: expected imageIdStart of at least 0, got -1 (count from 0)",
    )
    expect(() => processImage({ width: 2, height: 0, data: new Uint8Array(0) }, config)).toThrow(
      "processImage: expected sides of at least 1 pixel, got 2x0 (check the image)",
    )
  })
})
