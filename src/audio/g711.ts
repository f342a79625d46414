/**
 * @file G.711 companding: one byte per sample, mu-law (North America, Japan) and A-law (elsewhere).
 * Telephone lines and the realtime protocol send it at 8 kHz. Source: ITU-T G.711, tables 1 and 2.
 */

const MULAW_BIAS = 0x84
const MULAW_CLIP = 32635

/** @returns the 16-bit value of one mu-law byte */
function mulawToInt16(code: number): number {
  const bits = ~code & 0xff // the wire sends all bits inverted
  const exponent = (bits >> 4) & 7
  const magnitude = (((bits & 0x0f) << 3) + MULAW_BIAS) << exponent
  return bits & 0x80 ? MULAW_BIAS - magnitude : magnitude - MULAW_BIAS
}

/** @returns the mu-law byte nearest to a 16-bit value */
function int16ToMulaw(value: number): number {
  const sign = value < 0 ? 0x80 : 0
  const biased = Math.min(Math.abs(value), MULAW_CLIP) + MULAW_BIAS
  const exponent = 24 - Math.clz32(biased) // position of the leading one above bit 7
  return ~(sign | (exponent << 4) | ((biased >> (exponent + 3)) & 0x0f)) & 0xff
}

/** @returns the 16-bit value of one A-law byte */
function alawToInt16(code: number): number {
  const bits = code ^ 0x55 // the wire sends every other bit inverted
  const exponent = (bits >> 4) & 7
  const step = ((bits & 0x0f) << 4) + 8
  const magnitude = exponent === 0 ? step : (step + 0x100) << (exponent - 1)
  return bits & 0x80 ? magnitude : -magnitude
}

/** @returns the A-law byte nearest to a 16-bit value */
function int16ToAlaw(value: number): number {
  const sign = value < 0 ? 0 : 0x80
  const magnitude = Math.min(value < 0 ? -value - 1 : value, 0x7fff) >> 4 // 0 … 2047
  const exponent = magnitude < 16 ? 0 : 28 - Math.clz32(magnitude)
  const mantissa = exponent <= 1 ? magnitude & 0x0f : (magnitude >> (exponent - 1)) & 0x0f
  return (sign | (exponent << 4) | mantissa) ^ 0x55
}

const table = (decode: (code: number) => number) => Int16Array.from({ length: 256 }, (_, code) => decode(code))
const MULAW_TABLE = table(mulawToInt16)
const ALAW_TABLE = table(alawToInt16)

/** Widens mu-law bytes to 16-bit samples. */
export function decodeMulaw(bytes: Uint8Array): Int16Array {
  return Int16Array.from(bytes, (code) => MULAW_TABLE[code]!)
}

/** Compresses 16-bit samples to mu-law bytes; loud samples are clipped at 32635. */
export function encodeMulaw(samples: Int16Array): Uint8Array {
  return Uint8Array.from(samples, int16ToMulaw)
}

/** Widens A-law bytes to 16-bit samples. */
export function decodeAlaw(bytes: Uint8Array): Int16Array {
  return Int16Array.from(bytes, (code) => ALAW_TABLE[code]!)
}

/** Compresses 16-bit samples to A-law bytes. */
export function encodeAlaw(samples: Int16Array): Uint8Array {
  return Uint8Array.from(samples, int16ToAlaw)
}
