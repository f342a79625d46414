import fc from "fast-check"
import { expect, test } from "vitest"
import { InputError } from "../util/index.ts"
import {
  checkPcm,
  concatPcm,
  decodePcm,
  encodePcm,
  floatToInt16,
  int16ToFloat,
  mixToMono,
  PCM_SAMPLE_BYTES,
  type PcmEncoding,
} from "./pcm.ts"

const ENCODINGS = Object.keys(PCM_SAMPLE_BYTES) as PcmEncoding[]

test("known bytes decode to known samples", () => {
  const decode = (encoding: PcmEncoding, ...bytes: number[]) => [...decodePcm(Uint8Array.from(bytes), encoding)]
  expect(decode("u8", 0, 128, 192)).toEqual([-1, 0, 0.5])
  expect(decode("s16", 0x00, 0x80, 0x00, 0x40)).toEqual([-1, 0.5])
  expect(decode("s24", 0x00, 0x00, 0x80, 0xff, 0xff, 0xff, 0x00, 0x00, 0x40)).toEqual([-1, -1 / 8388608, 0.5])
  expect(decode("s32", 0, 0, 0, 0x80, 0, 0, 0, 0x20)).toEqual([-1, 0.25])
  expect(decode("f32", 0, 0, 0xc0, 0x3f)).toEqual([1.5])
  expect(decode("f64", 0, 0, 0, 0, 0, 0, 0xf8, 0xbf)).toEqual([-1.5])
  expect(decode("mulaw", 0x80, 0xff)).toEqual([32124 / 32768, 0])
  expect(decode("alaw", 0xd5)).toEqual([8 / 32768])
})

test("bytes of a slice with an odd offset decode like any other", () => {
  const bytes = Uint8Array.of(9, 0x00, 0x40, 0x00, 0xc0)
  expect([...decodePcm(bytes.subarray(1), "s16")]).toEqual([0.5, -0.5])
})

test("decode ∘ encode keeps samples within half a step of the format", () => {
  const step: Partial<Record<PcmEncoding, number>> = { u8: 1 / 128, s16: 1 / 32768, s24: 2 ** -23, s32: 2 ** -24 }
  fc.assert(
    fc.property(fc.array(fc.float({ min: -1, max: Math.fround(0.98), noNaN: true })), (values) => {
      const pcm = Float32Array.from(values)
      for (const encoding of ENCODINGS) {
        const back = decodePcm(encodePcm(pcm, encoding), encoding)
        const tolerance = (value: number) =>
          encoding.endsWith("law") ? Math.abs(value) / 32 + 3e-4 : (step[encoding] ?? 0) / 2 + 1e-9
        pcm.forEach((value, i) => {
          expect(Math.abs(back[i]! - value)).toBeLessThanOrEqual(tolerance(value))
        })
      }
    }),
  )
})

test("integer → float → integer is the identity", () => {
  const all = Int16Array.from({ length: 65536 }, (_, i) => i - 32768)
  expect(floatToInt16(int16ToFloat(all))).toEqual(all)
})

test("loud, infinite and missing samples become legal integers", () => {
  const odd = Float32Array.of(1, 2, -3, Number.POSITIVE_INFINITY, Number.NaN)
  expect([...floatToInt16(odd)]).toEqual([32767, 32767, -32768, 32767, 0])
  expect([...decodePcm(encodePcm(odd, "u8"), "u8")]).toEqual([127 / 128, 127 / 128, -1, 127 / 128, 0])
})

test("half a sample is refused", () => {
  expect(() => decodePcm(new Uint8Array(3), "s16")).toThrow(
    new InputError("pcm: expected a multiple of 2 bytes for s16, got 3 (send whole samples)"),
  )
})

test("channels are averaged", () => {
  expect([...mixToMono(Float32Array.of(1, 0, 0.5, -0.5), 2)]).toEqual([0.5, 0])
  const mono = Float32Array.of(1, 2)
  expect(mixToMono(mono, 1)).toBe(mono)
})

test("pieces are joined in order", () => {
  expect([...concatPcm([Float32Array.of(1), new Float32Array(0), Float32Array.of(2, 3)])]).toEqual([1, 2, 3])
})

test("audio that cannot be used is refused with its place; loud and biased audio is not", () => {
  expect(() => checkPcm(new Float32Array(0))).toThrow(
    new InputError("audio: expected at least 1 sample, got 0 (the recording is empty)"),
  )
  expect(() => checkPcm(Float32Array.of(0, Number.NaN), "voice.wav")).toThrow(
    new InputError("voice.wav: expected finite samples, got NaN at sample 1 (damaged float data?)"),
  )
  expect(() => checkPcm(Float32Array.of(Number.NEGATIVE_INFINITY))).toThrow("got -Infinity at sample 0")
  expect(() => checkPcm(Float32Array.of(5, -5, 5))).not.toThrow()
})
