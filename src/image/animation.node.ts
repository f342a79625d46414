/**
 * @file Moving GIF and WebP pictures in Node, through sharp (libvips), which knows no other moving ones. As in
 * `decode.node.ts`, the header is measured before anything is decoded.
 */
import sharp from "sharp"
import { InputError } from "../util/index.ts"
import { damagedImage, imageFromRaw } from "./decode.node.ts"
import type { ImageBehaviour, RgbImage } from "./rgb-image.ts"
import { sniffFormat } from "./sniff.ts"

/** What the header of a moving picture says. */
export type Animation = {
  readonly width: number
  readonly height: number
  /** When each page is replaced, in ms from the beginning; the last one's is the end. One loop alone counts. */
  readonly endsMs: readonly number[]
}

/** A frame of 8K, as of videos: each page is composed at full size. */
const MAX_PAGE_PIXELS = 7680 * 4320

/** Pages are decoded so many pixels at a time: libvips begins at the first page each time, so few at a time is slow. */
const BATCH_PIXELS = 32e6

/** Browsers and ffmpeg take delays up to this for "as fast as possible", which means a tenth of a second. */
const SHORTEST_DELAY_MS = 11
const DEFAULT_DELAY_MS = 100

/**
 * @param bytes the whole file
 * @returns undefined for a picture that does not move
 * @throws InputError when the file is empty, damaged, of no known format, or its pages are larger than 8K
 */
export async function readAnimation(bytes: Uint8Array, source: string): Promise<Animation | undefined> {
  const format = sniffFormat(bytes, source)
  if (format !== "gif" && format !== "webp") return undefined
  const metadata = await sharp(bytes, { limitInputPixels: false })
    .metadata()
    .catch((cause: unknown) => {
      throw damagedImage(source, cause)
    })
  const { width, height, pages = 1, delay = [] } = metadata
  if (pages === 1) return undefined
  if (width * height > MAX_PAGE_PIXELS) {
    throw new InputError(
      `${source}: expected at most ${MAX_PAGE_PIXELS} pixels in a moving picture, got ${width}x${height} ` +
        "(make it smaller)",
    )
  }
  let endMs = 0
  const endsMs = Array.from({ length: pages }, (_, page) => {
    const shownMs = delay[page] ?? 0
    endMs += shownMs < SHORTEST_DELAY_MS ? DEFAULT_DELAY_MS : shownMs
    return endMs
  })
  return { width, height, endsMs }
}

/**
 * Some pages of a moving picture, decoded when they are asked for.
 * @param pages their numbers, ascending; a number may stand more than once
 * @throws InputError when the file is damaged
 */
export async function* decodePages(
  bytes: Uint8Array,
  { width, height }: Animation,
  pages: readonly number[],
  { behaviour, source }: { readonly behaviour: ImageBehaviour; readonly source: string },
): AsyncGenerator<RgbImage> {
  const most = Math.max(1, Math.floor(BATCH_PIXELS / (width * height)))
  for (let at = 0; at < pages.length; ) {
    const first = pages[at]!
    const batch = pages.slice(at).filter((page) => page < first + most)
    at += batch.length
    const count = batch.at(-1)! - first + 1
    const { data, info } = await sharp(bytes, { page: first, pages: count, limitInputPixels: width * height * count })
      .toColourspace("srgb")
      .raw()
      .toBuffer({ resolveWithObject: true })
      .catch((cause: unknown) => {
        throw damagedImage(source, cause)
      })
    const pageBytes = width * height * info.channels
    for (const page of batch) {
      const begin = (page - first) * pageBytes
      const pixels = new Uint8Array(data.subarray(begin, begin + pageBytes)) // a view would keep the whole batch
      yield imageFromRaw(pixels, { width, height, channels: info.channels }, behaviour)
    }
  }
}
