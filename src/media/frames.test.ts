import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import sharp from "sharp"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { InputError } from "../util/index.ts"
import { openVideo, readImage, readPictureOrSound } from "./index.ts"

let folder = ""
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "omni-frames-"))
})
afterAll(() => rmSync(folder, { recursive: true }))

const gray = (level: number) =>
  sharp({ create: { width: 4, height: 3, channels: 3, background: { r: level, g: level, b: level } } })

async function levels(path: string): Promise<number[]> {
  const found: number[] = []
  for await (const { data, width, height } of (await openVideo(path)).frames()) {
    expect([width, height, data.length]).toEqual([4, 3, 36])
    found.push(data[0]!)
  }
  return found
}

test("a folder of images is a video, in the order of its numbers", async () => {
  const frames = join(folder, "frames")
  mkdirSync(frames)
  await gray(30).png().toFile(join(frames, "frame-10.png"))
  await gray(10).png().toFile(join(frames, "frame-1.png"))
  await gray(20).webp({ lossless: true }).toFile(join(frames, "frame-2.webp"))
  await gray(40).jpeg({ quality: 100 }).toFile(join(frames, "frame-11.JPG"))
  writeFileSync(join(frames, "notes.txt"), "not a frame")
  writeFileSync(join(frames, ".frame-3.png"), "hidden")
  expect(await levels(frames)).toEqual([10, 20, 30, 40])
  const video = await openVideo(frames)
  expect([video.seconds, video.hasVideo, video.hasAudio]).toEqual([4, true, false])
  await expect(openVideo(frames, { maxSeconds: 3 })).rejects.toThrow("frames: expected at most 3 s, got 4 s")
})

test("one image is a video of one frame, whatever its name", async () => {
  const path = join(folder, "photo.mp4")
  await gray(77).png().toFile(path)
  expect(await levels(path)).toEqual([77])
})

describe.each(["gif", "webp"] as const)("a moving %s", (format) => {
  /** Pages of these levels, each shown for so many ms. */
  async function moving(name: string, pages: readonly (readonly [level: number, ms: number])[], options = {}) {
    const images = await Promise.all(pages.map(([level]) => gray(level).png().toBuffer()))
    const joined = sharp(images, { join: { animated: true } })
    const delay = pages.map(([, ms]) => ms)
    const path = join(folder, name)
    const made =
      format === "gif" ? joined.gif({ delay, ...options }) : joined.webp({ delay, lossless: true, ...options })
    writeFileSync(path, await made.toBuffer())
    return path
  }

  test.each([
    [
      "whole seconds",
      [
        [10, 1000],
        [20, 1000],
        [30, 1000],
      ],
      3,
      [20, 30, 30],
    ],
    [
      "a started second",
      [
        [10, 700],
        [20, 700],
        [30, 100],
      ],
      1.5,
      [20, 30],
    ],
    [
      "less than a second",
      [
        [10, 100],
        [20, 200],
      ],
      0.3,
      [20],
    ],
    [
      "pages longer than a second",
      [
        [10, 2500],
        [20, 500],
      ],
      3,
      [10, 10, 20],
    ],
    [
      "no delay, as browsers show it",
      [
        [10, 0],
        [20, 10],
        [30, 1000],
      ],
      1.2,
      [30, 30],
    ],
  ] as const)("of %s shows each second's end", async (name, pages, seconds, expected) => {
    const path = await moving(`${name}.mp4`, pages)
    const video = await openVideo(path, { programs: { ffmpeg: "none", ffprobe: "none" } })
    expect([video.seconds, video.isStill, video.hasVideo, video.hasAudio]).toEqual([seconds, false, true, false])
    expect(await levels(path)).toEqual(expected)
    expect(await levels(path)).toEqual(expected)
    await expect(openVideo(path, { maxSeconds: 0.2 })).rejects.toThrow(/\.mp4: expected at most 0\.2 s, got \d s/)
  })

  test("is a still with one page, and its first page as an image", async () => {
    const path = join(folder, `one.${format}`)
    await gray(50).toFormat(format).toFile(path)
    expect([(await openVideo(path)).isStill, await levels(path)]).toEqual([true, [50]])
    const two = await moving(`two.${format}`, [
      [60, 100],
      [70, 100],
    ])
    expect((await readImage(two, { source: "image" })).data[0]).toBe(60)
    expect(await readPictureOrSound(two, { source: "content" })).toMatchObject({ image: { width: 4, height: 3 } })
  })

  test("that is cut short gives what it has, or names its file", async () => {
    const path = await moving(`cut.${format}`, [
      [10, 1000],
      [20, 1000],
      [30, 1000],
    ])
    writeFileSync(path, readFileSync(path).subarray(0, -20))
    const shown = levels(path)
    if (format === "gif") return expect(await shown).toEqual([20, 20]) // libvips leaves the broken page out
    await expect(shown).rejects.toThrow(InputError)
    await expect(shown).rejects.toThrow(/cut\.webp: expected a complete JPEG/)
  })

  test("of large pages is refused by its header", async () => {
    const path = await moving(`huge.${format}`, [
      [10, 1000],
      [20, 1000],
    ])
    const bytes = readFileSync(path)
    // The canvas: two 16-bit sizes of a GIF, two 24-bit ones less 1 in a WebP's VP8X chunk.
    const descriptor = bytes.indexOf(Uint8Array.of(0x2c, 0, 0, 0, 0))
    if (format === "gif") for (const at of [6, 8, descriptor + 5, descriptor + 7]) bytes.writeUInt16LE(6000, at)
    else for (const at of [24, 27]) bytes.writeUIntLE(5999, at, 3)
    writeFileSync(path, bytes)
    await expect(openVideo(path)).rejects.toThrow(
      `huge.${format}: expected at most 33177600 pixels in a moving picture, got 6000x6000 (make it smaller)`,
    )
  })
})

