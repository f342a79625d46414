/**
 * @file Image files to RGB pixels in Node, through sharp (libvips). Hostile files are the normal case here: the format is
 * recognized and the pixel limit checked before anything is decoded, and every failure is an InputError.
 *
 * `reference` gives the pixels of Pillow's `convert("RGB")`: alpha dropped, EXIF orientation and colour profiles ignored,
 * 16-bit colour cut to its high byte, 16-bit gray clipped at 255 (so nearly white), CMYK converted without a profile.
 * `live` gives what a viewer shows: alpha on white, EXIF orientation applied, colours converted to sRGB, 16 bits scaled.
 * Known difference of `reference`: fully transparent pixels of a GIF are black, where Pillow keeps a palette colour.
 */
import sharp, { type Metadata, type OutputInfo, type Sharp } from "sharp"
import { errorText, InputError } from "../util/index.ts"
import { DEFAULT_MAX_PIXELS, type ImageBehaviour, type RgbImage, rgbImage, toRgb } from "./rgb-image.ts"
import { FORMAT_NAMES, sniffFormat } from "./sniff.ts"

/** How to decode. */
export type DecodeOptions = {
  readonly behaviour: ImageBehaviour
  /** Most width x height; bounds memory, which is 3 to 12 bytes per pixel while decoding. */
  readonly maxPixels?: number
  /** Where the bytes come from, for errors. */
  readonly source?: string
}

/**
 * Decodes the first frame of an image file.
 * @param bytes the whole file
 * @throws InputError when the file is empty, damaged, cut short, of another format, or has more than `maxPixels`
 */
export async function decodeImage(bytes: Uint8Array, options: DecodeOptions): Promise<RgbImage> {
  const { behaviour, maxPixels = DEFAULT_MAX_PIXELS, source = "decodeImage" } = options
  sniffFormat(bytes, source)
  const reference = behaviour === "reference"
  try {
    // The header is read without a limit, so that the refusal can name the size.
    const metadata = await sharp(bytes, { limitInputPixels: false }).metadata()
    const { width, height } = metadata
    if (width * height > maxPixels) {
      throw new InputError(
        `${source}: expected at most ${maxPixels} pixels, got ${width}x${height} = ${width * height}` +
          " (make the image smaller, or raise maxPixels)",
      )
    }
    const image = sharp(bytes, { limitInputPixels: maxPixels, failOn: "error", ignoreIcc: reference })
    return await (reference ? decodeReference(image, metadata) : decodeLive(image))
  } catch (cause) {
    throw cause instanceof InputError ? cause : damagedImage(source, cause)
  }
}

/** What is told of a file that libvips fails on. */
export function damagedImage(source: string, cause: unknown): InputError {
  const reason = errorText(cause)
    .replaceAll(/source: bad seek to \d+\s/g, "")
    .replaceAll(/\s+/g, " ")
    .trim()
  return new InputError(
    `${source}: expected a complete ${FORMAT_NAMES} file, got one that fails with "${reason}"` +
      " (send the whole file, or save it again)",
    { cause },
  )
}

/** sharp applies profile and orientation; alpha is composited by the code that the browser uses as well. */
async function decodeLive(image: Sharp): Promise<RgbImage> {
  const { data, info } = await image.autoOrient().toColourspace("srgb").raw().toBuffer({ resolveWithObject: true })
  return imageFromRaw(data, info, "live")
}

async function decodeReference(image: Sharp, { space, depth }: Metadata): Promise<RgbImage> {
  if (space === "cmyk") {
    const inks = image.pipelineColourspace("cmyk").toColourspace("cmyk").raw()
    const { data, info } = await inks.toBuffer({ resolveWithObject: true })
    return rgbImage(info.width, info.height, cmykToRgb(data, info.channels))
  }
  if (depth === "ushort") {
    const wide = image.pipelineColourspace(space).toColourspace(space).raw({ depth: "ushort" })
    const { data, info } = await wide.toBuffer({ resolveWithObject: true })
    return imageFromRaw(narrow(data, info.channels === 1), info, "reference")
  }
  const { data, info } = await image.toColourspace("srgb").raw().toBuffer({ resolveWithObject: true })
  return imageFromRaw(data, info, "reference")
}

/** Gray, gray with alpha, RGB or RGBA to RGB. */
export function imageFromRaw(
  data: Uint8Array,
  { width, height, channels }: Pick<OutputInfo, "width" | "height" | "channels">,
  behaviour: ImageBehaviour,
): RgbImage {
  if (channels === 3) return rgbImage(width, height, data)
  if (channels === 4) return toRgb({ width, height, data }, behaviour)
  const rgba = new Uint8Array(width * height * 4)
  for (let from = 0, to = 0; to < rgba.length; from += channels, to += 4) {
    rgba[to] = rgba[to + 1] = rgba[to + 2] = data[from]!
    rgba[to + 3] = channels === 2 ? data[from + 1]! : 255
  }
  return toRgb({ width, height, data: rgba }, behaviour)
}

/** 16 bits to 8. Quirk of Pillow: plain gray is clipped instead of scaled; colour and gray with alpha keep the high byte. */
function narrow(bytes: Uint8Array, clip: boolean): Uint8Array {
  const words = new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 2)
  const out = new Uint8Array(words.length)
  for (let i = 0; i < words.length; i++) out[i] = clip ? Math.min(words[i]!, 255) : words[i]! >> 8
  return out
}

/** Ink to light without a colour profile: each ink takes its share of what black leaves over, rounded as Pillow does. */
function cmykToRgb(data: Uint8Array, channels: number): Uint8Array {
  const rgb = new Uint8Array((data.length / channels) * 3)
  for (let from = 0, to = 0; to < rgb.length; from += channels, to += 3) {
    const light = 255 - data[from + 3]!
    for (let ink = 0; ink < 3; ink++) rgb[to + ink] = light - Math.round((data[from + ink]! * light) / 255)
  }
  return rgb
}
