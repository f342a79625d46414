import { readFileSync } from "node:fs"
import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { InputError } from "../util/index.ts"
import { decodeAudio } from "./decode.ts"
import { writeFlac } from "./flac.test-util.ts"
import { sine } from "./golden.test-util.ts"
import { wavHeader, writeWav } from "./wav.ts"
import { createWhisperMel } from "./whisper-mel.ts"

const fixture = (name: string): Uint8Array =>
  new Uint8Array(readFileSync(new URL(`../../test/fixtures/audio/${name}`, import.meta.url)))

const text = (value: string) => Uint8Array.from(value, (char) => char.charCodeAt(0))

/** How much of the sound, apart from its edges, is a sine of 440 Hz (1: all of it). */
function likeness(pcm: Float32Array, sampleRateHz: number): number {
  let [re, im, power] = [0, 0, 0]
  const inner = pcm.subarray(pcm.length / 10, (pcm.length * 9) / 10)
  inner.forEach((sample, n) => {
    const phase = (2 * Math.PI * 440 * n) / sampleRateHz
    re += sample * Math.cos(phase)
    im += sample * Math.sin(phase)
    power += sample * sample
  })
  return (2 * (re * re + im * im)) / (power * inner.length)
}
const level = (pcm: Float32Array): number => Math.sqrt(pcm.reduce((sum, s) => sum + s * s, 0) / pcm.length)

const FILES = [
  ["sine.mp3", "mp3", 44_100, 1 / 8],
  ["sine.flac", "flac", 16_000, 1 / 8 / Math.SQRT2],
  ["sine.ogg", "ogg-vorbis", 22_050, 1 / 8],
  ["sine.opus", "ogg-opus", 48_000, 1 / 8 / Math.SQRT2],
] as const

describe.each(FILES)("%s", (name, format, rate, amplitude) => {
  test("is half a second of the sine, at its own rate", async () => {
    const sound = await decodeAudio(fixture(name))
    expect({ ...sound, pcm: sound.pcm.length }).toEqual({ pcm: rate / 2, sampleRateHz: rate, format, damaged: false })
    expect(likeness(sound.pcm, rate)).toBeGreaterThan(0.995)
    expect(level(sound.pcm)).toBeCloseTo(amplitude / Math.SQRT2, 2)
  })

  test("is resampled while it is decoded", async () => {
    const { pcm, sampleRateHz } = await decodeAudio(fixture(name), { sampleRateHz: 16_000 })
    expect([pcm.length, sampleRateHz]).toEqual([8000, 16_000])
    expect(likeness(pcm, 16_000)).toBeGreaterThan(0.995)
  })

  test("is told by its content, wherever it lies in a buffer", async () => {
    const bytes = fixture(name)
    const inside = new Uint8Array(bytes.length + 13)
    inside.set(bytes, 13)
    expect((await decodeAudio(inside.subarray(13))).format).toBe(format)
  })

  test("longer than the limit is refused", async () => {
    const failure = decodeAudio(fixture(name), { maxSeconds: 0.4, source: "upload" })
    await expect(failure).rejects.toThrow(InputError)
    await expect(failure).rejects.toThrow(/^upload: expected at most 0\.4 s of sound, got (0\.5 s|more) \(cut it/)
  })

  test("cut off anywhere gives its beginning or an input error, and never more than the whole", async () => {
    const bytes = fixture(name)
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: bytes.length - 1 }), async (size) => {
        try {
          expect((await decodeAudio(bytes.slice(0, size))).pcm.length).toBeLessThanOrEqual(rate / 2 + 2304)
        } catch (error) {
          expect(error).toBeInstanceOf(InputError)
        }
      }),
      { numRuns: 25 },
    )
  })

  test("damaged anywhere gives finite sound or an input error", async () => {
    const bytes = fixture(name)
    const damage = fc.array(fc.tuple(fc.nat(bytes.length - 1), fc.nat(255)), { minLength: 1, maxLength: 40 })
    await fc.assert(
      fc.asyncProperty(damage, async (changes) => {
        const broken = bytes.slice()
        for (const [at, value] of changes) broken[at] = value
        try {
          const { pcm } = await decodeAudio(broken, { maxSeconds: 60 })
          expect(pcm.every(Number.isFinite)).toBe(true)
        } catch (error) {
          expect(error).toBeInstanceOf(InputError)
        }
      }),
      { numRuns: 25 },
    )
  })
})

