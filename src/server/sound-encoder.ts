/** @file Answers' sound as files: WAV, raw 16-bit samples and MP3, piece by piece. Other formats have no encoder without a download. */
import { encodePcm, wavHeader } from "../audio/index.ts"
import { HttpError } from "./errors.ts"

export const SOUND_RATE_HZ = 24_000
const MP3_KBITS = 64

export const SOUND_TYPES = { wav: "audio/wav", pcm: "audio/pcm", mp3: "audio/mpeg" } as const
export type SoundFormat = keyof typeof SOUND_TYPES

export type SoundEncoder = {
  /** Bytes before the first sound. */
  readonly head: Uint8Array<ArrayBuffer>
  push(pcm: Float32Array): Uint8Array<ArrayBuffer>
  flush(): Uint8Array<ArrayBuffer>
}

/** @throws HttpError 400 for a format without an encoder */
export function soundFormat(format: string, param: string): SoundFormat {
  if (format in SOUND_TYPES) return format as SoundFormat
  throw new HttpError(
    400,
    `${param}: expected ${Object.keys(SOUND_TYPES).join(", ")}, got a format without an encoder`,
    {
      param,
      code: "unsupported_format",
    },
  )
}

/** @param samples how many will come; a WAV file without it says that its length is unknown */
export async function createSoundEncoder(format: SoundFormat, samples?: number): Promise<SoundEncoder> {
  const none = new Uint8Array(0)
  if (format !== "mp3") {
    const length = samples === undefined ? {} : { dataBytes: samples * 2 }
    const head = format === "wav" ? wavHeader({ sampleRateHz: SOUND_RATE_HZ, ...length }) : none
    return { head, push: (pcm) => encodePcm(pcm, "s16"), flush: () => none }
  }
  const { createMp3Encoder } = await import("wasm-media-encoders")
  const encoder = await createMp3Encoder()
  encoder.configure({ sampleRate: SOUND_RATE_HZ, channels: 1, bitrate: MP3_KBITS })
  // The encoder's memory is used again by the next call.
  return { head: none, push: (pcm) => encoder.encode([pcm]).slice(), flush: () => encoder.finalize().slice() }
}

/** All sound as one file. */
export async function encodeSound(pieces: readonly Float32Array[], format: SoundFormat): Promise<Buffer> {
  const samples = pieces.reduce((sum, piece) => sum + piece.length, 0)
  const encoder = await createSoundEncoder(format, samples)
  return Buffer.concat([encoder.head, ...pieces.map((piece) => encoder.push(piece)), encoder.flush()])
}
