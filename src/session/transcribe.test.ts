/** @file Long recordings in windows, and transcripts as captions. */
import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { toSrt, toVtt } from "./captions.ts"
import { type TranscriptPart, transcribe, transcriptText } from "./transcribe.ts"
import type { AnswerEvent, ChatOptions } from "./types.ts"
import { cutAtSilences } from "./windows.ts"

const tone = (seconds: number) => Float32Array.from({ length: seconds * 16_000 }, (_, i) => 0.3 * Math.sin(i / 10))

describe("windows", () => {
  test("law: they touch, cover everything, and none is too long", () => {
    fc.assert(
      fc.property(fc.nat(3000), fc.nat(), (length, seed) => {
        const pcm = Float32Array.from(
          { length },
          (_, i) => Math.sin((i * (seed % 97)) / 10) * ((i + seed) % 300 < 40 ? 0 : 1),
        )
        const windows = cutAtSilences(pcm, 100, 5)
        expect(windows.map(({ start }) => start)).toEqual(
          [0, ...windows.map(({ end }) => end)].slice(0, windows.length),
        )
        expect(windows.at(-1)?.end ?? 0).toBe(length)
        for (const { start, end } of windows) expect(end > start && end - start <= 500).toBe(true)
      }),
    )
  })

  test("the cut is in the pause", () => {
    const pcm = tone(40)
    pcm.fill(0, 16_000 * 24, 16_000 * 24.6)
    const [first, second] = cutAtSilences(pcm, 16_000)
    expect(first!.end / 16_000).toBeGreaterThan(24)
    expect(first!.end / 16_000).toBeLessThan(24.6)
    expect(second).toEqual({ start: first!.end, end: 640_000 })
  })
})

test("captions hold their form whatever is said", () => {
  const cues = [
    { start: 0, end: 1.5, text: "one\n\n2\n00:00 --> 1" },
    { start: 3661.0005, end: 3662, text: "a < b & c" },
  ]
  expect(toSrt(cues)).toBe(
    "1\n00:00:00,000 --> 00:00:01,500\none\n2\n00:00 -> 1\n\n2\n01:01:01,001 --> 01:01:02,000\na < b & c\n\n",
  )
  expect(toVtt(cues)).toBe(
    "WEBVTT\n\n00:00:00.000 --> 00:00:01.500\none\n2\n00:00 -&gt; 1\n\n01:01:01.001 --> 01:01:02.000\na &lt; b &amp; c\n\n",
  )
})

test("each window is asked for, and what is said comes while it is written", async () => {
  const pcm = tone(61)
  const asked: ChatOptions[] = []
  async function* ask(question: ChatOptions): AsyncGenerator<AnswerEvent> {
    asked.push(question)
    const text = ` window ${asked.length} `
    yield { type: "text-delta", text }
    yield { type: "turn-end", text, completionTokens: 3 } as AnswerEvent
  }
  const pieces: (string | TranscriptPart)[] = []
  for await (const piece of transcribe(ask, { pcm, sampleRateHz: 16_000 }, { language: "zh", hint: "omni" }))
    pieces.push(piece)
  const parts = pieces.filter((piece) => typeof piece !== "string")
  expect(asked.length).toBe(parts.length)
  expect(parts.length).toBeGreaterThan(2)
  expect(parts.map(({ window }) => window)).toEqual(parts.map((_, i) => i))
  expect([parts[0]!.start, parts.at(-1)!.end]).toEqual([0, 61])
  expect(pieces.slice(0, 2)).toEqual([
    " window 1 ",
    { window: 0, start: 0, end: parts[0]!.end, text: "window 1", tokens: 3 },
  ])
  expect(transcriptText(parts)).toBe(parts.map((_, i) => `window ${i + 1}`).join(" "))
  const [text] = asked[0]!.messages[0]!.content as unknown as [{ text: string }]
  expect(text.text).toMatch(/^请仔细听.*\nomni\n$/)
  // Less than a word.
  for await (const piece of transcribe(ask, { pcm: tone(0.05), sampleRateHz: 16_000 })) throw new Error(String(piece))
})
