import { crc32 } from "node:zlib"
import sharp, { type Sharp } from "sharp"
import { describe, expect, test } from "vitest"
import { InputError } from "../util/index.ts"
import { decodeImage } from "./decode.node.ts"
import { type ImageBehaviour, toRgb } from "./rgb-image.ts"
import { goldenBytes } from "./test-goldens.node.ts"

const pixels = (values: readonly number[], width: number, height: number, channels: 1 | 2 | 3 | 4) =>
  sharp(Uint8Array.from(values), { raw: { width, height, channels } })

/** `WxH: bytes` of the decoded image. */
async function decoded(file: Uint8Array | Promise<Uint8Array>, behaviour: ImageBehaviour): Promise<string> {
  const { width, height, data } = await decodeImage(await file, { behaviour })
  return `${width}x${height}: ${data.join(" ")}`
}

/** Uncompressed little-endian TIFF of one strip. */
function tiff(
  width: number,
  height: number,
  bits: 8 | 16,
  samples: number,
  photometric: number,
  data: number[],
): Uint8Array {
  const bytes = bits === 8 ? data : data.flatMap((value) => [value & 255, value >> 8])
  const entries: [tag: number, type: number, count: number, value: number][] = [
    [256, 3, 1, width],
    [257, 3, 1, height],
    [258, 3, samples, samples > 2 ? 8 : bits], // values behind the pixel data when they do not fit
    [259, 3, 1, 1], // no compression
    [262, 3, 1, photometric],
    [273, 4, 1, 8 + 2 * 4], // the pixels start behind header and bit depths
    [277, 3, 1, samples],
    [278, 3, 1, height],
    [279, 4, 1, bytes.length],
  ]
  const start = 16 + bytes.length + (bytes.length % 2)
  const file = new Uint8Array(start + 2 + entries.length * 12 + 4)
  const view = new DataView(file.buffer)
  file.set([0x49, 0x49, 42, 0])
  view.setUint32(4, start, true)
  for (let sample = 0; sample < 4; sample++) view.setUint16(8 + sample * 2, bits, true)
  file.set(bytes, 16)
  view.setUint16(start, entries.length, true)
  for (const [index, [tag, type, count, value]] of entries.entries()) {
    const at = start + 2 + index * 12
    view.setUint16(at, tag, true)
    view.setUint16(at + 2, type, true)
    view.setUint32(at + 4, count, true)
    view.setUint32(at + 8, value, true)
  }
  return file
}

describe("alpha", () => {
  const rgba = [255, 0, 0, 0, 0, 255, 0, 128, 9, 8, 7, 255]
  const dropped = "3x1: 255 0 0 0 255 0 9 8 7"
  const onWhite = "3x1: 255 255 255 127 255 127 9 8 7"

  test("RGBA: dropped in reference, on white in live", async () => {
    const file = pixels(rgba, 3, 1, 4).png().toBuffer()
    expect(await decoded(file, "reference")).toBe(dropped)
    expect(await decoded(file, "live")).toBe(onWhite)
  })

  test("the same from pixels in memory", () => {
    const image = { width: 3, height: 1, data: Uint8ClampedArray.from(rgba) }
    expect(`3x1: ${toRgb(image, "reference").data.join(" ")}`).toBe(dropped)
    expect(`3x1: ${toRgb(image, "live").data.join(" ")}`).toBe(onWhite)
    expect(() => toRgb({ ...image, height: 2 }, "live")).toThrow(
      "toRgb: expected 24 bytes for 3x2x4, got 12 (pass interleaved 8-bit pixels without row padding)",
    )
  })

  test("gray with alpha, 8 and 16 bits", async () => {
    const file = pixels([10, 0, 20, 255], 2, 1, 2).toColourspace("b-w").png().toBuffer()
    expect(await decoded(file, "reference")).toBe("2x1: 10 10 10 20 20 20")
    expect(await decoded(file, "live")).toBe("2x1: 255 255 255 20 20 20")
    const wide = sharp(Uint16Array.of(1000, 65535, 40000, 0), { raw: { width: 2, height: 1, channels: 2 } })
    const wideFile = wide.toColourspace("grey16").png().toBuffer()
    expect(await decoded(wideFile, "reference")).toBe("2x1: 3 3 3 156 156 156")
    expect(await decoded(wideFile, "live")).toBe("2x1: 3 3 3 255 255 255")
  })
})

