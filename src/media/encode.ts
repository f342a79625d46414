/**
 * @file Sound as files that others play: WAV, raw samples and MP3 by ourselves, Opus, AAC and FLAC through an installed ffmpeg.
 * Streams give each piece as early as its format allows; whole files say how long they are.
 */
import { mkdtemp, readFile, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { concatPcm, encodePcm, wavHeader, writeWav } from "../audio/index.ts"
import { ConfigError, errorText } from "../util/index.ts"
import { DEFAULT_PROGRAMS, type Programs } from "./ffmpeg.ts"
import { outputOf, runProgram } from "./program.ts"

/** What ffmpeg does for a format. Its own default holds Opus back for a second. */
const FFMPEG_FORMATS = {
  opus: { encoder: "libopus", args: ["-b:a", "48k", "-frame_duration", "20", "-f", "ogg", "-page_duration", "40000"] },
  aac: { encoder: "aac", args: ["-b:a", "64k", "-f", "adts"] },
  flac: { encoder: "flac", args: ["-f", "flac"] },
  m4a: { encoder: "aac", args: ["-b:a", "64k", "-f", "ipod", "-movflags", "+faststart"] },
} as const

type FfmpegFormat = keyof typeof FFMPEG_FORMATS

/** `pcm` is 16-bit samples without a header, `opus` is in Ogg, `aac` as ADTS, and `m4a` comes whole only. */
export const SOUND_FORMATS = ["wav", "pcm", "mp3", "opus", "aac", "flac", "m4a"] as const
export type SoundFormat = (typeof SOUND_FORMATS)[number]

/** Formats that can be sent before they are complete. */
export type StreamFormat = Exclude<SoundFormat, "m4a">

const MP3_KBITS = 64

export type EncodeOptions = {
  readonly sampleRateHz: number
  readonly signal?: AbortSignal | undefined
}

type Bytes = Uint8Array<ArrayBuffer>

/** Writes mono sound. One for a whole program: it asks ffmpeg once what it can do. */
export class SoundWriter {
  readonly #ffmpeg: string
  #encoders: Promise<ReadonlySet<string>> | undefined

  constructor({ ffmpeg }: Pick<Programs, "ffmpeg"> = DEFAULT_PROGRAMS) {
    this.#ffmpeg = ffmpeg
  }

  /** @throws ConfigError naming `where` when a format needs an ffmpeg that is not there, or an encoder that it lacks */
  async check(format: SoundFormat, where: string): Promise<void> {
    if (!isFfmpegFormat(format)) return
    const { encoder } = FFMPEG_FORMATS[format]
    const advice = "install ffmpeg on the machine that runs omni, or take wav or mp3"
    this.#encoders ??= encodersOf(this.#ffmpeg)
    const encoders = await this.#encoders.catch((cause: unknown) => {
      this.#encoders = undefined // it may be installed by the next time
      const got = cause instanceof ConfigError ? "none" : errorText(cause)
      throw new ConfigError(`${where}: expected the program ffmpeg, which writes ${format}, got ${got} (${advice})`, {
        cause,
      })
    })
    if (encoders.has(encoder)) return
    throw new ConfigError(`${where}: expected an ffmpeg with the encoder ${encoder}, got one without it (${advice})`)
  }

  /**
   * Bytes of a stream whose length nobody knows yet. Reads no faster than it is read.
   * @param pcm mono in [-1, 1]  // each [N]
   * @throws what `pcm` throws; the signal's reason; OmniError when ffmpeg fails
   */
  async *stream(
    pcm: AsyncIterable<Float32Array>,
    format: StreamFormat,
    options: EncodeOptions,
  ): AsyncGenerator<Bytes, void, void> {
    if (isFfmpegFormat(format)) return yield* this.#run(pcm, format, options, "pipe:1")
    if (format === "mp3") return yield* mp3Stream(pcm, options)
    let head = format === "wav" ? wavHeader(options) : undefined
    for await (const piece of pcm) {
      if (head) yield head
      head = undefined
      yield encodePcm(piece, "s16")
    }
    if (head) yield head
  }

  /** A whole file. Throws as {@link stream}. */
  async whole(
    pieces: readonly Float32Array[],
    format: SoundFormat,
    options: EncodeOptions & { readonly encoding?: "s16" | "f32" },
  ): Promise<Uint8Array> {
    const { encoding = "s16", sampleRateHz } = options
    if (format === "wav") return writeWav(concatPcm(pieces), { sampleRateHz, encoding })
    if (!hasLateHeader(format)) return await collected(this.stream(each(pieces), format, options))
    const folder = await mkdtemp(join(tmpdir(), "omni-sound-"))
    try {
      const path = join(folder, "sound")
      await collected(this.#run(each(pieces), format, options, `file:${path}`))
      return await readFile(path)
    } finally {
      await rm(folder, { recursive: true, force: true })
    }
  }

  async *#run(
    pcm: AsyncIterable<Float32Array>,
    format: FfmpegFormat,
    { sampleRateHz, signal }: EncodeOptions,
    target: string,
  ): AsyncGenerator<Bytes, void, void> {
    const { encoder, args } = FFMPEG_FORMATS[format]
    const all = [
      ...["-v", "error", "-probesize", "32", "-analyzeduration", "0"],
      ...["-f", "s16le", "-ar", String(sampleRateHz), "-ac", "1", "-i", "pipe:0"],
      ...["-c:a", encoder, ...args, "-bitexact", "-flush_packets", "1", target],
    ]
    const input = samples(pcm)
    for await (const bytes of runProgram(this.#ffmpeg, all, { source: format, input, signal }))
      yield new Uint8Array(bytes)
  }
}

/** How long the sound is, the header says: it is written last, into a file. */
const hasLateHeader = (format: SoundFormat): format is "flac" | "m4a" => format === "flac" || format === "m4a"

const isFfmpegFormat = (format: SoundFormat): format is FfmpegFormat => format in FFMPEG_FORMATS

async function encodersOf(ffmpeg: string): Promise<ReadonlySet<string>> {
  const args = ["-nostdin", "-v", "error", "-encoders"]
  const text = new TextDecoder().decode(await outputOf(ffmpeg, args, { source: "ffmpeg", maxBytes: 1 << 20 }))
  return new Set(Array.from(text.matchAll(/^ A\S* (\S+)/gm), ([, name]) => name!))
}

async function* mp3Stream(
  pcm: AsyncIterable<Float32Array>,
  { sampleRateHz }: EncodeOptions,
): AsyncGenerator<Bytes, void, void> {
  const { createMp3Encoder } = await import("wasm-media-encoders")
  const encoder = await createMp3Encoder()
  encoder.configure({ sampleRate: sampleRateHz as 24_000, channels: 1, bitrate: MP3_KBITS })
  // The encoder's memory is used again by the next call.
  for await (const piece of pcm) {
    const bytes = encoder.encode([piece]).slice()
    if (bytes.length > 0) yield bytes
  }
  yield encoder.finalize().slice()
}

async function* samples(pcm: AsyncIterable<Float32Array>): AsyncGenerator<Uint8Array, void, void> {
  for await (const piece of pcm) yield encodePcm(piece, "s16")
}

async function* each<T>(items: readonly T[]): AsyncGenerator<T, void, void> {
  yield* items
}

async function collected(bytes: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const pieces: Uint8Array[] = []
  for await (const piece of bytes) pieces.push(piece)
  return Buffer.concat(pieces)
}
