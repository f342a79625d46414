/** @file Sound of the Realtime API: base64 of a session's format to samples and back. */
import { createResampler, decodePcm, encodePcm, type PcmEncoding } from "../audio/index.ts"
import { type RealtimeAudioFormat, RealtimeInputError } from "../protocol/index.ts"

/** Most base64 of one append: 15 MiB of sound. */
export const MAX_AUDIO_BYTES = 15 * 1024 * 1024

const ENGINE_RATE_HZ = 24_000
const ENCODINGS: Readonly<Record<RealtimeAudioFormat["type"], PcmEncoding>> = {
  "audio/pcm": "s16",
  "audio/pcmu": "mulaw",
  "audio/pcma": "alaw",
}

/** Samples per second of a format. */
export function rateOf(format: RealtimeAudioFormat): number {
  return format.type === "audio/pcm" ? (format.rate ?? 24_000) : 8_000
}

/**
 * Bytes of strict base64.
 * @throws RealtimeInputError `invalid_value`; the text is not shown
 */
export function bytesFromBase64(text: string, param: string, maxBytes = MAX_AUDIO_BYTES): Uint8Array {
  const fail = (expected: string, got: string) =>
    new RealtimeInputError("invalid_value", `realtime: ${param}: expected ${expected}, got ${got}`, param, null)
  if (text.length > Math.ceil(maxBytes / 3) * 4) throw fail(`at most ${maxBytes} bytes`, "more (send smaller pieces)")
  if (text.length % 4 !== 0 || !/^[A-Za-z0-9+/]*={0,2}$/.test(text)) throw fail("base64", "other characters or length")
  const bytes = Buffer.from(text, "base64")
  if (bytes.length > maxBytes) throw fail(`at most ${maxBytes} bytes`, `${bytes.length} (send smaller pieces)`)
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length)
}

/**
 * One delivery of sound.
 * @throws RealtimeInputError for what is no base64, and for half a 16-bit sample
 */
export function samplesFromBase64(text: string, format: RealtimeAudioFormat, param = "audio"): Float32Array {
  const bytes = bytesFromBase64(text, param)
  if (format.type === "audio/pcm" && bytes.length % 2 !== 0) {
    throw new RealtimeInputError(
      "invalid_value",
      `realtime: ${param}: expected whole 16-bit samples, got ${bytes.length} bytes (cut between samples)`,
      param,
      null,
    )
  }
  return decodePcm(bytes, ENCODINGS[format.type])
}

/** Samples in a format, as base64. */
export function samplesToBase64(pcm: Float32Array, format: RealtimeAudioFormat): string {
  return Buffer.from(encodePcm(pcm, ENCODINGS[format.type])).toString("base64")
}

/** The engine's sound of one answer (24 kHz) as base64 of a format, piece by piece; pieces may be empty. */
export function createAudioWriter(format: RealtimeAudioFormat) {
  const resampler = createResampler({ fromHz: ENGINE_RATE_HZ, toHz: rateOf(format) })
  return {
    push: (pcm: Float32Array) => samplesToBase64(resampler.push(pcm), format),
    flush: () => samplesToBase64(resampler.flush(), format),
  }
}