describe("16 bits", () => {
  test("gray: clipped in reference (quirk of Pillow), scaled in live; PNG and TIFF alike", async () => {
    const values = [0, 100, 255, 256, 40000, 65535]
    const gray = sharp(Uint16Array.from(values), { raw: { width: 6, height: 1, channels: 1 } })
    for (const file of [await gray.toColourspace("grey16").png().toBuffer(), tiff(6, 1, 16, 1, 1, values)]) {
      const triple = (levels: number[]) => `6x1: ${levels.flatMap((v) => [v, v, v]).join(" ")}`
      expect(await decoded(file, "reference")).toBe(triple([0, 100, 255, 255, 255, 255]))
      expect(await decoded(file, "live")).toBe(triple([0, 0, 0, 1, 156, 255]))
    }
  })

  test("colour keeps the high byte", async () => {
    const image = sharp(Uint16Array.of(0, 255, 256, 511, 32767, 65535), { raw: { width: 2, height: 1, channels: 3 } })
    const file = image.toColourspace("rgb16").png().toBuffer()
    expect(await decoded(file, "reference")).toBe("2x1: 0 0 1 1 127 255")
    expect(await decoded(file, "live")).toBe("2x1: 0 0 1 1 127 255")
  })
})

test("CMYK: plain arithmetic in reference, a colour profile in live", async () => {
  const file = tiff(3, 1, 8, 4, 5, [0, 0, 0, 0, 255, 100, 0, 50, 10, 20, 30, 255])
  expect(await decoded(file, "reference")).toBe("3x1: 255 255 255 0 125 205 0 0 0")
  const live = await decodeImage(file, { behaviour: "live" })
  expect([...live.data.subarray(0, 3)]).toEqual([255, 255, 255])
  expect(Math.max(...live.data.subarray(6))).toBeLessThan(60) // printed black is not quite black
})

test("CMYK JPEG: light and dark are not swapped", async () => {
  const paper = { width: 16, height: 16, channels: 3, background: { r: 250, g: 240, b: 230 } } as const
  const file = await sharp({ create: paper }).toColourspace("cmyk").jpeg({ quality: 100 }).toBuffer()
  for (const behaviour of ["reference", "live"] as const) {
    const { data } = await decodeImage(file, { behaviour })
    expect(Math.min(...data)).toBeGreaterThan(200)
  }
})

test("EXIF orientation: ignored in reference, applied in live, in JPEG and PNG", async () => {
  const image = () => pixels([1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4, 5, 5, 5, 6, 6, 6], 3, 2, 3)
  const png = await image().withMetadata({ orientation: 6 }).png().toBuffer()
  expect(await decoded(png, "reference")).toBe("3x2: 1 1 1 2 2 2 3 3 3 4 4 4 5 5 5 6 6 6")
  expect(await decoded(png, "live")).toBe("2x3: 4 4 4 1 1 1 5 5 5 2 2 2 6 6 6 3 3 3")
  const jpeg = await image().withMetadata({ orientation: 8 }).jpeg().toBuffer()
  expect((await decodeImage(jpeg, { behaviour: "reference" })).width).toBe(3)
  expect((await decodeImage(jpeg, { behaviour: "live" })).width).toBe(2)
})

test("colour profile: ignored in reference, converted to sRGB in live", async () => {
  const orange = { width: 1, height: 1, channels: 3, background: { r: 200, g: 100, b: 50 } } as const
  const file = await sharp({ create: orange }).withIccProfile("p3").png().toBuffer()
  const stored = (await decodeImage(file, { behaviour: "reference" })).data
  const shown = (await decodeImage(file, { behaviour: "live" })).data
  expect(stored[0]).toBeLessThan(195) // the same orange takes less red in the wider gamut
  expect([200, 100, 50].every((level, i) => Math.abs(shown[i]! - level) <= 2)).toBe(true)
})

test.each<[string, (image: Sharp) => Sharp]>([
  ["GIF", (image) => image.gif()],
  ["WebP", (image) => image.webp({ lossless: true })],
])("animated %s: the first frame", async (_, encode) => {
  const frames = Uint8Array.from([255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 9, 9])
  const animation = sharp(frames, { raw: { width: 2, height: 2, channels: 3, pageHeight: 1 } })
  const file = await encode(animation).toBuffer()
  expect((await sharp(file).metadata()).pages).toBe(2)
  expect(await decoded(file, "reference")).toBe("2x1: 255 0 0 0 255 0")
  expect(await decoded(file, "live")).toBe("2x1: 255 0 0 0 255 0")
})

test("gray, palette, one bit and 1x1", async () => {
  const gray = pixels([1, 200], 2, 1, 1).toColourspace("b-w").png().toBuffer()
  expect(await decoded(gray, "reference")).toBe("2x1: 1 1 1 200 200 200")
  const palette = pixels([255, 0, 0, 0, 0, 255], 2, 1, 3).png({ palette: true }).toBuffer()
  expect(await decoded(palette, "reference")).toBe("2x1: 255 0 0 0 0 255")
  const bits = pixels([0, 255], 2, 1, 1).toColourspace("b-w").png({ palette: true, colours: 2 }).toBuffer()
  expect(await decoded(bits, "live")).toBe("2x1: 0 0 0 255 255 255")
  expect(await decoded(pixels([7, 8, 9], 1, 1, 3).png().toBuffer(), "live")).toBe("1x1: 7 8 9")
})

