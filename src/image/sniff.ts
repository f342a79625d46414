/**
 * @file Recognizes image files by their first bytes, before any decoder sees them. SVG is left out on purpose: it is a
 * program to run rather than a picture, and the official code does not read it either.
 */
import { InputError } from "../util/index.ts"

/** File formats that are decoded. */
export type ImageFormat = "jpeg" | "png" | "webp" | "gif" | "tiff" | "avif"

/** For error texts. */
export const FORMAT_NAMES = "JPEG, PNG, WebP, GIF, TIFF or AVIF"

/** Text at an offset; latin-1. The first match wins. */
const SIGNATURES: readonly { readonly format: ImageFormat; readonly offset: number; readonly text: string }[] = [
  { format: "jpeg", offset: 0, text: "\xff\xd8\xff" },
  { format: "png", offset: 0, text: "\x89PNG\r\n\x1a\n" },
  { format: "gif", offset: 0, text: "GIF8" },
  { format: "webp", offset: 8, text: "WEBP" },
  { format: "tiff", offset: 0, text: "II*\0" },
  { format: "tiff", offset: 0, text: "MM\0*" },
  { format: "tiff", offset: 0, text: "II+\0" }, // files over 4 GB
  { format: "tiff", offset: 0, text: "MM\0+" },
  { format: "avif", offset: 4, text: "ftyp" },
]

/**
 * Format of an image file.
 * @param bytes the file, or its first 12 bytes
 * @param where for the error
 * @throws InputError when it is empty or none of the known formats
 */
export function sniffFormat(bytes: Uint8Array, where: string): ImageFormat {
  if (bytes.length === 0) {
    throw new InputError(`${where}: expected a ${FORMAT_NAMES} file, got 0 bytes (check where the file comes from)`)
  }
  for (const { format, offset, text } of SIGNATURES) {
    if (String.fromCharCode(...bytes.subarray(offset, offset + text.length)) === text) return format
  }
  const start = Array.from(bytes.subarray(0, 8), (byte) => byte.toString(16).padStart(2, "0")).join(" ")
  throw new InputError(
    `${where}: expected a ${FORMAT_NAMES} file, got ${bytes.length} bytes that begin with ${start} (convert it first)`,
  )
}

/** True for the first bytes of a picture. AVIF shares its container with MP4: there the brand decides. */
export function isImage(start: Uint8Array): boolean {
  try {
    const format = sniffFormat(start, "")
    return format !== "avif" || /^(avif|avis|mif1)$/.test(String.fromCharCode(...start.subarray(8, 12)))
  } catch {
    return false // no image: ffprobe says what it is
  }
}
