import { readFileSync } from "node:fs"
import fc from "fast-check"
import { expect, test } from "vitest"
import { InputError } from "../util/index.ts"
import { encodePcm, type PcmEncoding } from "./pcm.ts"
import { readWav, readWavMono, wavHeader, writeWav } from "./wav.ts"

const chars = (text: string) => [...text].map((char) => char.charCodeAt(0))
const u16 = (value: number) => [value & 255, (value >> 8) & 255]
const u32 = (value: number) => [...u16(value & 0xffff), ...u16(value >>> 16)]
const chunk = (id: string, body: readonly number[], size = body.length) => [
  ...chars(id),
  ...u32(size),
  ...body,
  ...(size % 2 ? [0] : []),
]
const riff = (...parts: number[][]) => {
  const body = parts.flat()
  return Uint8Array.from([...chars("RIFF"), ...u32(body.length + 4), ...chars("WAVE"), ...body])
}
const format = (tag: number, channels: number, rate: number, bits: number, container = bits / 8) => [
  ...u16(tag),
  ...u16(channels),
  ...u32(rate),
  ...u32(rate * channels * container),
  ...u16(channels * container),
  ...u16(bits),
]
const GUID_TAIL = [0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xaa, 0, 0x38, 0x9b, 0x71]
const PCM16 = chunk("fmt ", format(1, 1, 16000, 16))
const FOUR = [0, 0x40, 0, 0xc0, 0, 0x20, 0, 0] // 0.5, -0.5, 0.25, 0

test("a written file reads back: rate, channels and samples", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 768000 }),
      fc.integer({ min: 1, max: 8 }),
      fc.array(fc.float({ min: -1, max: Math.fround(0.9999), noNaN: true }), { maxLength: 40 }),
      (sampleRateHz, channels, values) => {
        const samples = Float32Array.from(values.slice(0, values.length - (values.length % channels)))
        const float = readWav(writeWav(samples, { sampleRateHz, channels, encoding: "f32" }))
        expect(float).toEqual({ sampleRateHz, channels, encoding: "f32", samples, truncated: false })
        const short = readWav(writeWav(samples, { sampleRateHz, channels }))
        expect(short).toMatchObject({ sampleRateHz, channels, encoding: "s16", truncated: false })
        short.samples.forEach((value, i) => {
          expect(Math.abs(value - samples[i]!)).toBeLessThanOrEqual(0.5 / 32768 + 1e-9)
        })
      },
    ),
  )
})

test("our 16-bit header is the classic 44 bytes", () => {
  const file = writeWav(Float32Array.of(0.5), { sampleRateHz: 24000 })
  expect([...file]).toEqual([
    ...chars("RIFF"),
    ...u32(38),
    ...chars("WAVEfmt "),
    ...u32(16),
    ...format(1, 1, 24000, 16),
    ...chars("data"),
    ...u32(2),
    0,
    0x40,
  ])
})

test("every encoding is recognized, plain and extensible", () => {
  const cases: [PcmEncoding, number, number][] = [
    ["u8", 1, 8],
    ["s16", 1, 16],
    ["s24", 1, 24],
    ["s32", 1, 32],
    ["f32", 3, 32],
    ["f64", 3, 64],
    ["alaw", 6, 8],
    ["mulaw", 7, 8],
  ]
  for (const [encoding, tag, bits] of cases) {
    const data = chunk("data", [...encodePcm(Float32Array.of(0.5, -0.25), encoding)])
    const plain = readWav(riff(chunk("fmt ", format(tag, 2, 44100, bits)), data))
    expect(plain).toMatchObject({ encoding, channels: 2, sampleRateHz: 44100, truncated: false })
    expect(plain.samples[0]).toBeCloseTo(0.5, 1)
    const extension = [...u16(22), ...u16(bits), ...u32(3), ...u16(tag), ...GUID_TAIL]
    const extensible = [...format(0xfffe, 2, 44100, bits), ...extension]
    expect(readWav(riff(chunk("fmt ", extensible), data))).toEqual(plain)
  }
})

