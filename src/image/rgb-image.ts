/**
 * @file Pixels in memory: 8-bit RGB and RGBA images, and the two ways of losing alpha. Decoders (Node, browser) deliver
 * these; everything after them is pure arithmetic on bytes.
 */
import { InputError } from "../util/index.ts"

/** Width and height in pixels. */
export type Size = { readonly width: number; readonly height: number }

/** 8-bit RGB, rows from top to bottom. */
export type RgbImage = Size & {
  readonly data: Uint8Array // [height, width, 3]
}

/** 8-bit RGB with straight (not premultiplied) alpha; a browser's ImageData is one. */
export type RgbaImage = Size & {
  readonly data: Uint8Array | Uint8ClampedArray // [height, width, 4]
}

/** `reference`: what the official code does, step for step; `live`: what a viewer shows. */
export type ImageBehaviour = "reference" | "live"

/** Pixels of a file accepted by default: beyond this size Pillow, too, refuses an image as a decompression bomb. */
export const DEFAULT_MAX_PIXELS = 178_956_970

/** @throws InputError unless both sides are whole pixels and the data has `channels` bytes for each */
export function checkPixels(where: string, image: Size & { readonly data: ArrayLike<number> }, channels: number): void {
  const { width, height, data } = image
  if (!Number.isSafeInteger(width) || !Number.isSafeInteger(height) || width < 1 || height < 1) {
    throw new InputError(`${where}: expected sides of at least 1 pixel, got ${width}x${height} (check the image)`)
  }
  if (data.length !== width * height * channels) {
    throw new InputError(
      `${where}: expected ${width * height * channels} bytes for ${width}x${height}x${channels}, got ${data.length}` +
        " (pass interleaved 8-bit pixels without row padding)",
    )
  }
}

/**
 * An RGB image over existing bytes; they are not copied.
 * @throws InputError when the bytes do not fill the size
 */
export function rgbImage(width: number, height: number, data: Uint8Array): RgbImage {
  const image = { width, height, data }
  checkPixels("rgbImage", image, 3)
  return image
}

/**
 * RGBA to RGB. `reference` drops alpha, so that hidden colours of transparent pixels appear (quirk of the official
 * processor: `convert("RGB")`); `live` puts the image on white.
 * @throws InputError when the bytes do not fill the size
 */
export function toRgb(image: RgbaImage, behaviour: ImageBehaviour): RgbImage {
  checkPixels("toRgb", image, 4)
  const { width, height, data: source } = image
  const data = new Uint8Array(width * height * 3)
  const onWhite = behaviour === "live"
  for (let from = 0, to = 0; to < data.length; from += 4, to += 3) {
    const alpha = onWhite ? source[from + 3]! : 255
    if (alpha === 255) {
      data[to] = source[from]!
      data[to + 1] = source[from + 1]!
      data[to + 2] = source[from + 2]!
    } else {
      const white = 255 * (255 - alpha) + 127 // 127: round to nearest
      data[to] = (source[from]! * alpha + white) / 255
      data[to + 1] = (source[from + 1]! * alpha + white) / 255
      data[to + 2] = (source[from + 2]! * alpha + white) / 255
    }
  }
  return { width, height, data }
}
