/** @file Pages of moving pictures: the right ones, across batches, in both behaviours, each in memory of its own. */
import sharp from "sharp"
import { expect, test } from "vitest"
import { decodePages, readAnimation } from "./index.node.ts"

/** A page of one gray level. */
async function moving(side: number, levels: readonly number[]): Promise<Uint8Array> {
  const pages = levels.map((level) => {
    const background = { r: level, g: level, b: level, alpha: level === 0 ? 0 : 1 }
    return sharp({ create: { width: side, height: side, channels: 4, background } })
      .png()
      .toBuffer()
  })
  const delay = levels.map(() => 1000)
  return await sharp(await Promise.all(pages), { join: { animated: true } })
    .gif({ delay, effort: 1 })
    .toBuffer()
}

test("pages larger than a batch, some left out, some twice", async () => {
  const levels = [10, 20, 30]
  const bytes = await moving(3300, levels) // two of them are a batch
  const animation = (await readAnimation(bytes, "picture"))!
  expect(animation).toEqual({ width: 3300, height: 3300, endsMs: [1000, 2000, 3000] })
  const pages = [0, 0, 2, 2]
  const found: number[] = []
  for await (const { data, width, height } of decodePages(bytes, animation, pages, {
    behaviour: "live",
    source: "x",
  })) {
    expect([width, height, data.byteLength, data.buffer.byteLength]).toEqual([3300, 3300, 32_670_000, 32_670_000])
    expect(data[0]).toBe(data.at(-1))
    found.push(data[0]!)
  }
  expect(found).toEqual(pages.map((page) => levels[page]))
})

test("what is transparent is white in live calls, and black in the reference", async () => {
  const bytes = await moving(4, [0, 100])
  const animation = (await readAnimation(bytes, "picture"))!
  for (const [behaviour, level] of [
    ["live", 255],
    ["reference", 0],
  ] as const) {
    const pages = await Array.fromAsync(decodePages(bytes, animation, [0, 1], { behaviour, source: "x" }))
    expect(pages.map(({ data }) => data[0])).toEqual([level, 100])
  }
})

test("other pictures do not move", async () => {
  const still = sharp({ create: { width: 4, height: 4, channels: 3, background: "red" } })
  for (const format of ["png", "jpeg", "webp", "gif", "tiff"] as const) {
    expect(await readAnimation(await still.clone().toFormat(format).toBuffer(), "picture")).toBe(undefined)
  }
})
