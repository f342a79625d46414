/**
 * @file The decoders of compressed sound, all WebAssembly inside npm packages, behind one face: bytes in, pieces of channels
 * out. Loaded when first needed.
 */
import { InputError } from "../util/index.ts"
import type { AudioFormat } from "./audio-format.ts"
import { MOST_LINKS, oggLinks } from "./ogg.ts"
import { decodeOpus } from "./opus.ts"

/** One delivery of a decoder. */
export type DecodedPiece = {
  readonly channelData: readonly Float32Array[] // each [N]
  readonly sampleRate: number
  /** Of lossless formats. */
  readonly bitDepth?: number
  readonly errors: readonly unknown[]
}

type Decoder = {
  readonly ready: Promise<void>
  readonly decode: (bytes: Uint8Array) => DecodedPiece | Promise<DecodedPiece>
  readonly flush?: () => Promise<DecodedPiece>
  readonly free: () => void
}

/** Bytes given at once: a hostile FLAC file makes 20,000 samples of one byte, so this bounds what a piece can take. */
const CHUNK_BYTES = 4096

async function openDecoder(format: Exclude<AudioFormat, "wav" | "ogg-opus">): Promise<Decoder> {
  switch (format) {
    case "mp3":
      return new (await import("mpg123-decoder")).MPEGDecoder()
    case "flac":
      return new (await import("@wasm-audio-decoders/flac")).FLACDecoder()
    case "ogg-vorbis":
      return new (await import("@wasm-audio-decoders/ogg-vorbis")).OggVorbisDecoder()
  }
}

/**
 * The header of a FLAC frame that never comes. The decoder hands out a frame once it has seen the next one's header and a
 * few bytes more, and its `flush` gives one frame at most, and none that is tiny, as those of silence are.
 */
const NO_MORE_FRAMES: Uint8Array = flacHeader(32)

function flacHeader(sizeBytes: number): Uint8Array {
  const header = new Uint8Array(sizeBytes)
  header.set([0xff, 0xf8, 0x19, 0x08, 0x00]) // 192 mono samples of 16 bits at 44.1 kHz, frame 0
  header[5] = header.subarray(0, 5).reduce((crc, byte) => {
    let rest = crc ^ byte
    for (let bit = 0; bit < 8; bit++) rest = (rest << 1) ^ (rest & 0x80 ? 0x107 : 0)
    return rest
  }, 0)
  return header
}

/** Quirk of the FLAC decoder: it divides by the largest value, 32,767, which makes -1.00003 of -32,768. */
function fullScaleFlac(piece: DecodedPiece): DecodedPiece {
  const { bitDepth = 16 } = piece
  const scale = 1 - 2 ** (1 - bitDepth)
  return { ...piece, channelData: piece.channelData.map((channel) => channel.map((sample) => sample * scale)) }
}

const ID3V1_BYTES = 128

/** The FLAC decoder takes a tag at the end for a part of the last frame. */
function withoutId3v1(bytes: Uint8Array): Uint8Array {
  const tag = bytes.subarray(-ID3V1_BYTES)
  const isTag = tag.length === ID3V1_BYTES && tag[0] === 0x54 && tag[1] === 0x41 && tag[2] === 0x47 // TAG
  return isTag ? bytes.subarray(0, -ID3V1_BYTES) : bytes
}

/**
 * The pieces of a file in order, those of a chain one stream after the other. Stop taking them to stop decoding. Throws what
 * the decoders throw, and InputError for files that no decoder takes.
 * @param source names the file in errors
 */
export async function* decodePieces(
  file: Uint8Array,
  format: Exclude<AudioFormat, "wav">,
  source: string,
): AsyncGenerator<DecodedPiece> {
  switch (format) {
    case "ogg-opus":
      for (const link of links(file, source)) yield* decodeOpus(link, source)
      return
    case "ogg-vorbis":
      for (const link of links(file, source)) yield* decodeStream(link, format)
      return
    case "flac":
      yield* decodeStream(withoutId3v1(file), format)
      return
    case "mp3":
      yield* decodeStream(file, format)
  }
}

/** Each stream takes a decoder of its own. */
function links(file: Uint8Array, source: string): Uint8Array[] {
  const all = oggLinks(file)
  if (all.length <= MOST_LINKS) return all
  throw new InputError(`${source}: expected at most ${MOST_LINKS} streams in an Ogg file, got more (cut it)`)
}

async function* decodeStream(
  bytes: Uint8Array,
  format: Exclude<AudioFormat, "wav" | "ogg-opus">,
): AsyncGenerator<DecodedPiece> {
  const decoder = await openDecoder(format)
  await decoder.ready
  try {
    for (let at = 0; at < bytes.length; at += CHUNK_BYTES) {
      const piece = await decoder.decode(bytes.subarray(at, at + CHUNK_BYTES))
      yield format === "flac" ? fullScaleFlac(piece) : piece
    }
    if (format === "flac") yield fullScaleFlac(await decoder.decode(NO_MORE_FRAMES))
    else if (decoder.flush) yield await decoder.flush()
  } finally {
    decoder.free()
  }
}