test("samples in wider containers keep their scale", () => {
  const data = chunk("data", [...encodePcm(Float32Array.of(0.5, -0.25), "s32")])
  const { encoding, samples } = readWav(riff(chunk("fmt ", format(1, 1, 48000, 24, 4)), data))
  expect(encoding).toBe("s32")
  expect([...samples]).toEqual([0.5, -0.25])
})

test("other chunks are skipped, odd ones with their padding byte", () => {
  const file = riff(chunk("JUNK", [1, 2, 3]), PCM16, chunk("LIST", [...chars("INFOx")]), chunk("data", FOUR))
  expect([...readWav(file).samples]).toEqual([0.5, -0.5, 0.25, 0])
})

test("odd chunks without their padding byte hide nothing", () => {
  const odd = [...chars("JUNK"), ...u32(3), 1, 2, 3]
  for (const file of [riff(odd, PCM16, chunk("data", FOUR)), riff(PCM16, odd, chunk("data", FOUR))]) {
    expect([...readWav(file).samples]).toEqual([0.5, -0.5, 0.25, 0])
  }
})

test("a block size that contradicts the bits is not believed", () => {
  for (const container of [0, 1, 3, 4, 7]) {
    const file = riff(chunk("fmt ", format(1, 1, 16000, 16, container)), chunk("data", FOUR))
    expect(readWav(file)).toMatchObject({ encoding: "s16", samples: Float32Array.of(0.5, -0.5, 0.25, 0) })
  }
  const noBits = riff(chunk("fmt ", format(1, 2, 16000, 0, 2)), chunk("data", FOUR))
  expect(readWav(noBits)).toMatchObject({ encoding: "s16", channels: 2 })
  const law = riff(chunk("fmt ", format(7, 1, 8000, 16, 2)), chunk("data", FOUR))
  expect(readWav(law)).toMatchObject({ encoding: "mulaw" })
})

test("RF64 takes the data size from ds64", () => {
  const ds64 = chunk("ds64", [...u32(0), ...u32(0), ...u32(4), ...u32(0), ...u32(2), ...u32(0), ...u32(0)])
  const file = riff(ds64, PCM16, [...chars("data"), ...u32(0xffffffff), ...FOUR])
  file.set(chars("RF64"))
  expect(readWav(file)).toMatchObject({ samples: Float32Array.of(0.5, -0.5), truncated: false })
})

test("files of unknown length run to their end", () => {
  for (const size of [0, 0xffffffff, 0x7ffff000, 0x7fffffff]) {
    const { samples, truncated } = readWav(riff(PCM16, [...chars("data"), ...u32(size), ...FOUR]))
    expect([...samples]).toEqual([0.5, -0.5, 0.25, 0])
    expect(truncated).toBe(false)
  }
  const streamed = Uint8Array.from([...wavHeader({ sampleRateHz: 24000 }), ...FOUR, 7])
  expect(readWav(streamed).samples.length).toBe(4) // half a sample at the end is dropped
})

test("a data chunk that is really empty stays empty", () => {
  const file = riff(PCM16, chunk("data", []), chunk("LIST", chars("INFO")))
  expect(readWav(file).samples.length).toBe(0)
  expect(() => readWavMono(file, "a.wav")).toThrow("a.wav: expected at least 1 sample, got 0")
})

test("a cut-off file gives what is there, and says so", () => {
  const file = writeWav(Float32Array.of(0.5, -0.5, 0.25), { sampleRateHz: 8000 })
  const cut = readWav(file.subarray(0, file.length - 3))
  expect(cut).toMatchObject({ samples: Float32Array.of(0.5), truncated: true })
})

test("stereo is mixed to mono", () => {
  const file = writeWav(Float32Array.of(0.5, 0, -0.5, -0.25), { sampleRateHz: 8000, channels: 2, encoding: "f32" })
  expect(readWavMono(file)).toEqual({ pcm: Float32Array.of(0.25, -0.375), sampleRateHz: 8000, truncated: false })
})

