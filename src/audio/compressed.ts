/**
 * @file The decoders of compressed sound, all WebAssembly inside npm packages, behind one face: bytes in, pieces of channels
 * out. Loaded when first needed.
 */
import type { AudioFormat } from "./audio-format.ts"

/** One delivery of a decoder. */
export type DecodedPiece = {
  readonly channelData: readonly Float32Array[] // each [N]
  readonly sampleRate: number
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

async function openDecoder(format: Exclude<AudioFormat, "wav">): Promise<Decoder> {
  switch (format) {
    case "mp3":
      return new (await import("mpg123-decoder")).MPEGDecoder()
    case "flac":
      return new (await import("@wasm-audio-decoders/flac")).FLACDecoder()
    case "ogg-vorbis":
      return new (await import("@wasm-audio-decoders/ogg-vorbis")).OggVorbisDecoder()
    case "ogg-opus":
      return new (await import("ogg-opus-decoder")).OggOpusDecoder()
  }
}

/** The pieces of a file in order. Stop taking them to stop decoding. Throws what the decoder throws. */
export async function* decodePieces(
  bytes: Uint8Array,
  format: Exclude<AudioFormat, "wav">,
): AsyncGenerator<DecodedPiece> {
  const decoder = await openDecoder(format)
  await decoder.ready
  try {
    for (let at = 0; at < bytes.length; at += CHUNK_BYTES) {
      yield await decoder.decode(bytes.subarray(at, at + CHUNK_BYTES))
    }
    if (decoder.flush) yield await decoder.flush()
  } finally {
    decoder.free()
  }
}
