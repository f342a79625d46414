/**
 * @file Audio files held in memory to mono samples: WAV by our own reader, MP3, FLAC, Ogg Vorbis and Ogg Opus by borrowed
 * decoders. AAC (m4a) and sound in video files go through ffmpeg, in `media/`.
 */
import { errorText, InputError } from "../util/index.ts"
import { AUDIO_FORMAT_NAMES, type AudioFormat, claimedSeconds, sniffAudio, withoutId3 } from "./audio-format.ts"
import { decodePieces } from "./compressed.ts"
import { reachesOggEnd } from "./ogg.ts"
import { checkPcm, concatPcm, mixToMono } from "./pcm.ts"
import { createResampler, MAX_RATE_HZ, MIN_RATE_HZ, resample } from "./resample.ts"
import { measureWav, readWav } from "./wav.ts"

export type DecodeAudioOptions = {
  /** Rate of the result; the file's own when absent. */
  readonly sampleRateHz?: number | undefined
  /** Longest sound accepted, {@link DEFAULT_MAX_AUDIO_SECONDS} when absent. */
  readonly maxSeconds?: number | undefined
  /** Names the file in errors. */
  readonly source?: string | undefined
}

/** An hour: three times what the model's context holds, and 230 MB at 16 kHz. */
export const DEFAULT_MAX_AUDIO_SECONDS = 3600

/** Decoded before others have their turn: an hour would keep a server from everybody else for a minute. */
const SAMPLES_AT_A_TIME = 10 * 48_000

export type DecodedAudio = {
  readonly pcm: Float32Array // [N], full scale ±1
  readonly sampleRateHz: number
  readonly format: AudioFormat
  /** The file ends before its end, or parts of it could not be decoded and are left out. */
  readonly damaged: boolean
}

/**
 * Decodes an audio file, all channels mixed to one. Very short sound is no error here; the encoder says what it needs.
 * @throws InputError when the file is empty, of another format, longer than `maxSeconds`, without a decodable sample, or
 * has a sample that is NaN or infinite
 */
export async function decodeAudio(bytes: Uint8Array, options: DecodeAudioOptions = {}): Promise<DecodedAudio> {
  const { maxSeconds = DEFAULT_MAX_AUDIO_SECONDS, source = "audio" } = options
  const format = sniffAudio(bytes, source)
  const claimed = format === "wav" ? measureWav(withoutId3(bytes), source).seconds : claimedSeconds(bytes, format)
  if (claimed !== undefined && claimed > maxSeconds) throw tooLong(source, maxSeconds, `${claimed.toFixed(1)} s`)
  const sound =
    format === "wav" ? decodeWav(bytes, source, options.sampleRateHz) : await decodeCompressed(bytes, format, options)
  checkPcm(sound.pcm, source)
  return { ...sound, format }
}

type Sound = Omit<DecodedAudio, "format">

function decodeWav(bytes: Uint8Array, source: string, toHz: number | undefined): Sound {
  const { samples, channels, sampleRateHz, truncated } = readWav(withoutId3(bytes), source)
  const pcm = mixToMono(samples, channels)
  if (toHz === undefined || toHz === sampleRateHz) return { pcm, sampleRateHz, damaged: truncated }
  checkRate(source, sampleRateHz)
  checkPcm(pcm, source) // resampling would spread a NaN
  return { pcm: resample(pcm, sampleRateHz, toHz), sampleRateHz: toHz, damaged: truncated }
}

async function decodeCompressed(
  bytes: Uint8Array,
  format: Exclude<AudioFormat, "wav">,
  { sampleRateHz: toHz, maxSeconds = DEFAULT_MAX_AUDIO_SECONDS, source = "audio" }: DecodeAudioOptions,
): Promise<Sound> {
  const pieces: Float32Array[] = []
  let fromHz = 0
  let samples = 0
  let failures = 0
  let pausedAt = 0
  let resampler: ReturnType<typeof createResampler> | undefined
  try {
    for await (const { channelData, sampleRate, errors } of decodePieces(bytes, format, source)) {
      failures += errors.length
      const pcm = mixChannels(channelData)
      if (pcm.length === 0) continue
      fromHz ||= sampleRate
      if (sampleRate !== fromHz) {
        const got = `${fromHz} Hz and then ${sampleRate} Hz`
        throw new InputError(`${source}: expected one sample rate, got ${got} (convert the file first)`)
      }
      samples += pcm.length
      if (samples > maxSeconds * fromHz) throw tooLong(source, maxSeconds, "more")
      if (toHz !== undefined && !resampler) checkRate(source, fromHz)
      if (toHz !== undefined) resampler ??= createResampler({ fromHz, toHz })
      if (resampler) checkPcm(pcm, source)
      pieces.push(resampler ? resampler.push(pcm) : pcm)
      if (samples - pausedAt < SAMPLES_AT_A_TIME) continue
      pausedAt = samples
      await new Promise<void>((resolve) => setTimeout(resolve))
    }
  } catch (cause) {
    if (cause instanceof InputError) throw cause
    if (samples === 0) throw undecodable(source, format, errorText(cause), cause)
    failures++ // what came before the damage is sound
  }
  if (samples === 0) throw undecodable(source, format, "no samples")
  if (resampler) pieces.push(resampler.flush())
  const pcm = concatPcm(pieces).subarray(0, Math.ceil((samples * (toHz ?? fromHz)) / fromHz))
  return { pcm, sampleRateHz: toHz ?? fromHz, damaged: failures > 0 || endsEarly() }

  function endsEarly(): boolean {
    if (format === "flac") return samples < Math.floor((claimedSeconds(bytes, format) ?? 0) * fromHz)
    return format !== "mp3" && !reachesOggEnd(bytes)
  }
}

/** Decoders deliver channels apart; most pieces have one or two. */
function mixChannels(channels: readonly Float32Array[]): Float32Array {
  const [first = new Float32Array(0), ...rest] = channels
  if (rest.length === 0) return first.slice() // decoders may use their buffer again
  return first.map((sample, i) => rest.reduce((sum, channel) => sum + channel[i]!, sample) / channels.length)
}

function checkRate(source: string, rateHz: number): void {
  if (rateHz >= MIN_RATE_HZ && rateHz <= MAX_RATE_HZ) return
  throw new InputError(
    `${source}: expected a sample rate from ${MIN_RATE_HZ} to ${MAX_RATE_HZ} Hz, got ${rateHz} (convert the file first)`,
  )
}

function tooLong(source: string, maxSeconds: number, got: string): InputError {
  return new InputError(`${source}: expected at most ${maxSeconds} s of sound, got ${got} (cut it, or raise the limit)`)
}

function undecodable(source: string, format: AudioFormat, got: string, cause?: unknown): InputError {
  const advice = "the file is damaged; send it again, or save it anew"
  return new InputError(`${source}: expected a ${AUDIO_FORMAT_NAMES} file, got ${format} with ${got} (${advice})`, {
    cause,
  })
}
