/**
 * @file Pictures and sound as a page has them: files (of a picker, a drop, a recorder), bytes, bitmaps, pixels, samples. Nothing
 * here asks the network. WAV, MP3, FLAC and Ogg are decoded as in Node.js, other sound by the browser, which does that in pages
 * alone.
 */
import { decodeAudio, resample, sniffAudio } from "../audio/index.ts"
import { isImage, type RgbaImage, type RgbImage, toRgb } from "../image/index.ts"
import { decodeImage, pixelsOf } from "../image/index.web.ts"
import { errorText, InputError } from "../util/index.ts"
import { type PcmInput, type Reading, readPcm, readPixels } from "./raw.ts"

/** A file, or its bytes. */
export type FileInput = Blob | Uint8Array | ArrayBuffer

/** A picture: a file, a bitmap (of a camera: `createImageBitmap(video)`), or pixels; ImageData is one. */
export type ImageInput = FileInput | ImageBitmap | RgbImage | RgbaImage

/** A recording: a file, or mono samples. */
export type AudioInput = FileInput | PcmInput

const SAMPLE_RATE_HZ = 16_000
/** What browsers decode files at: none of ours loses by it. */
const DECODING_RATE_HZ = 48_000
/** Enough to tell the format of a file. */
const SNIFFED_BYTES = 4096
/** As of files in Node.js. */
const MAX_SECONDS = 3600

const FORMS = "a Blob, bytes"

/** @throws InputError naming `source` when it is no picture, damaged, or too large */
export async function readImage(input: ImageInput, { source, behaviour = "live" }: Reading): Promise<RgbImage> {
  refuseAddress(input, source)
  if (isBitmap(input)) return toRgb(pixelsOf(input, source), behaviour)
  const bytes = await bytesOf(input, source)
  if (bytes) return await decodeImage(bytes, { behaviour, source })
  return readPixels(input, { source, behaviour, forms: `${FORMS}, an ImageBitmap` })
}

/**
 * @returns mono; files come at 16 kHz
 * @throws InputError naming `source` when it is no sound, damaged, or has samples that are no numbers
 */
export async function readSoundInput(
  input: AudioInput,
  { source, signal }: Reading,
): Promise<{ pcm: Float32Array; sampleRateHz: number }> {
  refuseAddress(input, source)
  const bytes = await bytesOf(input, source)
  if (!bytes) return readPcm(input, { source, forms: FORMS })
  signal?.throwIfAborted()
  if (!isOurs(bytes)) return { pcm: await decodeInPage(bytes, source), sampleRateHz: SAMPLE_RATE_HZ }
  const { pcm, sampleRateHz } = await decodeAudio(bytes, { sampleRateHz: SAMPLE_RATE_HZ, source })
  return { pcm, sampleRateHz }
}

/** A picture or sound; which of them a file is, its first bytes say. Throws as {@link readImage} and {@link readSoundInput}. */
export async function readPictureOrSound(
  input: ImageInput | AudioInput,
  reading: Reading,
): Promise<{ readonly image: RgbImage } | { readonly audio: { pcm: Float32Array; sampleRateHz: number } }> {
  const start = input instanceof Blob ? input.slice(0, SNIFFED_BYTES) : input
  const bytes = await bytesOf(start, reading.source)
  if (bytes ? isImage(bytes) : "width" in Object(input)) return { image: await readImage(input as ImageInput, reading) }
  return { audio: await readSoundInput(input as AudioInput, reading) }
}

/** A bitmap may be closed, and is taken at once; a Blob never changes. */
export function copyImage(input: ImageInput, source: string): ImageInput {
  return isBitmap(input) ? pixelsOf(input, source) : input
}

function isBitmap(input: unknown): input is ImageBitmap {
  return typeof ImageBitmap !== "undefined" && input instanceof ImageBitmap
}

function isOurs(bytes: Uint8Array): boolean {
  try {
    sniffAudio(bytes, "")
    return true
  } catch {
    return bytes.length === 0 // told as in Node.js
  }
}

/** Whatever the browser plays: AAC, WebM of its recorder, the sound of videos. */
async function decodeInPage(bytes: Uint8Array, source: string): Promise<Float32Array> {
  const advice = "send WAV, MP3, FLAC or Ogg"
  if (typeof OfflineAudioContext === "undefined") {
    const got = "another file, which pages alone can decode"
    throw new InputError(`${source}: expected a WAV, MP3, FLAC or Ogg file in a worker, got ${got} (${advice})`)
  }
  const context = new OfflineAudioContext({ numberOfChannels: 1, length: 1, sampleRate: DECODING_RATE_HZ })
  let decoded: AudioBuffer
  try {
    decoded = await context.decodeAudioData(bytes.slice().buffer) // which it takes away
  } catch (cause) {
    const problem = `expected sound that this browser can decode, got: ${errorText(cause)}`
    throw new InputError(`${source}: ${problem} (${advice}, or record it again)`, { cause })
  }
  if (decoded.duration > MAX_SECONDS)
    throw new InputError(`${source}: expected at most ${MAX_SECONDS} s of sound, got ${decoded.duration.toFixed(1)} s`)
  const channels = Array.from({ length: decoded.numberOfChannels }, (_, i) => decoded.getChannelData(i))
  return resample(mixChannels(channels), decoded.sampleRate, SAMPLE_RATE_HZ)
}

function mixChannels(channels: readonly Float32Array[]): Float32Array {
  return channels.length === 1
    ? channels[0]!
    : channels[0]!.map((_, i) => channels.reduce((sum, channel) => sum + channel[i]!, 0) / channels.length)
}

function refuseAddress(input: unknown, source: string): void {
  if (typeof input !== "string" && !(input instanceof URL)) return
  throw new InputError(`${source}: expected ${FORMS}, pixels or samples, got an address (fetch it, and pass its Blob)`)
}

async function bytesOf(input: unknown, source: string): Promise<Uint8Array | undefined> {
  if (input instanceof Uint8Array) return input
  if (input instanceof ArrayBuffer) return new Uint8Array(input)
  if (!(input instanceof Blob)) return undefined
  try {
    return new Uint8Array(await input.arrayBuffer())
  } catch (cause) {
    throw new InputError(`${source}: expected a readable file, got: ${errorText(cause)} (did it change?)`, { cause })
  }
}
