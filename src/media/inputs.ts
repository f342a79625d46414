/**
 * @file Pictures and sound as a caller of the library has them: a path, a file URL, the bytes of a file, or what is decoded
 * already. Nothing here asks the network.
 */
import { fileURLToPath } from "node:url"
import { decodeAudio } from "../audio/index.ts"
import { decodeImage } from "../image/index.node.ts"
import { isImage, type RgbaImage, type RgbImage } from "../image/index.ts"
import { errorText, InputError } from "../util/index.ts"
import { MEDIA_SAMPLE_RATE_HZ } from "./ffmpeg.ts"
import { firstBytes, readImageFile } from "./frames.ts"
import { readAudioFile } from "./open.ts"
import { type PcmInput, type Reading, readPcm, readPixels } from "./raw.ts"

/** A path, a `file:` URL, the bytes of a file, or the file itself. */
export type FileInput = string | URL | Uint8Array | ArrayBuffer | Blob

/** A picture: a file, or decoded 8-bit pixels (RGB or RGBA by their number; ImageData is one). */
export type ImageInput = FileInput | RgbImage | RgbaImage

/** A recording: a file, or mono samples. */
export type AudioInput = FileInput | PcmInput

/** Enough to tell the format of a file. */
const SNIFFED_BYTES = 4096

/** What a picture or sound may be beside pixels and samples, for errors. */
const FILE_FORMS = "a path, a file URL, bytes"

/** @throws InputError naming `source` or the file when it is no picture, damaged, or too large */
export async function readImage(input: ImageInput, { source, behaviour = "live" }: Reading): Promise<RgbImage> {
  const path = pathOf(input, source)
  if (path !== undefined) return await readImageFile(path, behaviour)
  const bytes = await bytesOf(input)
  if (bytes) return await decodeImage(bytes, { behaviour, source })
  return readPixels(input, { source, behaviour, forms: FILE_FORMS })
}

/**
 * @returns mono; files come at 16 kHz
 * @throws InputError naming `source` or the file when it is no sound, damaged, or has samples that are no numbers
 */
export async function readSoundInput(
  input: AudioInput,
  { source, signal }: Reading,
): Promise<{ pcm: Float32Array; sampleRateHz: number }> {
  const path = pathOf(input, source)
  if (path !== undefined) {
    const { pcm, sampleRateHz } = await readAudioFile(path, { signal })
    return { pcm, sampleRateHz }
  }
  const bytes = await bytesOf(input)
  if (bytes) {
    const { pcm, sampleRateHz } = await decodeAudio(bytes, { sampleRateHz: MEDIA_SAMPLE_RATE_HZ, source })
    return { pcm, sampleRateHz }
  }
  return readPcm(input, { source, forms: FILE_FORMS })
}

/** A picture or sound; which of them a file is, its first bytes say. Throws as {@link readImage} and {@link readSoundInput}. */
export async function readPictureOrSound(
  input: ImageInput | AudioInput,
  reading: Reading,
): Promise<{ readonly image: RgbImage } | { readonly audio: { pcm: Float32Array; sampleRateHz: number } }> {
  const path = pathOf(input, reading.source)
  const start =
    path === undefined ? (await bytesOf(input))?.subarray(0, SNIFFED_BYTES) : await firstBytes(path, SNIFFED_BYTES)
  const picture = start ? isImage(start) : "width" in Object(input)
  if (picture) return { image: await readImage(input as ImageInput, reading) }
  return { audio: await readSoundInput(input as AudioInput, reading) }
}

/** A letter alone is a drive. */
const ADDRESS = /^([a-z][a-z\d+.-]+):/i

/** More is no path on any system, but data. */
const MAX_PATH_LENGTH = 4096

function pathOf(input: unknown, source: string): string | undefined {
  if (typeof input === "string") {
    const scheme = ADDRESS.exec(input.slice(0, 100))?.[1]?.toLowerCase()
    if (scheme === "file") return filePathOf(input, source)
    if (scheme === "data" || scheme === "blob" || scheme === "http" || scheme === "https") throw noFile(source, scheme)
    if (input.length <= MAX_PATH_LENGTH) return input
    throw new InputError(
      `${source}: expected a path of at most ${MAX_PATH_LENGTH} characters, got ${input.length} (pass data as bytes)`,
    )
  }
  if (!(input instanceof URL)) return undefined
  if (input.protocol !== "file:") throw noFile(source, input.protocol.slice(0, -1))
  return filePathOf(input, source)
}

function noFile(source: string, scheme: string): InputError {
  const advice = scheme === "data" ? "decode it" : "fetch it"
  return new InputError(`${source}: expected a file URL, got one of ${scheme}: (${advice}, and pass its bytes)`)
}

function filePathOf(url: string | URL, source: string): string {
  try {
    return fileURLToPath(url)
  } catch (cause) {
    throw new InputError(`${source}: expected the URL of a file here, got one that is not: ${errorText(cause)}`, {
      cause,
    })
  }
}

async function bytesOf(input: unknown): Promise<Uint8Array | undefined> {
  if (input instanceof Blob) return new Uint8Array(await input.arrayBuffer())
  if (input instanceof ArrayBuffer) return new Uint8Array(input)
  return input instanceof Uint8Array ? input : undefined
}
