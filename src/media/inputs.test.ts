/** @file What callers take for a picture or sound: addresses, data as text, bytes in every form. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { pathToFileURL } from "node:url"
import sharp from "sharp"
import { afterAll, expect, test } from "vitest"
import { InputError } from "../util/index.ts"
import { readImage, readPictureOrSound, readSoundInput } from "./index.ts"

const folder = mkdtempSync(join(tmpdir(), "omni-inputs-"))
afterAll(() => rmSync(folder, { recursive: true }))
const red = await sharp({ create: { width: 3, height: 2, channels: 3, background: "red" } })
  .png()
  .toBuffer()

test("a file is named by its path, its URL, or the text of that", async () => {
  const path = join(folder, "a photo.png")
  writeFileSync(path, red)
  for (const input of [path, pathToFileURL(path), pathToFileURL(path).href]) {
    expect([...(await readImage(input, { source: "image" })).data.subarray(0, 3)]).toEqual([255, 0, 0])
  }
  await expect(readImage("file://elsewhere/a.png", { source: "image" })).rejects.toThrow(
    "image: expected the URL of a file here, got one that is not",
  )
})

test("bytes come as a view, a buffer or a Blob", async () => {
  const buffer = new Uint8Array(red).buffer
  for (const input of [red, new Uint8Array(red), buffer, new Blob([buffer])]) {
    expect(await readPictureOrSound(input, { source: "content" })).toMatchObject({ image: { width: 3, height: 2 } })
  }
})

test.each([
  [`data:image/png;base64,${red.toString("base64")}`, "a file URL, got one of data: (decode it, and pass its bytes)"],
  ["HTTPS://example.org/x.png", "a file URL, got one of https: (fetch it, and pass its bytes)"],
  ["blob:https://example.org/1", "a file URL, got one of blob: (fetch it, and pass its bytes)"],
  ["A".repeat(5000), "a path of at most 4096 characters, got 5000 (pass data as bytes)"],
])("%s is told without being shown", async (text, expected) => {
  for (const read of [readImage, readSoundInput, readPictureOrSound]) {
    await expect(read(text, { source: "messages[0].content[1]" })).rejects.toThrow(
      new InputError(`messages[0].content[1]: expected ${expected}`),
    )
  }
})
