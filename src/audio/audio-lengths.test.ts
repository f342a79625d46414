import { expect, test } from "vitest"
import { audioLengths, minEncodableSamples, placeholderGroups } from "./audio-lengths.ts"
import { goldenJson } from "./golden.test-util.ts"

type MelData = {
  rows: {
    samples: number
    mel_frames: number
    encoder_frames?: number
    audio_tokens?: number
    placeholder_chunked: string
  }[]
  length_table: { columns: string[]; rows: number[][] }
}
const golden = goldenJson<MelData>("mel")

test("the recorded length table", () => {
  for (const [samples, melFrames, encoderFrames, audioTokens, unkCount, groups] of golden.length_table.rows) {
    expect(audioLengths(samples!)).toEqual({ melFrames, encoderFrames, audioTokens })
    const sizes = placeholderGroups(audioTokens!)
    expect(sizes.length).toBe(groups)
    expect(sizes.reduce((sum, size) => sum + size, 0)).toBe(unkCount)
  }
})

test("the recorded placeholders", () => {
  for (const row of golden.rows) {
    const lengths = audioLengths(row.samples)
    expect(lengths.melFrames).toBe(row.mel_frames)
    if (row.audio_tokens !== undefined) expect(lengths.audioTokens).toBe(row.audio_tokens)
    const text = placeholderGroups(lengths.audioTokens).map((n) => `<|audio_start|>${"<unk>".repeat(n)}<|audio_end|>`)
    expect(text.join("")).toBe(row.placeholder_chunked)
  }
})

test("too little audio gives no token, one sample more gives one", () => {
  expect(audioLengths(0)).toEqual({ melFrames: 0, encoderFrames: 0, audioTokens: 0 })
  expect(audioLengths(1)).toEqual({ melFrames: 1, encoderFrames: 1, audioTokens: 0 })
  expect(minEncodableSamples()).toBe(321)
  for (const poolStep of [1, 2, 3, 5]) {
    const least = minEncodableSamples(poolStep)
    expect(audioLengths(least, poolStep).audioTokens).toBe(1)
    expect(audioLengths(least - 1, poolStep).audioTokens).toBe(0)
  }
})