describe("bad files", () => {
  const decode = (bytes: Uint8Array, maxPixels?: number) =>
    decodeImage(bytes, { behaviour: "live", source: "photo", ...(maxPixels ? { maxPixels } : {}) })
  const noise = () =>
    sharp({
      create: {
        width: 64,
        height: 48,
        channels: 3,
        background: "red",
        noise: { type: "gaussian", mean: 128, sigma: 40 },
      },
    })

  test("no bytes", async () => {
    await expect(decode(new Uint8Array(0))).rejects.toThrow(
      new InputError(
        "photo: expected a JPEG, PNG, WebP, GIF, TIFF or AVIF file, got 0 bytes (check where the file comes from)",
      ),
    )
  })

  test.each([
    ["text", "hello world, no image", "68 65 6c 6c 6f 20 77 6f"],
    ["SVG", '<svg xmlns="http://www.w3.org/2000/svg"/>', "3c 73 76 67 20 78 6d 6c"],
    ["two bytes", "\xff\xd8", "c3 bf"],
  ])("%s", async (_, text, start) => {
    const bytes = new TextEncoder().encode(text)
    await expect(decode(bytes)).rejects.toThrow(
      `photo: expected a JPEG, PNG, WebP, GIF, TIFF or AVIF file, got ${bytes.length} bytes that begin with ${start}`,
    )
  })

  test.each([
    ["\0\0\0\x18ftypheic\0\0\0\0", "HEIC, as telephones take photos (save it as JPEG first)"],
    ["BM\x36\x10\0\0\0\0\0\0\x36\0\0\0\x28\0", "BMP (save it as JPEG first)"],
    ["\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000 (save it as JPEG first)"],
    ["\xff\x0a\x10\x20", "JPEG XL (save it as JPEG first)"],
    ["%PDF-1.4", "PDF (save it as JPEG first)"],
    ["\0\0\0\x18ftypisom\0\0\0\0", "MP4 or a format of its kind (give a picture out of it)"],
    ["BMW, a text", "11 bytes that begin with 42 4d 57 2c 20 61 20 74 (convert it first)"],
  ])("a known format that is not decoded: %j", async (start, got) => {
    await expect(decode(Buffer.from(start, "latin1"))).rejects.toThrow(
      new InputError(`photo: expected a JPEG, PNG, WebP, GIF, TIFF or AVIF file, got ${got}`),
    )
  })

  test.each<[string, (image: Sharp) => Sharp]>([
    ["PNG", (image) => image.png()],
    ["JPEG", (image) => image.jpeg()],
    ["WebP", (image) => image.webp()],
    ["GIF", (image) => image.gif()],
    ["TIFF", (image) => image.tiff()],
    ["AVIF", (image) => image.avif()],
  ])("%s: whole, and cut short anywhere", async (_, encode) => {
    const whole = await encode(noise()).toBuffer()
    expect((await decode(whole)).width).toBe(64)
    for (const part of [0.95, 0.6, 0.3, 0.02]) {
      const error = await decode(whole.subarray(0, Math.max(14, whole.length * part))).catch(
        (caught: unknown) => caught,
      )
      expect(error).toBeInstanceOf(InputError)
      expect((error as Error).message).toMatch(
        /^photo: expected a complete JPEG, .* got one that fails with "[^\n]+" \(send the whole file, or save it again\)$/,
      )
    }
  })

  test("damaged in the middle: an error or pixels, never a crash", async () => {
    const whole = goldenBytes("assets/images/square_448.png")
    for (let at = 40; at < whole.length; at += Math.ceil(whole.length / 15)) {
      const bytes = whole.slice()
      bytes.fill(0x55, at, at + 8)
      const result = await decode(bytes).catch((caught: unknown) => caught)
      if (result instanceof Error) expect(result).toBeInstanceOf(InputError)
      else expect(result).toMatchObject({ width: 448, height: 448 })
    }
  })

  test("more pixels than allowed", async () => {
    const file = await noise().png().toBuffer()
    expect((await decode(file, 64 * 48)).height).toBe(48)
    await expect(decode(file, 64 * 48 - 1)).rejects.toThrow(
      "photo: expected at most 3071 pixels, got 64x48 = 3072 (make the image smaller, or raise maxPixels)",
    )
  })

  test("a bomb is refused from its header alone", async () => {
    // A PNG that promises 20,000 x 20,000 pixels and ends there: decoding it would fail with another error.
    const file = (await noise().png().toBuffer()).subarray(0, 200)
    const bomb = Uint8Array.from(file)
    const view = new DataView(bomb.buffer)
    view.setUint32(16, 20_000)
    view.setUint32(20, 20_000)
    view.setUint32(29, crc32(bomb.subarray(12, 29)))
    await expect(decode(bomb)).rejects.toThrow(
      "photo: expected at most 178956970 pixels, got 20000x20000 = 400000000 (make the image smaller, or raise maxPixels)",
    )
  })
})
