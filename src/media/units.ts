/**
 * @file Sound and pictures cut into seconds: frame i with samples [16000 i, 16000 (i + 1)), the unit that the model takes.
 */
import type { RgbImage } from "../image/index.ts"
import { MEDIA_SAMPLE_RATE_HZ } from "./ffmpeg.ts"

/** One second, or the rest of the last one. */
export type MediaUnit = {
  /** Mono at 16 kHz.  // [16000], fewer at the end */
  readonly pcm: Float32Array
  readonly frame?: RgbImage
}

/** What to cut; either may be absent. */
export type MediaStreams = {
  /** Mono at 16 kHz, pieces of any length. */
  readonly audio?: AsyncIterable<Float32Array> | Iterable<Float32Array> | undefined
  /** One a second. */
  readonly video?: AsyncIterable<RgbImage> | Iterable<RgbImage> | undefined
}

/**
 * Pairs them second by second until both have ended. Where there is a picture but no more sound, silence fills the second;
 * the last second of sound keeps its length. Stopping early ends both sources.
 */
export async function* mediaUnits({ audio = [], video = [] }: MediaStreams): AsyncGenerator<MediaUnit> {
  const seconds = cutSeconds(audio)
  const frames = iterate(video)
  try {
    let sound = await seconds.next()
    let picture = await frames.next()
    while (!sound.done || !picture.done) {
      const pcm = sound.done ? new Float32Array(MEDIA_SAMPLE_RATE_HZ) : sound.value
      const frame = picture.done ? undefined : picture.value
      sound = await seconds.next()
      picture = await frames.next()
      const more = !picture.done || !sound.done
      yield { pcm: more ? filled(pcm) : pcm, ...(frame ? { frame } : {}) }
    }
  } finally {
    await seconds.return(undefined)
    await frames.return(undefined)
  }
}

function filled(pcm: Float32Array): Float32Array {
  if (pcm.length === MEDIA_SAMPLE_RATE_HZ) return pcm
  const second = new Float32Array(MEDIA_SAMPLE_RATE_HZ)
  second.set(pcm)
  return second
}

async function* iterate<T>(source: AsyncIterable<T> | Iterable<T>): AsyncGenerator<T> {
  yield* source
}

async function* cutSeconds(audio: AsyncIterable<Float32Array> | Iterable<Float32Array>): AsyncGenerator<Float32Array> {
  let second = new Float32Array(MEDIA_SAMPLE_RATE_HZ)
  let have = 0
  for await (const piece of audio) {
    for (let at = 0; at < piece.length; ) {
      const taken = piece.subarray(at, at + MEDIA_SAMPLE_RATE_HZ - have)
      second.set(taken, have)
      have += taken.length
      at += taken.length
      if (have < MEDIA_SAMPLE_RATE_HZ) continue
      yield second
      second = new Float32Array(MEDIA_SAMPLE_RATE_HZ)
      have = 0
    }
  }
  if (have > 0) yield second.slice(0, have)
}
