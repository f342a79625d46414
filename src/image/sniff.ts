/**
 * @file Recognizes image files by their first bytes, before any decoder sees them. SVG is left out on purpose: it is a
 * program to run rather than a picture, and the official code does not read it either.
 */
import { findSignature, InputError, type Signature, textAt } from "../util/index.ts"

/** File formats that are decoded. */
export type ImageFormat = "jpeg" | "png" | "webp" | "gif" | "tiff" | "avif"

/** For error texts. */
export const FORMAT_NAMES = "JPEG, PNG, WebP, GIF, TIFF or AVIF"

/** The first match wins. AVIF shares its container with MP4 and HEIC: its brand decides. */
const SIGNATURES: readonly Signature<ImageFormat>[] = [
  { name: "jpeg", offset: 0, text: "\xff\xd8\xff" },
  { name: "png", offset: 0, text: "\x89PNG\r\n\x1a\n" },
  { name: "gif", offset: 0, text: "GIF8" },
  { name: "webp", offset: 8, text: "WEBP" },
  { name: "tiff", offset: 0, text: "II*\0" },
  { name: "tiff", offset: 0, text: "MM\0*" },
  { name: "tiff", offset: 0, text: "II+\0" }, // files over 4 GB
  { name: "tiff", offset: 0, text: "MM\0+" },
  { name: "avif", offset: 4, text: "ftypavif" },
  { name: "avif", offset: 4, text: "ftypavis" },
  { name: "avif", offset: 4, text: "ftypmif1" },
]

/** Pictures that are known, but not decoded. */
const FOREIGN: readonly Signature<string>[] = [
  ...["heic", "heix", "heim", "heis", "hevc", "hevx"].map((brand) => {
    return { name: "HEIC, as telephones take photos", offset: 4, text: `ftyp${brand}` }
  }),
  { name: "JPEG XL", offset: 0, text: "\xff\x0a" },
  { name: "JPEG XL", offset: 4, text: "JXL " },
  { name: "JPEG 2000", offset: 4, text: "jP  " },
  { name: "Photoshop", offset: 0, text: "8BPS" },
  { name: "PDF", offset: 0, text: "%PDF" },
]

function foreignFormat(bytes: Uint8Array): string | undefined {
  // Two letters alone are no sign; the four bytes behind the size are 0 in every bitmap.
  if (textAt(bytes, 0, 2) === "BM" && textAt(bytes, 6, 4) === "\0\0\0\0") return "BMP"
  return findSignature(bytes, FOREIGN)
}

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
  const format = findSignature(bytes, SIGNATURES)
  if (format !== undefined) return format
  const fail = (got: string) => new InputError(`${where}: expected a ${FORMAT_NAMES} file, got ${got}`)
  const foreign = foreignFormat(bytes)
  if (foreign !== undefined) throw fail(`${foreign} (save it as JPEG first)`)
  if (textAt(bytes, 4, 4) === "ftyp") throw fail("MP4 or a format of its kind (give a picture out of it)")
  const start = Array.from(bytes.subarray(0, 8), (byte) => byte.toString(16).padStart(2, "0")).join(" ")
  throw fail(`${bytes.length} bytes that begin with ${start} (convert it first)`)
}

/** The format of a picture, also of one that is not decoded here: what is wrong with it, {@link sniffFormat} tells. */
export const pictureFormat = (start: Uint8Array): string | undefined =>
  findSignature(start, SIGNATURES) ?? foreignFormat(start)

/** True for the first bytes of a picture. */
export const isImage = (start: Uint8Array): boolean => pictureFormat(start) !== undefined
