/**
 * @file Raw PCM: bytes of any common sample format to float samples and back, mixing to mono, validation.
 * Integers scale by their negative full scale (int16 / 32768), so that integer → float → integer is the identity.
 * Levels are left alone: no gain, no DC removal, no clipping of float data.
 */
import { InputError, invariant } from "../util/index.ts"
import { decodeAlaw, decodeMulaw, encodeAlaw, encodeMulaw } from "./g711.ts"

/** Little-endian sample formats; `u8` has its zero at 128, `mulaw` and `alaw` are G.711. */
export type PcmEncoding = "u8" | "s16" | "s24" | "s32" | "f32" | "f64" | "mulaw" | "alaw"

/** Bytes of one sample. */
export const PCM_SAMPLE_BYTES: Readonly<Record<PcmEncoding, number>> = {
  u8: 1,
  s16: 2,
  s24: 3,
  s32: 4,
  f32: 4,
  f64: 8,
  mulaw: 1,
  alaw: 1,
}

/** 16-bit samples to floats in [-1, 1). */
export function int16ToFloat(samples: Int16Array): Float32Array {
  const pcm = new Float32Array(samples.length)
  for (let i = 0; i < samples.length; i++) pcm[i] = samples[i]! / 32768
  return pcm
}

/** Floats to 16-bit samples, rounded to nearest and clipped at full scale; NaN becomes 0. */
export function floatToInt16(pcm: Float32Array): Int16Array {
  const samples = new Int16Array(pcm.length)
  for (let i = 0; i < pcm.length; i++) samples[i] = quantize(pcm[i]!, 32768)
  return samples
}

/**
 * Decodes little-endian bytes to float samples, channels still interleaved.
 * @throws InputError when the bytes end inside a sample
 */
