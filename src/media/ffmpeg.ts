/**
 * @file What we ask of ffmpeg and ffprobe: how a file is built, one frame a second, the sound at 16 kHz. Only the named file
 * is read: playlists and scripts, which would name others, are not among the formats allowed.
 */
import { type RgbImage, rgbImage } from "../image/index.ts"
import { InputError } from "../util/index.ts"
import { outputOf, type ProgramOptions, runProgram } from "./program.ts"

/** Names or paths of the programs. */
export type Programs = { readonly ffmpeg: string; readonly ffprobe: string }

export const DEFAULT_PROGRAMS: Programs = { ffmpeg: "ffmpeg", ffprobe: "ffprobe" }

export const MEDIA_SAMPLE_RATE_HZ = 16_000

/** Containers that hold their own data; no hls, concat, image2, sdp or rtsp. */
const FORMATS =
  "mov,matroska,avi,mpegts,mpeg,flv,asf,ogg,wav,w64,mp3,flac,aac,ac3,amr,aiff,caf,au,wv,tta,ape,voc,h264,hevc,mpegvideo,mjpeg,ivf"

/** A frame of 8K; more is refused by the decoder before it allocates. */
const MAX_FRAME_PIXELS = 7680 * 4320

/** The file protocol by name: a path that looks like an option or an address stays a path. */
const inputOf = (path: string): string[] => [
  ...["-protocol_whitelist", "file", "-format_whitelist", FORMATS, "-max_pixels", String(MAX_FRAME_PIXELS)],
  ...["-i", `file:${path}`],
]

/** What a file claims to be. */
export type MediaInfo = {
  /** Undefined when the file does not say (recordings of a browser). */
  readonly seconds: number | undefined
  readonly hasVideo: boolean
  readonly hasAudio: boolean
}

type ProbeOutput = {
  readonly format?: { readonly duration?: string }
  readonly streams?: readonly {
    readonly codec_type?: string
    readonly disposition?: { readonly attached_pic?: number }
  }[]
}

/** @throws InputError when ffprobe finds no sound and no pictures; else as `runProgram` */
export async function probeMedia(path: string, { ffprobe }: Programs, options: ProgramOptions): Promise<MediaInfo> {
  const args = ["-v", "error", "-print_format", "json", "-show_format", "-show_streams", ...inputOf(path)]
  const bytes = await outputOf(ffprobe, args, { ...options, maxBytes: 1 << 20 })
  const { format, streams = [] } = JSON.parse(new TextDecoder().decode(bytes)) as ProbeOutput
  const seconds = Number(format?.duration)
  const info = {
    seconds: seconds > 0 ? seconds : undefined,
    hasVideo: streams.some((stream) => stream.codec_type === "video" && stream.disposition?.attached_pic !== 1),
    hasAudio: streams.some((stream) => stream.codec_type === "audio"),
  }
  if (!info.hasVideo && !info.hasAudio) {
    throw new InputError(`${options.source}: expected sound or pictures, got neither (check the file)`)
  }
  return info
}

/**
 * What is shown at 1 s, 2 s, …, at least one frame, and the last frame for the last started second. Turned as the file says.
 * The clip is held for one more second, moved back by one, and each whole second keeps the last frame up to it.
 */
export async function* readFrames(
  path: string,
  { ffmpeg }: Programs,
  options: ProgramOptions,
): AsyncGenerator<RgbImage> {
  const filter = "tpad=stop_mode=clone:stop_duration=1,setpts=PTS-1/TB,fps=fps=1:round=up:start_time=0"
  const args = [
    ...["-nostdin", "-v", "error", "-threads", "2", ...inputOf(path), "-map", "0:V:0"],
    ...["-vf", filter, "-f", "image2pipe", "-c:v", "ppm", "-pix_fmt", "rgb24", "pipe:1"],
  ]
  yield* parsePpms(runProgram(ffmpeg, args, options), options.source)
}

/** The sound as mono samples at 16 kHz, the first one at the file's time 0; pieces of any length. */
export async function* readSound(
  path: string,
  { ffmpeg }: Programs,
  options: ProgramOptions,
): AsyncGenerator<Float32Array> {
  const args = [
    ...["-nostdin", "-v", "error", ...inputOf(path), "-map", "0:a:0"],
    ...[
      "-af",
      "aresample=async=1:first_pts=0",
      "-ac",
      "1",
      "-ar",
      String(MEDIA_SAMPLE_RATE_HZ),
      "-f",
      "f32le",
      "pipe:1",
    ],
  ]
  let rest: Uint8Array = new Uint8Array(0)
  for await (const piece of runProgram(ffmpeg, args, options)) {
    const bytes = Buffer.concat([rest, piece])
    const whole = bytes.length - (bytes.length % 4)
    rest = bytes.subarray(whole)
    const samples = new Float32Array(whole / 4)
    for (let i = 0; i < samples.length; i++) samples[i] = bytes.readFloatLE(4 * i)
    if (samples.length > 0) yield samples
  }
}

/** Binary PPM images one after another: `P6`, width, height, 255, pixels. */
async function* parsePpms(output: AsyncIterable<Uint8Array>, source: string): AsyncGenerator<RgbImage> {
  let pieces: Uint8Array[] = []
  let have = 0
  let need = 1
  for await (const piece of output) {
    pieces.push(piece)
    have += piece.length
    while (have >= need) {
      const bytes = Buffer.concat(pieces)
      const header = /^P6\s(\d+)\s(\d+)\s255\s/.exec(bytes.toString("latin1", 0, 40))
      if (!header) {
        if (have > 40) throw new InputError(`${source}: expected frames from ffmpeg, got other data`)
        need = have + 1
        pieces = [bytes]
        break
      }
      const [width, height] = [Number(header[1]), Number(header[2])]
      need = header[0].length + 3 * width * height
      pieces = [bytes]
      if (have < need) break
      yield rgbImage(width, height, Uint8Array.from(bytes.subarray(header[0].length, need)))
      pieces = [bytes.subarray(need)]
      have -= need
      need = 1
    }
  }
}
