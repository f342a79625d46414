import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import sharp from "sharp"
import { afterAll, beforeAll, expect, test } from "vitest"
import { InputError } from "../util/index.ts"
import { openVideo } from "./index.ts"

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