export function decodePcm(bytes: Uint8Array, encoding: PcmEncoding): Float32Array {
  const width = PCM_SAMPLE_BYTES[encoding]
  if (bytes.length % width !== 0) {
    throw new InputError(
      `pcm: expected a multiple of ${width} bytes for ${encoding}, got ${bytes.length} (send whole samples)`,
    )
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const pcm = new Float32Array(bytes.length / width)
  switch (encoding) {
    case "mulaw":
      return int16ToFloat(decodeMulaw(bytes))
    case "alaw":
      return int16ToFloat(decodeAlaw(bytes))
    case "u8":
      for (let i = 0; i < pcm.length; i++) pcm[i] = (bytes[i]! - 128) / 128
      break
    case "s16":
      for (let i = 0; i < pcm.length; i++) pcm[i] = view.getInt16(2 * i, true) / 32768
      break
    case "s24":
      for (let i = 0; i < pcm.length; i++) {
        pcm[i] = ((view.getInt8(3 * i + 2) << 16) | view.getUint16(3 * i, true)) / 8388608
      }
      break
    case "s32":
      for (let i = 0; i < pcm.length; i++) pcm[i] = view.getInt32(4 * i, true) / 2147483648
      break
    case "f32":
      for (let i = 0; i < pcm.length; i++) pcm[i] = view.getFloat32(4 * i, true)
      break
    case "f64":
      for (let i = 0; i < pcm.length; i++) pcm[i] = view.getFloat64(8 * i, true)
      break
  }
  return pcm
}

/**
 * Encodes float samples as little-endian bytes.
 * Integer formats round to nearest and clip at full scale; NaN becomes silence there, float formats keep every value.
 */
export function encodePcm(pcm: Float32Array, encoding: PcmEncoding): Uint8Array<ArrayBuffer> {
  const width = PCM_SAMPLE_BYTES[encoding]
  const bytes = new Uint8Array(pcm.length * width)
  const view = new DataView(bytes.buffer)
  switch (encoding) {
    case "mulaw":
      bytes.set(encodeMulaw(floatToInt16(pcm)))
      break
    case "alaw":
      bytes.set(encodeAlaw(floatToInt16(pcm)))
      break
    case "u8":
      for (let i = 0; i < pcm.length; i++) bytes[i] = quantize(pcm[i]!, 128) + 128
      break
    case "s16":
      for (let i = 0; i < pcm.length; i++) view.setInt16(2 * i, quantize(pcm[i]!, 32768), true)
      break
    case "s24":
      for (let i = 0; i < pcm.length; i++) {
        const value = quantize(pcm[i]!, 8388608)
        view.setUint16(3 * i, value & 0xffff, true)
        view.setInt8(3 * i + 2, value >> 16)
      }
      break
    case "s32":
      for (let i = 0; i < pcm.length; i++) view.setInt32(4 * i, quantize(pcm[i]!, 2147483648), true)
      break
    case "f32":
      for (let i = 0; i < pcm.length; i++) view.setFloat32(4 * i, pcm[i]!, true)
      break
    case "f64":
      for (let i = 0; i < pcm.length; i++) view.setFloat64(8 * i, pcm[i]!, true)
      break
  }
  return bytes
}

/** Mean of the channels of interleaved samples; one channel is returned as it is, not copied. */
export function mixToMono(interleaved: Float32Array, channels: number): Float32Array {
  invariant(channels >= 1 && interleaved.length % channels === 0, `mixToMono: ${interleaved.length} / ${channels}`)
  if (channels === 1) return interleaved
  const pcm = new Float32Array(interleaved.length / channels)
  for (let i = 0; i < pcm.length; i++) {
    let sum = 0
    for (let c = 0; c < channels; c++) sum += interleaved[i * channels + c]!
    pcm[i] = sum / channels
  }
  return pcm
}

/** One waveform out of several. */
export function concatPcm(pieces: readonly Float32Array[]): Float32Array {
  const joined = new Float32Array(pieces.reduce((sum, piece) => sum + piece.length, 0))
  let offset = 0
  for (const piece of pieces) {
    joined.set(piece, offset)
    offset += piece.length
  }
  return joined
}

/**
 * Refuses audio that no component can use. Silence, DC offset and values beyond ±1 are fine.
 * @param where name of the input for the message
 * @throws InputError when there are no samples, or one is NaN or infinite
 */
export function checkPcm(pcm: Float32Array, where = "audio"): void {
  if (pcm.length === 0) throw new InputError(`${where}: expected at least 1 sample, got 0 (the recording is empty)`)
  checkFinite(pcm, where)
}

/** Refuses samples that are NaN or infinite; there may be none at all. @throws InputError naming the first */
export function checkFinite(pcm: Float32Array, where: string): void {
  const at = pcm.findIndex((sample) => !Number.isFinite(sample))
  if (at < 0) return
  throw new InputError(`${where}: expected finite samples, got ${pcm[at]} at sample ${at} (damaged float data?)`)
}

function quantize(sample: number, scale: number): number {
  if (Number.isNaN(sample)) return 0
  return Math.max(-scale, Math.min(scale - 1, Math.round(sample * scale)))
}

/**
 * Samples as floats; 16-bit ones are scaled to [-1, 1). Nothing else is taken for samples: bytes may be those of any format.
 * @throws InputError naming `source`
 */
export function checkSamples(source: string, pcm: unknown): Float32Array {
  if (pcm instanceof Float32Array) return pcm
  if (pcm instanceof Int16Array) return int16ToFloat(pcm)
  const isBytes = pcm instanceof Uint8Array
  const hint = isBytes
    ? "bytes of 16-bit samples: new Int16Array(bytes.buffer, bytes.byteOffset, bytes.length / 2)"
    : "mono samples"
  const got =
    ArrayBuffer.isView(pcm) || Array.isArray(pcm) ? `a ${pcm.constructor.name}` : pcm === null ? "null" : typeof pcm
  throw new InputError(`${source}: expected a Float32Array or an Int16Array, got ${got} (${hint})`)
}