test("a small WebP that claims months is refused by its length", async () => {
  const pages = Array.from({ length: 1000 }, (_, i) =>
    sharp({ create: { width: 4, height: 3, channels: 3, background: { r: i % 256, g: i >> 8, b: 0 } } })
      .png()
      .toBuffer(),
  )
  const bytes = await sharp(await Promise.all(pages), { join: { animated: true } })
    .webp({ lossless: true, delay: pages.map(() => 100) })
    .toBuffer()
  // The 24 bits of each page's time in milliseconds.
  for (let at = bytes.indexOf("ANMF"); at >= 0; at = bytes.indexOf("ANMF", at + 1))
    bytes.writeUIntLE(0xffffff, at + 20, 3)
  const path = join(folder, "months.webp")
  writeFileSync(path, bytes)
  await expect(openVideo(path)).rejects.toThrow("months.webp: expected at most 3600 s, got 16777215 s (cut it")
})

test("a picture that is not decoded is told as one, not as sound or a video", async () => {
  const photo = join(folder, "IMG_1.HEIC")
  writeFileSync(photo, Buffer.from("\0\0\0\x18ftypheic\0\0\0\0mif1heic", "latin1"))
  const message = /IMG_1\.HEIC: expected a JPEG.*, got HEIC, as telephones take photos \(save it as JPEG first\)$/
  await expect(openVideo(photo)).rejects.toThrow(message)
  await expect(readPictureOrSound(photo, { source: "content" })).rejects.toThrow(message)
})

test("a damaged image names its file when it is reached", async () => {
  const frames = join(folder, "damaged")
  mkdirSync(frames)
  await gray(1).png().toFile(join(frames, "1.png"))
  writeFileSync(join(frames, "2.png"), (await gray(2).png().toBuffer()).subarray(0, 50))
  await expect(levels(frames)).rejects.toThrow(InputError)
  await expect(levels(frames)).rejects.toThrow(/2\.png: expected a complete JPEG/)
})

test("folders without images and missing files are refused", async () => {
  const empty = join(folder, "empty")
  mkdirSync(empty)
  await expect(openVideo(empty)).rejects.toThrow(
    "empty: expected 1 to 100000 PNG, JPEG or WebP files, got 0 (name them",
  )
  await expect(openVideo(join(folder, "none.mp4"))).rejects.toThrow(
    /none\.mp4: expected a file or folder, got: ENOENT.*\(check the path\)$/,
  )
})
