import { readFileSync } from "node:fs"
import { expect, test } from "vitest"
import { type HostTensor, relativeToMaxAbs } from "../tensor/index.ts"
import { ConfigError, InputError } from "../util/index.ts"
import { goldenAudio, goldenTensors, lcgNoise, sine } from "./golden.test-util.ts"
import { concatPcm } from "./pcm.ts"
import { createWhisperMel, WHISPER_MEL, whisperMelConfig } from "./whisper-mel.ts"

const mel = createWhisperMel()
const golden = goldenTensors("mel")
const TOLERANCE = 1e-4 // measured 2.7e-5: the log of near-zero power amplifies float32 rounding in the recorded values

const at = (features: HostTensor, m: number, t: number) => Number(features.data[m * features.shape[1]! + t])
const lowest = (features: HostTensor<"f32">) => features.data.reduce((low, value) => Math.min(low, value))
const column = (features: HostTensor, t: number, from: number, to: number) =>
  Array.from({ length: to - from + 1 }, (_, i) => at(features, from + i, t))
const close = (got: number[], want: number[], tolerance = 1e-4) => {
  expect(got.length).toBe(want.length)
  got.forEach((value, i) => {
    expect(Math.abs(value - want[i]!)).toBeLessThan(tolerance)
  })
}
function matches(got: HostTensor, key: string) {
  const want = golden[key]!
  expect(got.shape).toEqual(want.shape)
  expect(relativeToMaxAbs(got, want), key).toBeLessThan(TOLERANCE)
}

test("whole recordings equal the recorded features", () => {
  for (const name of ["chirp_3700ms", "speech_en", "ref_voice"])
    matches(mel.extract(goldenAudio(name)), `out.mel_${name}`)
})

test("streaming calls equal the recorded features, second by second", () => {
  const pcm = goldenAudio("chirp_3700ms")
  for (let i = 0; i < 4; i++) matches(mel.extract(pcm.subarray(16000 * i, 16000 * (i + 1))), `out.stream_mel_${i}`)
})

test("a batch of two recordings equals the recorded encoder input, padding included", () => {
  const { features, featureLens } = mel.extractBatch([goldenAudio("chirp_3700ms"), goldenAudio("ref_voice")])
  const want = goldenTensors("apm_two_audios_chunk1")
  expect(featureLens.data).toEqual(want["in.feature_lens"]!.data)
  expect(features.shape).toEqual(want["in.features"]!.shape)
  expect(relativeToMaxAbs(features, want["in.features"]!)).toBeLessThan(TOLERANCE)
})

test("31.5 seconds are split at 30, and the shorter segment is padded with 0.0", () => {
  const long = concatPcm(new Array<Float32Array>(10).fill(goldenAudio("chirp_3700ms"))).subarray(0, 504000)
  const { features, featureLens, segments } = mel.extractBatch([long])
  expect(featureLens).toEqual(golden["out.long_mel_lens"])
  expect(features.shape).toEqual([2, 80, 3000])
  matches(segments[1]!, "out.long_mel_seg1_last_valid")
  const lastRow = features.data.subarray((80 + 79) * 3000, (80 + 80) * 3000)
  expect([...lastRow.subarray(0, 150)]).toEqual([...segments[1]!.data.subarray(79 * 150, 80 * 150)])
  expect(lastRow.subarray(150).every((value) => value === 0)).toBe(true)
})

test("published vectors: a tone", () => {
  const tone = mel.extract(sine(16000, 440, 16000))
  expect(tone.shape).toEqual([80, 100])
  close([Math.min(...tone.data), Math.max(...tone.data)], [-0.5618, 1.4382])
  close([tone.data.reduce((sum, value) => sum + value, 0) / tone.data.length], [-0.45066])
  close(column(tone, 50, 8, 13), [-0.5618, 1.15939, 1.34874, 1.4382, 1.29352, -0.5618])
  close(column(tone, 0, 0, 5), [0.98328, 0.98662, 0.99715, 1.00781, 1.02748, 1.04823])
  close(column(tone, 99, 8, 13), [0.36081, 1.1622, 1.34946, 1.43695, 1.29561, 0.336])
})

test("published vectors: noise", () => {
  const pcm = lcgNoise(16000)
  close([...pcm.subarray(0, 3)], [0.0310308, -0.0390371, 0.0349921], 1e-6)
  const noise = mel.extract(pcm)
  close([Math.min(...noise.data), Math.max(...noise.data)], [-0.28938, 0.7488])
  close([at(noise, 0, 0), at(noise, 40, 50), at(noise, 79, 99)], [0.1619, 0.5624, 0.53682])
})

test("quirk, silence: digital silence is -1.5 everywhere, at any length", () => {
  for (const samples of [1, 160, 161, 16000, 480000]) {
    expect(mel.extract(new Float32Array(samples)).data.every((value) => value === -1.5)).toBe(true)
  }
})

/** One frame of the definition read literally, moved to the middle of a chunk so that none of our edges is near. */
function literalFrame(pcm: Float32Array, t: number): HostTensor<"f32"> {
  const buffer = new Float32Array(480000)
  buffer.set(pcm)
  const chunk = new Float32Array(2000)
  for (let n = 0; n < 400; n++) {
    const i = 160 * t - 200 + n
    chunk[600 + n] = buffer[i < 0 ? -i : i > 479999 ? 2 * 479999 - i : i]!
  }
  return mel.extract(chunk) // its frame 5 covers samples 600 … 999
}

