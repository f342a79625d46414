/**
 * @file Pictures and sound as a caller of the library has them: a path, a file URL, the bytes of a file, or what is decoded
 * already. Nothing here asks the network.
 */
import { fileURLToPath } from "node:url"
import { checkPcm, decodeAudio, int16ToFloat } from "../audio/index.ts"
import { decodeImage } from "../image/index.node.ts"
import { checkPixels, type ImageBehaviour, type RgbaImage, type RgbImage, toRgb } from "../image/index.ts"
import { errorText, InputError } from "../util/index.ts"
import { MEDIA_SAMPLE_RATE_HZ } from "./ffmpeg.ts"
import { firstBytes, readImageFile } from "./frames.ts"
import { isImage, readAudioFile } from "./open.ts"

/** A path, a `file:` URL, the bytes of a file, or the file itself. */
export type FileInput = string | URL | Uint8Array | Blob

/** A picture: a file, or decoded 8-bit pixels (RGB or RGBA by their number; ImageData is one). */
export type ImageInput = FileInput | RgbImage | RgbaImage

/** Mono sound in memory: floats in [-1, 1], or 16-bit samples. */
export type PcmInput = { readonly pcm: Float32Array | Int16Array; readonly sampleRateHz: number }

/** A recording: a file, or mono samples. */
export type AudioInput = FileInput | PcmInput

/** Enough to tell the format of a file. */
const SNIFFED_BYTES = 4096

type Reading = {
  /** Names the input in errors, as in `messages[0].content[1]`. */
  readonly source: string
  readonly behaviour?: ImageBehaviour | undefined
  readonly signal?: AbortSignal | undefined
}

/** @throws InputError naming `source` or the file when it is no picture, damaged, or too large */
export async function readImage(input: ImageInput, { source, behaviour = "live" }: Reading): Promise<RgbImage> {
  const path = pathOf(input, source)
  if (path !== undefined) return await readImageFile(path, behaviour)
  const bytes = await bytesOf(input)
  if (bytes) return await decodeImage(bytes, { behaviour, source })
  const { width, height, data } = Object(input) as Partial<RgbImage | RgbaImage>
  if (width === undefined || height === undefined || data === undefined)
    throw unknown(source, "a path, a file URL, bytes, or { width, height, data }", input)
  if (data.length === width * height * 4) return toRgb({ width, height, data }, behaviour)
  checkPixels(source, { width, height, data }, 3)
  return { width, height, data: data as Uint8Array }
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
  const { pcm, sampleRateHz } = Object(input) as Partial<PcmInput>
  if (pcm === undefined) throw unknown(source, "a path, a file URL, bytes, or { pcm, sampleRateHz }", input)
  const floats = checkSamples(`${source}: pcm`, pcm)
  if (!(sampleRateHz !== undefined && Number.isFinite(sampleRateHz) && sampleRateHz > 0))
    throw new InputError(`${source}: expected a sampleRateHz above 0, got ${sampleRateHz}`)
  checkPcm(floats, source)
  return { pcm: floats, sampleRateHz }
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

/**
 * Samples as floats; 16-bit ones are scaled to [-1, 1). Nothing else is taken for samples: bytes may be those of any format.
 * @throws InputError naming `source`
 */
export function checkSamples(source: string, pcm: unknown): Float32Array {
  if (pcm instanceof Float32Array) return pcm
  if (pcm instanceof Int16Array) return int16ToFloat(pcm)
  const isBytes = pcm instanceof Uint8Array
  const hint = isBytes
    ? "bytes of 16-bit samples: new Int16Array(bytes.buffer, bytes.byteOffset, bytes.length / 2)"
    : "mono samples"
  const got =
    ArrayBuffer.isView(pcm) || Array.isArray(pcm) ? `a ${pcm.constructor.name}` : pcm === null ? "null" : typeof pcm
  throw new InputError(`${source}: expected a Float32Array or an Int16Array, got ${got} (${hint})`)
}

function pathOf(input: unknown, source: string): string | undefined {
  if (typeof input === "string") return input
  if (!(input instanceof URL)) return undefined
  if (input.protocol !== "file:")
    throw new InputError(`${source}: expected a file URL, got one of ${input.protocol} (fetch it, and pass its bytes)`)
  try {
    return fileURLToPath(input)
  } catch (cause) {
    throw new InputError(`${source}: expected the URL of a file here, got one that is not: ${errorText(cause)}`, {
      cause,
    })
  }
}

async function bytesOf(input: unknown): Promise<Uint8Array | undefined> {
  if (input instanceof Blob) return new Uint8Array(await input.arrayBuffer())
  return input instanceof Uint8Array ? input : undefined
}

function unknown(source: string, expected: string, got: unknown): InputError {
  const shown =
    typeof got === "object" && got !== null ? `an object with ${Object.keys(got).join(", ") || "nothing"}` : typeof got
  return new InputError(`${source}: expected ${expected}, got ${shown}`)
}