describe("flac is decoded to its last sample", () => {
  const decoded = async (samples: Int16Array, frameSamples: number, behind = new Uint8Array(0)) => {
    const { pcm, damaged } = await decodeAudio(Buffer.concat([writeFlac(samples, frameSamples), behind]))
    expect(Int16Array.from(pcm, (sample) => Math.round(sample * 32_768))).toEqual(samples)
    expect(damaged).toBe(false)
  }
  const noise = (length: number) => Int16Array.from({ length }, (_, i) => ((i * 7919) % 60_001) - 30_000)

  test.each([
    ["one sample", 1, 0],
    ["silence of one frame", 0, 16],
    ["silence of two frames", 0, 17],
    ["silence of many frames", 0, 5000],
    ["one silent sample behind whole frames", 4608, 1],
    ["seconds of silence at the end", 4000, 48_000],
    ["no silence", 4096, 0],
  ])("%s", async (_, loud, silent) => {
    const samples = new Int16Array(loud + silent)
    samples.set(noise(loud))
    for (const frameSamples of [16, 192, 576, 4608]) await decoded(samples, frameSamples)
  })

  test("whatever its frames", () => {
    const run = fc.record({ length: fc.nat(400), loud: fc.boolean() })
    const runs = fc.array(run, { minLength: 1, maxLength: 6 })
    return fc.assert(
      fc.asyncProperty(runs, fc.integer({ min: 16, max: 300 }), async (parts, frameSamples) => {
        const samples = parts.flatMap(({ length, loud }) => [...(loud ? noise(length) : new Int16Array(length))])
        if (samples.length > 0) await decoded(Int16Array.from(samples), frameSamples)
      }),
      { numRuns: 40 },
    )
  })

  test("with an ID3v1 tag behind it", async () => {
    const tag = new Uint8Array(128)
    tag.set(text("TAGtitle"))
    await decoded(noise(1000), 192, tag)
    await decoded(new Int16Array(1000), 192, tag)
  })
})

test.each(["sine.flac", "sine.ogg", "sine.opus"])("%s without its end says so", async (name) => {
  const bytes = fixture(name)
  expect((await decodeAudio(bytes.subarray(0, bytes.length - 200))).damaged).toBe(true)
})

