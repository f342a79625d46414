/** @file A FLAC writer for tests: mono, 16 bits, 16 kHz, frames that are constant or stored as they are. */

/** Checksums of FLAC: bitwise, most significant bit first, from zero. */
function crc(bytes: readonly number[], width: 8 | 16, polynomial: number): number {
  const top = 2 ** (width - 1)
  const step = (sum: number) => (sum & top ? ((sum << 1) ^ polynomial) & (2 ** width - 1) : sum << 1)
  return bytes.reduce((sum, byte) => {
    let rest = sum ^ (byte << (width - 8))
    for (let bit = 0; bit < 8; bit++) rest = step(rest)
    return rest
  }, 0)
}

const sixteen = (value: number): number[] => [(value >> 8) & 255, value & 255]

function frame(samples: Int16Array, index: number): number[] {
  const [begin, ...rest] = new TextEncoder().encode(String.fromCodePoint(index)) // FLAC counts frames in UTF-8
  const header = [0xff, 0xf8, 0x75, 0x08, begin!, ...rest, ...sixteen(samples.length - 1)]
  header.push(crc(header, 8, 0x07))
  const constant = samples.every((sample) => sample === samples[0])
  const body = constant ? [0, ...sixteen(samples[0]!)] : [2, ...[...samples].flatMap(sixteen)]
  const whole = [...header, ...body]
  return [...whole, ...sixteen(crc(whole, 16, 0x8005))]
}

/** @param frameSamples samples of each frame but the last, 16 or more; the file has fewer than 55,296 frames */
export function writeFlac(samples: Int16Array, frameSamples: number): Uint8Array {
  const info = [...sixteen(frameSamples), ...sixteen(frameSamples), 0, 0, 0, 0, 0, 0]
  const rate = [0x03, 0xe8, 0x00, 0xf0] // 16,000 Hz, 1 channel, 16 bits, the first bits of the length
  const length = [...sixteen(samples.length >> 16), ...sixteen(samples.length & 0xffff)]
  const bytes = [0x66, 0x4c, 0x61, 0x43, 0x80, 0, 0, 34, ...info, ...rate, ...length, ...new Array<number>(16).fill(0)]
  for (let at = 0, index = 0; at < samples.length; at += frameSamples, index++) {
    bytes.push(...frame(samples.subarray(at, at + frameSamples), index))
  }
  return Uint8Array.from(bytes)
}
