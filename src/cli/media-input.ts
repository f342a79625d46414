/** @file What plays microphone and camera: a sound file, and a video, a folder of frames or an image, second by second. */
import type { RgbImage } from "../image/index.ts"
import { MEDIA_SAMPLE_RATE_HZ, type MediaUnit, mediaUnits, openVideo, readAudioFile } from "../media/index.ts"
import type { Behaviour } from "../session/index.ts"
import { InputError } from "../util/index.ts"

/** Opened and checked files. */
export type MediaInput = {
  readonly hasSound: boolean
  readonly hasFrames: boolean
  /** One second each: sound at 16 kHz, silence where there are only frames; a frame alone for an image without sound. */
  units(): AsyncIterable<Partial<MediaUnit>>
}

/** Less is no word, and nothing that the encoder can take. */
const MIN_SECONDS = 0.1

/**
 * Opens what `--audio` and `--video` name; the sound of a video is used where there is no other.
 * @throws InputError and ConfigError naming the file and what is wrong with it
 */
export async function openMedia(
  { audio, video }: { readonly audio?: string | undefined; readonly video?: string | undefined },
  { behaviour, signal }: { readonly behaviour: Behaviour; readonly signal: AbortSignal },
): Promise<MediaInput> {
  const reading = { behaviour, signal }
  const sound = audio === undefined ? undefined : await readSound(audio, signal)
  const film = video === undefined ? undefined : await openVideo(video, reading)
  if (film && !film.hasVideo)
    throw new InputError(`--video: expected pictures in ${video}, got sound alone (give it as --audio)`)
  // An image is decoded at once: what is wrong with it is told before a model is loaded.
  const still = film?.isStill ? await firstFrame(film.frames()) : undefined
  const own = film?.hasAudio ? () => film.audio() : undefined
  const hear = sound ? () => [sound] : own
  return {
    hasSound: hear !== undefined,
    hasFrames: film !== undefined,
    units: () => {
      if (still) return hear ? shown(still, mediaUnits({ audio: hear() })) : alone({ frame: still })
      return mediaUnits({ ...(hear ? { audio: hear() } : {}), ...(film ? { video: film.frames() } : {}) })
    },
  }
}

/** A recording as a whole, long enough to be one. */
export async function readSound(path: string, signal: AbortSignal): Promise<Float32Array> {
  const { pcm } = await readAudioFile(path, { signal })
  const seconds = pcm.length / MEDIA_SAMPLE_RATE_HZ
  if (seconds < MIN_SECONDS)
    throw new InputError(`${path}: expected at least ${MIN_SECONDS} s of sound, got ${seconds.toFixed(3)} s`)
  return pcm
}

async function firstFrame(frames: AsyncIterable<RgbImage>): Promise<RgbImage | undefined> {
  for await (const frame of frames) return frame
  return undefined
}

async function* shown(frame: RgbImage, units: AsyncIterable<MediaUnit>): AsyncGenerator<MediaUnit> {
  for await (const unit of units) yield { ...unit, frame }
}

async function* alone(unit: Partial<MediaUnit>): AsyncGenerator<Partial<MediaUnit>> {
  yield unit
}