test("bad files and bad requests are refused by name", () => {
  const read = (bytes: Uint8Array) => () => readWav(bytes, "x.wav")
  expect(read(new Uint8Array(0))).toThrow(new InputError("x.wav: expected a 12-byte RIFF header, got 0 bytes"))
  expect(read(Uint8Array.from(chars("ID3 mp3 data here")))).toThrow("x.wav: expected a RIFF or RF64 WAVE file")
  expect(read(riff(PCM16))).toThrow('x.wav: expected a "data" chunk, got the end of the file')
  expect(read(riff(PCM16.slice(0, 14)))).toThrow('expected a "fmt " chunk of at least 16 bytes, got 6')
  expect(read(riff(chunk("data", FOUR)))).toThrow('expected a "fmt " chunk before "data"')
  const withFormat = (fields: number[]) => riff(chunk("fmt ", fields), chunk("data", FOUR))
  expect(read(withFormat(format(1, 0, 16000, 16)))).toThrow("x.wav: channels: expected 1 to 64, got 0")
  expect(read(withFormat(format(1, 1, 0, 16)))).toThrow("x.wav: sample rate: expected 1 to 768000, got 0")
  expect(read(withFormat(format(2, 1, 16000, 16)))).toThrow("got format 0x2 with 2 bytes per sample")
  expect(read(withFormat(format(0xfffe, 1, 16000, 16)))).toThrow("expected an extensible")
  expect(() => writeWav(new Float32Array(3), { sampleRateHz: 8000, channels: 2 })).toThrow("a multiple of 2")
  expect(() => wavHeader({ sampleRateHz: 8000.5 })).toThrow("wav: sample rate: expected 1 to 768000, got 8000.5")
  expect(() => wavHeader({ sampleRateHz: 8000, dataBytes: 2 ** 32 })).toThrow("less than 4 GiB")
})

/** Runs the reader on damaged bytes: a result with bounded memory, or an InputError; nothing else. */
function survives(bytes: Uint8Array): void {
  try {
    const { samples, channels } = readWav(bytes)
    expect(samples.length).toBeLessThanOrEqual(bytes.length)
    expect(samples.length % channels).toBe(0)
  } catch (error) {
    expect(error).toBeInstanceOf(InputError)
  }
}

test("no truncation, flipped bit or lie about a length breaks the reader", () => {
  const extensible = [...format(0xfffe, 2, 44100, 16), ...u16(22), ...u16(16), ...u32(3), ...u16(1), ...GUID_TAIL]
  const files = [
    riff(PCM16, chunk("LIST", chars("INFOabc")), chunk("data", FOUR)),
    riff(chunk("fmt ", extensible), chunk("data", FOUR)),
    writeWav(Float32Array.of(0.1, 0.2, 0.3), { sampleRateHz: 16000, encoding: "f32" }),
  ]
  for (const file of files) {
    for (let length = 0; length <= file.length; length++) survives(file.subarray(0, length))
    for (let bit = 0; bit < 8 * file.length; bit++) {
      const flipped = file.slice()
      flipped[bit >> 3]! ^= 1 << (bit & 7)
      survives(flipped)
    }
    for (let offset = 0; offset + 4 <= file.length; offset++) {
      for (const lie of [0, 1, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff]) {
        const changed = file.slice()
        changed.set(u32(lie), offset)
        survives(changed)
      }
    }
  }
  fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), (body) => survives(riff([...body]))))
  fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), (body) => survives(riff(PCM16, [...body]))))
})

test("a large file of empty chunks ends quickly", () => {
  const file = new Uint8Array(20_000_000)
  file.set(riff())
  const started = performance.now()
  expect(() => readWav(file)).toThrow('expected a "data" chunk')
  expect(performance.now() - started).toBeLessThan(1000)
})

test("a recording of the fixtures reads as 16 kHz mono", () => {
  const file = readFileSync(new URL("../../test/fixtures/tiny-a/assets/audio/ref_voice.wav", import.meta.url))
  const { pcm, sampleRateHz } = readWavMono(file)
  expect(sampleRateHz).toBe(16000)
  expect(pcm.length).toBe((file.length - 44) / 2)
})