describe("wav", () => {
  test("is mixed to mono and resampled", async () => {
    const left = sine(24_000, 440, 48_000, 0.5)
    const stereo = new Float32Array(48_000).map((_, i) => (i % 2 ? 0 : left[i / 2]!))
    const sound = await decodeAudio(writeWav(stereo, { sampleRateHz: 48_000, channels: 2 }), { sampleRateHz: 16_000 })
    expect({ ...sound, pcm: sound.pcm.length }).toEqual({
      pcm: 8000,
      sampleRateHz: 16_000,
      format: "wav",
      damaged: false,
    })
    expect(level(sound.pcm)).toBeCloseTo(0.25 / Math.SQRT2, 2)
  })

  test("cut off says so", async () => {
    const whole = writeWav(sine(1000, 440, 16_000), { sampleRateHz: 16_000 })
    const { pcm, damaged } = await decodeAudio(whole.subarray(0, 1044))
    expect([pcm.length, damaged]).toEqual([500, true])
  })

  test("of three hours is refused by its size, without being decoded", async () => {
    const file = new Uint8Array(44 + 3 * 3600 * 8000) // 86 MB of 8-bit samples would be 346 MB of floats
    file.set(wavHeader({ sampleRateHz: 4000, dataBytes: file.length - 44 }))
    await expect(decodeAudio(file, { source: "long.wav" })).rejects.toThrow(
      "long.wav: expected at most 3600 s of sound, got 10800.0 s (cut it, or raise the limit)",
    )
  })

  test("without samples, or with NaN among them, is refused", async () => {
    const empty = writeWav(new Float32Array(0), { sampleRateHz: 16_000 })
    await expect(decodeAudio(empty)).rejects.toThrow(
      "audio: expected at least 1 sample, got 0 (the recording is empty)",
    )
    const broken = writeWav(Float32Array.of(0, Number.NaN), { sampleRateHz: 16_000, encoding: "f32" })
    for (const sampleRateHz of [undefined, 24_000]) {
      await expect(decodeAudio(broken, { sampleRateHz })).rejects.toThrow("audio: expected finite samples, got NaN")
    }
  })

  test("behind an ID3 tag is found", async () => {
    const file = writeWav(sine(1600, 440, 16_000), { sampleRateHz: 16_000 })
    const tag = [...text("ID3\x04\0\0\0\0\x01\x02"), ...new Uint8Array(130)]
    const { pcm, format } = await decodeAudio(Uint8Array.from([...tag, ...file]), { sampleRateHz: 24_000 })
    expect([format, pcm.length]).toEqual(["wav", 2400])
  })

  test.each([6000, 384_000])("of %i Hz is refused by name where another rate is wanted", async (sampleRateHz) => {
    const file = writeWav(sine(1600, 440, 16_000), { sampleRateHz })
    expect((await decodeAudio(file)).sampleRateHz).toBe(sampleRateHz)
    const failure = decodeAudio(file, { sampleRateHz: 16_000, source: "odd.wav" })
    await expect(failure).rejects.toThrow(InputError)
    await expect(failure).rejects.toThrow(
      `odd.wav: expected a sample rate from 8000 to 192000 Hz, got ${sampleRateHz} (convert the file first)`,
    )
  })

  test("of 0.01 s is decoded, and the encoder says what it needs", async () => {
    const { pcm } = await decodeAudio(writeWav(sine(160, 440, 16_000), { sampleRateHz: 16_000 }))
    expect(pcm.length).toBe(160)
    expect(() => createWhisperMel().split([pcm])).toThrow(/^audio: expected at least \d+ samples, got 160 \(too short/)
  })
})

function adpcm(): Uint8Array {
  const file = writeWav(new Float32Array(512), { sampleRateHz: 8000 })
  file[20] = 0x11
  return file
}

test.each([
  ["nothing", new Uint8Array(0), "got 0 bytes (check where the file comes from)"],
  ["AAC in MP4", fixture("sine.m4a"), "got MP4 or M4A (AAC) (convert it first, or read it through ffmpeg)"],
  ["AAC alone", Uint8Array.of(0xff, 0xf1, 0x50, 0x80), "got AAC (convert it first, or read it through ffmpeg)"],
  ["WebM", text("\x1aE\xdf\xa3........"), "got WebM or Matroska (convert it first, or read it through ffmpeg)"],
  ["Ogg with Speex", text(`OggS${"\0".repeat(22)}\x01\x50Speex   `), "got Ogg with another codec"],
  ["ADPCM in WAV", adpcm(), "got WAV of format 0x11 (convert it to 16-bit PCM, or read it through ffmpeg)"],
  ["AVI", text("RIFF....AVI LIST"), "got AVI (convert it first, or read it through ffmpeg)"],
  ["text", text("hello there"), "got 11 bytes that begin with 68 65 6c 6c 6f 20 74 68 (convert it first)"],
])("refuses %s", async (_, bytes, message) => {
  const failure = decodeAudio(bytes, { source: "upload" })
  await expect(failure).rejects.toThrow(InputError)
  await expect(failure).rejects.toThrow(`upload: expected a WAV, MP3, FLAC, Ogg Vorbis or Ogg Opus file, ${message}`)
})

test("headers with nothing behind them are refused", async () => {
  for (const [name, format] of FILES) {
    const failure = decodeAudio(fixture(name).slice(0, name === "sine.mp3" ? 60 : 100))
    await expect(failure).rejects.toThrow(InputError)
    await expect(failure).rejects.toThrow(`got ${format} with `)
  }
})
