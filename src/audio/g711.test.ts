import { expect, test } from "vitest"
import { decodeAlaw, decodeMulaw, encodeAlaw, encodeMulaw } from "./g711.ts"

const ALL_CODES = Uint8Array.from({ length: 256 }, (_, code) => code)

test("mu-law has the values of the standard's table", () => {
  expect([...decodeMulaw(Uint8Array.of(0x00, 0x80, 0x7f, 0xff, 0x70, 0xf0, 0xef))]).toEqual([
    -32124, 32124, 0, 0, -120, 120, 132,
  ])
  expect([...encodeMulaw(Int16Array.of(0, -1, 32767, -32768, 132, 120))]).toEqual([0xff, 0x7f, 0x80, 0x00, 0xef, 0xf0])
})

test("A-law has the values of the standard's table", () => {
  expect([...decodeAlaw(Uint8Array.of(0xd5, 0x55, 0xaa, 0x2a, 0xd4, 0xc5))]).toEqual([8, -8, 32256, -32256, 24, 264])
  expect([...encodeAlaw(Int16Array.of(0, -1, 32767, -32768, 24, 264))]).toEqual([0xd5, 0x55, 0xaa, 0x2a, 0xd4, 0xc5])
})

test("every code survives decoding and encoding, but for the second zero of mu-law", () => {
  const mulaw = encodeMulaw(decodeMulaw(ALL_CODES))
  expect([...mulaw]).toEqual([...ALL_CODES].map((code) => (code === 0x7f ? 0xff : code)))
  expect([...encodeAlaw(decodeAlaw(ALL_CODES))]).toEqual([...ALL_CODES])
})

test("every 16-bit value lands within half a step of its segment", () => {
  const values = Int16Array.from({ length: 65536 }, (_, i) => i - 32768)
  for (const [decode, encode, clip] of [
    [decodeMulaw, encodeMulaw, 32635],
    [decodeAlaw, encodeAlaw, 32767],
  ] as const) {
    const back = decode(encode(values))
    values.forEach((value, i) => {
      const wanted = Math.max(-clip, Math.min(clip, value)) // a segment is as wide as 1/16 of its start
      expect(Math.abs(back[i]! - wanted) <= Math.abs(wanted) / 32 + 9).toBe(true)
    })
  }
})
