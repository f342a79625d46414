import { expect, test } from "vitest"
import { createAudioWriter, samplesFromBase64, samplesToBase64 } from "./realtime-audio.ts"

test.each([{ type: "audio/pcm" }, { type: "audio/pcmu" }, { type: "audio/pcma" }] as const)(
  "%o there and back",
  (format) => {
    const text = samplesToBase64(
      Float32Array.from({ length: 99 }, (_, i) => Math.sin(i)),
      format,
    )
    expect(samplesToBase64(samplesFromBase64(text, format), format)).toBe(text)
  },
)

test("an answer keeps its length at the telephone's rate", () => {
  const writer = createAudioWriter({ type: "audio/pcmu" })
  const bytes = [writer.push(new Float32Array(1000)), writer.push(new Float32Array(1400)), writer.flush()]
  expect(bytes.reduce((sum, text) => sum + atob(text).length, 0)).toBe(800)
})

test("half samples, other characters and too much are refused without showing them", () => {
  const pcm = { type: "audio/pcm" } as const
  expect(() => samplesFromBase64("AA==", pcm)).toThrow(
    "realtime: audio: expected whole 16-bit samples, got 1 bytes (cut between samples)",
  )
  expect(() => samplesFromBase64("%%%%", pcm)).toThrow(
    "realtime: audio: expected base64, got other characters or length",
  )
  const tooMuch = "A".repeat((15 * 1024 * 1024 * 4) / 3 + 4)
  expect(() => samplesFromBase64(tooMuch, pcm)).toThrow("expected at most 15728640 bytes, got more")
})
