/**
 * @file Recognizes audio files by their first bytes, and measures them by what their headers claim, before any decoder sees
 * them. A name's ending decides nothing.
 */
import { findSignature, InputError, type Signature, textAt } from "../util/index.ts"
import { lastGranule, oggLinks, oggPackets } from "./ogg.ts"
import { OPUS_RATE_HZ, opusSamples } from "./opus.ts"
import { foreignWavFormat } from "./wav.ts"

/** File formats that are decoded here. */
export type AudioFormat = "wav" | "mp3" | "flac" | "ogg-vorbis" | "ogg-opus"

/** For error texts. */
export const AUDIO_FORMAT_NAMES = "WAV, MP3, FLAC, Ogg Vorbis or Ogg Opus"

/** Known, but not decoded here. */
const FOREIGN: readonly Signature<string>[] = [
  { name: "MP4 or M4A (AAC)", offset: 4, text: "ftyp" },
  { name: "WebM or Matroska", offset: 0, text: "\x1aE\xdf\xa3" },
  { name: "AVI", offset: 8, text: "AVI " },
  { name: "AIFF", offset: 0, text: "FORM" },
  { name: "CAF", offset: 0, text: "caff" },
  { name: "WMA", offset: 0, text: "0&\xb2u" },
  { name: "AMR", offset: 0, text: "#!AMR" },
  { name: "RIFX", offset: 0, text: "RIFX" },
]

/**
 * @param where for the error
 * @throws InputError when the file is empty, of another format, or of none that is known
 */
export function sniffAudio(bytes: Uint8Array, where: string): AudioFormat {
  const fail = (got: string, advice: string) =>
    new InputError(`${where}: expected a ${AUDIO_FORMAT_NAMES} file, got ${got} (${advice})`)
  if (bytes.length === 0) throw fail("0 bytes", "check where the file comes from")
  const start = withoutId3(bytes)
  const magic = textAt(start, 0, 4)
  // AVI and WebP are RIFF files as well; a header that is cut off before it says so is told by the reader.
  const isWave = start.length < 12 || textAt(start, 8, 4) === "WAVE"
  if (isWave && (magic === "RIFF" || magic === "RF64" || magic === "BW64")) {
    const tag = foreignWavFormat(start)
    if (tag === undefined) return "wav"
    throw fail(`WAV of format 0x${tag.toString(16)}`, "convert it to 16-bit PCM, or read it through ffmpeg")
  }
  if (magic === "fLaC") return "flac"
  if (magic === "OggS") {
    const packet = 27 + (start[26] ?? 0) // after the header and its table of segments
    if (textAt(start, packet, 8) === "OpusHead") return "ogg-opus"
    if (textAt(start, packet, 7) === "\x01vorbis") return "ogg-vorbis"
    throw fail("Ogg with another codec", "convert it first, or read it through ffmpeg")
  }
  // 11 bits of sync, then version and layer; layer 0 is AAC.
  if (start[0] === 0xff && (start[1]! & 0xe0) === 0xe0 && (start[1]! & 0x06) !== 0) return "mp3"
  if (start[0] === 0xff && (start[1]! & 0xf6) === 0xf0) throw fail("AAC", "convert it first, or read it through ffmpeg")
  if (start !== bytes && start.length < bytes.length) return "mp3" // a tag, then junk or padding that mpg123 skips
  const foreign = findSignature(bytes, FOREIGN)
  if (foreign) throw fail(foreign, "convert it first, or read it through ffmpeg")
  const begin = Array.from(bytes.subarray(0, 8), (byte) => byte.toString(16).padStart(2, "0")).join(" ")
  throw fail(`${bytes.length} bytes that begin with ${begin}`, "convert it first")
}

/** What follows a leading ID3v2 tag, or all; a view. */
export function withoutId3(bytes: Uint8Array): Uint8Array {
  if (textAt(bytes, 0, 3) !== "ID3" || bytes.length < 10) return bytes
  const tagBytes = ((bytes[6]! & 127) << 21) + ((bytes[7]! & 127) << 14) + ((bytes[8]! & 127) << 7) + (bytes[9]! & 127)
  return bytes.subarray(10 + tagBytes)
}

/** What the headers claim, in seconds; undefined when they do not say. A claim, good for refusing, never for allocating. */
export function claimedSeconds(bytes: Uint8Array, format: AudioFormat): number | undefined {
  const start = withoutId3(bytes)
  const view = new DataView(start.buffer, start.byteOffset, start.byteLength)
  if (format === "flac" && start.length >= 42) {
    const rate = (start[18]! << 12) | (start[19]! << 4) | (start[20]! >> 4)
    const samples = (start[21]! & 15) * 2 ** 32 + view.getUint32(22)
    return rate > 0 && samples > 0 ? samples / rate : undefined
  }
  if (format === "ogg-opus") return sumOf(oggLinks(start).map((link) => secondsOf(opusSamples(link), OPUS_RATE_HZ)))
  if (format === "ogg-vorbis") return sumOf(oggLinks(start).map(vorbisSeconds))
  return undefined
}

function vorbisSeconds(link: Uint8Array): number | undefined {
  const [head] = oggPackets(link)
  if (head === undefined || head.length < 16) return undefined
  return secondsOf(lastGranule(link), new DataView(head.buffer, head.byteOffset).getUint32(12, true))
}

const secondsOf = (samples: number | undefined, rateHz: number): number | undefined =>
  samples === undefined || rateHz === 0 ? undefined : samples / rateHz

/** Undefined when a part is, or there is none. */
function sumOf(parts: readonly (number | undefined)[]): number | undefined {
  if (parts.length === 0) return undefined
  return parts.reduce<number | undefined>(
    (sum, part) => (sum === undefined || part === undefined ? undefined : sum + part),
    0,
  )
}
