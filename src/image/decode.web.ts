/**
 * @file Image files to RGB pixels in browsers, by the browser's own decoder. `live` gives what a viewer shows, as in Node.js:
 * EXIF orientation applied, colours in sRGB, alpha on white. Differences: other decoders round JPEG and profiles by a step or
 * two, a canvas keeps half-transparent pixels with a little loss, browsers read no TIFF, and `reference` cannot see the colours
 * under transparent pixels. Give pixels where that matters.
 */
import { errorText, InputError } from "../util/index.ts"
import { DEFAULT_MAX_PIXELS, type ImageBehaviour, type RgbaImage, type RgbImage, toRgb } from "./rgb-image.ts"
import { FORMAT_NAMES, pictureFormat, sniffFormat } from "./sniff.ts"

/**
 * Decodes the first frame of an image file.
 * @param bytes the whole file
 * @throws InputError when the file is empty, of another format, one that this browser cannot decode, or too large
 */
export async function decodeImage(
  bytes: Uint8Array,
  { behaviour, source }: { readonly behaviour: ImageBehaviour; readonly source: string },
): Promise<RgbImage> {
  // Browsers decode more: all of them BMP, Safari the photos of its telephones.
  const format = pictureFormat(bytes) ?? sniffFormat(bytes, source)
  const live = behaviour === "live"
  let bitmap: ImageBitmap
  try {
    bitmap = await createImageBitmap(new Blob([bytes as Uint8Array<ArrayBuffer>]), {
      imageOrientation: live ? "from-image" : "none",
      colorSpaceConversion: live ? "default" : "none",
      premultiplyAlpha: "none",
    })
  } catch (cause) {
    throw new InputError(
      `${source}: expected a complete ${FORMAT_NAMES} file, got ${format} that this browser cannot decode: ` +
        `${errorText(cause)} (send the whole file, or save it as PNG or JPEG)`,
      { cause },
    )
  }
  try {
    return toRgb(pixelsOf(bitmap, source), behaviour)
  } finally {
    bitmap.close()
  }
}

/** The pixels of a bitmap in sRGB. @throws InputError when it was closed, or is too large */
export function pixelsOf(bitmap: ImageBitmap, source: string): RgbaImage {
  const { width, height } = bitmap
  if (width * height > DEFAULT_MAX_PIXELS) {
    const got = `${width}x${height} = ${width * height}`
    throw new InputError(
      `${source}: expected at most ${DEFAULT_MAX_PIXELS} pixels, got ${got} (make the image smaller)`,
    )
  }
  if (width === 0 || height === 0) throw new InputError(`${source}: expected a bitmap, got one that was closed`)
  // Software, since the pixels are read back at once: exact, and no trip to the GPU.
  const settings = { colorSpace: "srgb", willReadFrequently: true } as const
  const context = new OffscreenCanvas(width, height).getContext("2d", settings)
  if (!context)
    throw new InputError(`${source}: expected a canvas for ${width}x${height}, got none (make the image smaller)`)
  context.drawImage(bitmap, 0, 0)
  return context.getImageData(0, 0, width, height, { colorSpace: "srgb" })
}
