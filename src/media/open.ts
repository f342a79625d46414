/**
 * @file Media files by path: videos (through ffmpeg), folders of frames and images, also moving ones (without it), and sound. What a
 * file is, its content says.
 */
import { stat } from "node:fs/promises"
import { DEFAULT_MAX_AUDIO_SECONDS, decodeAudio, sniffAudio } from "../audio/index.ts"
import { type ImageBehaviour, isImage, type RgbImage } from "../image/index.ts"
import { errorText, InputError } from "../util/index.ts"
import { DEFAULT_PROGRAMS, MEDIA_SAMPLE_RATE_HZ, type Programs, probeMedia, readFrames, readSound } from "./ffmpeg.ts"
import { decodeFrames, firstBytes, frameFiles, movingPicture, readBounded } from "./frames.ts"

export type MediaOptions = {
  /** Longest file accepted; an hour when absent. */
  readonly maxSeconds?: number | undefined
  /** How images are decoded (frames of videos are turned as the file says in both); `live` when absent. */
  readonly behaviour?: ImageBehaviour | undefined
  readonly signal?: AbortSignal | undefined
  /** Where ffmpeg and ffprobe are; found in PATH when absent. */
  readonly programs?: Programs | undefined
}

/** A source of pictures and sound. Each call reads the file anew; stop iterating to stop reading. */
export type Video = {
  /** What the file claims, or the number of image files; undefined when it does not say. */
  readonly seconds: number | undefined
  readonly hasVideo: boolean
  readonly hasAudio: boolean
  /** One image, which shows no time. */
  readonly isStill: boolean
  /** Frame i is what is shown at i + 1 s; empty without pictures.  // each [height, width, 3] */
  frames(): AsyncIterable<RgbImage>
  /** Mono at 16 kHz in pieces of any length; empty without sound. */
  audio(): AsyncIterable<Float32Array>
}

/** Enough for an hour of uncompressed stereo at 48 kHz and 24 bits. */
const MAX_AUDIO_FILE_BYTES = 2 ** 30

/**
 * Opens a video, a sound file, an image, or a folder of images.
 * @throws InputError when there is no such file, nothing in it can be read, or it is longer than `maxSeconds`; ConfigError
 * when it needs ffmpeg and there is none; the signal's reason when aborted. Iterating throws the same.
 */
export async function openVideo(path: string, options: MediaOptions = {}): Promise<Video> {
  const { maxSeconds = DEFAULT_MAX_AUDIO_SECONDS, behaviour = "live", signal, programs = DEFAULT_PROGRAMS } = options
  const info = await stat(path).catch((cause: unknown) => {
    throw new InputError(`${path}: expected a file or folder, got: ${errorText(cause)} (check the path)`, { cause })
  })
  if (info.isDirectory())
    return { ...ofImages(await frameFiles(path), path, { maxSeconds, behaviour }), isStill: false }
  const start = await firstBytes(path, 16)
  if (start.length === 0)
    throw new InputError(`${path}: expected pictures or sound, got 0 bytes (check where the file comes from)`)
  if (isImage(start)) {
    const moving = await movingPicture(path, behaviour)
    if (!moving) return { ...ofImages([path], path, { maxSeconds, behaviour }), isStill: true }
    checkSeconds(path, moving.seconds, maxSeconds)
    return { ...moving, hasVideo: true, hasAudio: false, isStill: false, audio: none }
  }
  const running = { source: path, signal }
  const media = await probeMedia(path, programs, running)
  checkSeconds(path, media.seconds ?? 0, maxSeconds)
  // Holding the last frame may give one too many where the frame rate is odd.
  const most = Math.min(Math.ceil((media.seconds ?? maxSeconds) - 1e-3), maxSeconds)
  return {
    ...media,
    isStill: false,
    frames: () => (media.hasVideo ? take(readFrames(path, programs, running), Math.max(1, most)) : none()),
    audio: () => (media.hasAudio ? limited(readSound(path, programs, running), path, maxSeconds) : none()),
  }
}

/**
 * The whole sound of an audio or video file: WAV, MP3, FLAC, Ogg by our own decoders, all else through ffmpeg.
 * @returns mono at 16 kHz; `damaged` as of `decodeAudio`
 * @throws as {@link openVideo}, and InputError when there is no sound
 */
export async function readAudioFile(
  path: string,
  options: MediaOptions = {},
): Promise<{ pcm: Float32Array; sampleRateHz: number; damaged: boolean }> {
  const { maxSeconds = DEFAULT_MAX_AUDIO_SECONDS } = options
  const start = await firstBytes(path, 1 << 12)
  if (start.length === 0 || hasDecoder(start)) {
    const bytes = await readBounded(path, MAX_AUDIO_FILE_BYTES)
    const { pcm, sampleRateHz, damaged } = await decodeAudio(bytes, {
      ...{ sampleRateHz: MEDIA_SAMPLE_RATE_HZ, maxSeconds, source: path },
    })
    return { pcm, sampleRateHz, damaged }
  }
  const pieces: Float32Array[] = []
  for await (const piece of (await openVideo(path, options)).audio()) pieces.push(piece)
  if (pieces.length === 0) throw new InputError(`${path}: expected sound, got none (choose another file)`)
  const pcm = new Float32Array(pieces.reduce((sum, piece) => sum + piece.length, 0))
  let at = 0
  for (const piece of pieces) {
    pcm.set(piece, at)
    at += piece.length
  }
  return { pcm, sampleRateHz: MEDIA_SAMPLE_RATE_HZ, damaged: false }
}

function ofImages(
  files: readonly string[],
  path: string,
  { maxSeconds, behaviour }: { maxSeconds: number; behaviour: ImageBehaviour },
): Omit<Video, "isStill"> {
  checkSeconds(path, files.length, maxSeconds)
  return {
    seconds: files.length,
    hasVideo: true,
    hasAudio: false,
    frames: () => decodeFrames(files, behaviour),
    audio: none,
  }
}

function hasDecoder(start: Uint8Array): boolean {
  try {
    sniffAudio(start, "")
    return true
  } catch {
    return false // no sound that we decode: ffprobe says what it is
  }
}

function checkSeconds(path: string, seconds: number, maxSeconds: number): void {
  if (seconds > maxSeconds) throw tooLong(path, maxSeconds, `${Math.round(seconds)} s`)
}

function tooLong(path: string, maxSeconds: number, got: string): InputError {
  return new InputError(`${path}: expected at most ${maxSeconds} s, got ${got} (cut it, or raise the limit)`)
}

async function* none(): AsyncGenerator<never> {}

async function* take<T>(source: AsyncIterable<T>, most: number): AsyncGenerator<T> {
  let count = 0
  for await (const item of source) {
    yield item
    if (++count === most) return
  }
}

/** Files that do not say how long they are, or lie, end with an error at the limit. */
async function* limited(
  source: AsyncIterable<Float32Array>,
  path: string,
  maxSeconds: number,
): AsyncGenerator<Float32Array> {
  let samples = 0
  for await (const pcm of source) {
    samples += pcm.length
    // Decoders may give a little more than the file claims.
    if (samples > (maxSeconds + 1) * MEDIA_SAMPLE_RATE_HZ) throw tooLong(path, maxSeconds, "more")
    yield pcm
  }
}