test("quirk, edges: reflection on the left, zeros on the right, reflection again in the last 200 of 30 s", () => {
  for (const samples of [150, 1000, 16000, 479790, 479900, 480000]) {
    const pcm = lcgNoise(samples, 0.5)
    const features = mel.extract(pcm)
    const frames = features.shape[1]!
    for (const t of new Set([0, Math.min(1, frames - 1), Math.max(0, frames - 2), frames - 1])) {
      const literal = literalFrame(pcm, t)
      // Each has its own maximum, hence its own floor: only what lies above both can be compared.
      const floor = Math.max(lowest(features), lowest(literal)) + 1e-3
      let compared = 0
      for (let m = 0; m < 80; m++) {
        const [got, want] = [at(features, m, t), at(literal, m, 5)]
        if (got <= floor || want <= floor) continue
        expect(Math.abs(got - want), `${samples} samples, frame ${t}, band ${m}`).toBeLessThan(1e-5)
        compared++
      }
      expect(compared).toBeGreaterThan(70)
    }
  }
})

test("quirk, own maximum: the range is clipped against this chunk alone", () => {
  const quiet = lcgNoise(16000, 1e-6)
  const loud = sine(16000, 1000, 16000, 0.9)
  const together = mel.extract(concatPcm([quiet, loud]))
  const alone = mel.extract(quiet)
  expect(at(together, 40, 50)).toBeCloseTo(Math.max(...together.data) - 2, 6) // at the floor
  expect(at(alone, 40, 50)).toBeLessThan(at(together, 40, 50) - 0.5)
})

test("quirk, hidden frames: the frames past the end count for the maximum", () => {
  // A click in the last sample is loudest in the frame centred on it, which is one past the returned ones.
  const pcm = lcgNoise(16000, 1e-5)
  pcm[15999] = 1000
  const features = mel.extract(pcm)
  const floor = Math.min(...features.data)
  expect(floor + 2).toBeGreaterThan(Math.max(...features.data) + 0.01)
})

test("quirk, dropped frame: at exactly 30 s the frame centred on the end does not count", () => {
  const pcm = lcgNoise(480000, 1e-5)
  pcm[479999] = 1000
  const features = mel.extract(pcm)
  const largest = features.data.reduce((high, value) => Math.max(high, value))
  expect(lowest(features) + 2).toBeCloseTo(largest, 5)
})

test("scaling a chunk shifts its features; nothing else depends on the level", () => {
  const pcm = lcgNoise(8000, 0.05)
  const a = mel.extract(pcm)
  const b = mel.extract(pcm.map((value) => 10 * value))
  a.data.forEach((value, i) => {
    expect(b.data[i]! - value).toBeCloseTo(0.5, 4) // 20 dB = 2 in log10 power, divided by 4
  })
})

test("a chunk's features do not depend on earlier calls", () => {
  const pcm = lcgNoise(16000)
  const first = mel.extract(pcm)
  mel.extract(sine(16000, 3000, 16000))
  expect(mel.extract(pcm)).toEqual(first)
})

test("adjacent items of one message are joined as waveforms; others stay apart", () => {
  const a = lcgNoise(3000)
  const b = sine(2500, 700, 16000)
  const joined = mel.extractBatch([a, b, b], [0, 0, 2])
  expect(joined.featureLens.data).toEqual(BigInt64Array.of(35n, 16n))
  expect(joined.segments[0]).toEqual(mel.extract(concatPcm([a, b])))
  expect(mel.extractBatch([a, b, b]).segments.length).toBe(3)
})

test("a tail too short for one token is a segment like any other", () => {
  expect(mel.extractBatch([new Float32Array(480001)]).featureLens.data).toEqual(BigInt64Array.of(3000n, 1n))
  expect(mel.extractBatch([new Float32Array(480320)]).featureLens.data).toEqual(BigInt64Array.of(3000n, 2n))
  expect(mel.extractBatch([new Float32Array(480321)]).featureLens.data).toEqual(BigInt64Array.of(3000n, 3n))
})

test("unusable audio is refused by name", () => {
  expect(() => mel.extract(new Float32Array(0))).toThrow(InputError)
  expect(() => mel.extract(new Float32Array(480001))).toThrow(
    "mel: expected at most 480000 samples, got 480001 (split the audio first)",
  )
  expect(() => mel.extractBatch([new Float32Array(9), Float32Array.of(Number.NaN)])).toThrow(
    "audio 1: expected finite samples, got NaN at sample 0",
  )
  expect(() => mel.extractBatch([new Float32Array(320)])).toThrow(
    "audio: expected at least 321 samples, got 320 (too short to encode)",
  )
  expect(() => mel.extractBatch([new Float32Array(400)], [])).toThrow("expected one part per item (1), got 0")
})

test("the configuration comes from preprocessor_config.json", () => {
  const file = new URL("../../test/fixtures/tiny-a/checkpoint/preprocessor_config.json", import.meta.url)
  expect(whisperMelConfig(JSON.parse(readFileSync(file, "utf8")) as Record<string, unknown>)).toEqual(WHISPER_MEL)
  expect(whisperMelConfig({})).toEqual(WHISPER_MEL)
  const other = createWhisperMel(whisperMelConfig({ feature_size: 20, n_fft: 200, hop_length: 100, chunk_length: 2 }))
  expect(other.extract(new Float32Array(1001)).shape).toEqual([20, 11])
  const refused = (json: Record<string, unknown>, text: string) => {
    expect(() => whisperMelConfig(json)).toThrow(ConfigError)
    expect(() => whisperMelConfig(json)).toThrow(text)
  }
  refused({ hop_length: "160" }, 'preprocessor_config.json hop_length: expected a positive integer, got "160"')
  refused({ n_fft: 401 }, "preprocessor_config.json n_fft: expected an even size, got 401")
  refused({ n_samples: 480001 }, "n_samples: expected a multiple of hop_length 160 beyond n_fft, got 480001")
})
