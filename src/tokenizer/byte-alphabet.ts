/**
 * @file The printable alphabet of byte-level BPE: every byte has one visible character, so that a vocabulary file
 * is plain text. Same assignment as GPT-2: visible Latin-1 stands for itself, the rest follows from U+0100 on.
 */

const isVisible = (byte: number): boolean =>
  (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || (byte >= 0xae && byte <= 0xff)

const hidden = Array.from({ length: 256 }, (_, byte) => byte).filter((byte) => !isVisible(byte))

/** The character of each byte, indexed by the byte. */
export const BYTE_TO_CHAR: readonly string[] = Array.from({ length: 256 }, (_, byte) =>
  String.fromCharCode(isVisible(byte) ? byte : 0x100 + hidden.indexOf(byte)),
)

/** The 256 characters in the order in which a byte-level vocabulary lists them: the visible bytes, then the others. */
export const BYTE_ALPHABET: readonly string[] = [...BYTE_TO_CHAR].sort((a, b) => a.charCodeAt(0) - b.charCodeAt(0))

const CHAR_TO_BYTE = new Map(BYTE_TO_CHAR.map((char, byte) => [char, byte]))
const encoder = new TextEncoder()

/** A text's UTF-8 bytes, written in the alphabet. */
export function toByteChars(text: string): string {
  let chars = ""
  for (const byte of encoder.encode(text)) chars += BYTE_TO_CHAR[byte]
  return chars
}

/** The bytes a vocabulary entry stands for; an entry with a character outside the alphabet stands for its own text. */
export function tokenBytes(token: string): Uint8Array {
  const bytes = new Uint8Array(token.length)
  for (let i = 0; i < token.length; i++) {
    const byte = CHAR_TO_BYTE.get(token[i]!)
    if (byte === undefined) return encoder.encode(token)
    bytes[i] = byte
  }
  return bytes
}
