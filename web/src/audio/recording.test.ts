/** @file Recordings and wire samples: what goes in comes out. */
import fc from "fast-check"
import { expect, test } from "vitest"
import { readWav } from "../../../src/audio/index.ts"
import { pcmFromBase64, pcmMsOfBase64, pcmToBase64 } from "./base64.ts"
import { RECORDING_RATE_HZ, Recording } from "./recording.ts"

const samples = fc
  .array(fc.integer({ min: -32768, max: 32767 }), { maxLength: 50 })
  .map((values) => Float32Array.from(values, (value) => value / 32768))

test("both sides lie beside each other in the file, the shorter one filled up", () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(samples, samples), { maxLength: 8 }), (pieces) => {
      const recording = new Recording()
      for (const [mic, out] of pieces) recording.push(mic, out)
      const wav = readWav(recording.wav())
      expect([wav.sampleRateHz, wav.channels]).toEqual([RECORDING_RATE_HZ, 2])
      const expected = pieces.flatMap(([mic, out]) =>
        Array.from({ length: Math.max(mic.length, out.length) }, (_, i) => [mic[i] ?? 0, out[i] ?? 0]),
      )
      expect([...wav.samples]).toEqual(expected.flat())
      expect(recording.seconds).toBe(expected.length / RECORDING_RATE_HZ)
    }),
  )
})

test("the oldest sound goes when the recording is full", () => {
  const recording = new Recording(1 / 60)
  for (let i = 0; i < 30; i++) recording.push(new Float32Array(2400).fill(i / 100), new Float32Array(2400))
  expect(recording.seconds).toBe(1)
  expect(readWav(recording.wav()).samples[0]).toBeCloseTo(0.2, 3)
  recording.clear()
  expect(recording.seconds).toBe(0)
})

test("samples survive the wire, and their length is known without decoding", () => {
  fc.assert(
    fc.property(samples, (pcm) => {
      const text = pcmToBase64(pcm)
      expect(pcmFromBase64(text)).toEqual(pcm)
      expect(pcmMsOfBase64(text)).toBe(pcm.length / 24)
    }),
  )
})
