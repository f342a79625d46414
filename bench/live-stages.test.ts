/** @file Figures of a turn add up, and its picture shows it. */
import { describe, expect, test } from "vitest"
import { figuresOf, spansOf, spent, type Turn } from "./live-stages.ts"
import { timelineSvg } from "./timeline-svg.ts"

const runs = [
  { name: "vad", rows: 512, startMs: 100, endMs: 110 },
  { name: "apm.front", rows: 80, startMs: 1000, endMs: 1050 },
  { name: "audioProjector", rows: 50, startMs: 1050, endMs: 1060 },
  { name: "llm.layers.0-4", rows: 30, startMs: 1100, endMs: 1200 },
  { name: "llm.layers.4-8", rows: 30, startMs: 1200, endMs: 1300 },
  { name: "apm.layers.0-12", rows: 50, startMs: 2510, endMs: 2530 },
  { name: "llm.layers.0-4", rows: 10, startMs: 2550, endMs: 2600 },
  { name: "llm.layers.4-8", rows: 10, startMs: 2600, endMs: 2650 },
  { name: "llm.head", rows: 1, startMs: 2650, endMs: 2660 },
  { name: "tts", rows: 300, startMs: 2710, endMs: 2790 },
  { name: "dvae.decode", rows: 4, startMs: 2790, endMs: 2795 },
  { name: "vocos", rows: 100, startMs: 2795, endMs: 2800 },
  { name: "something else", rows: 1, startMs: 0, endMs: 9000 },
]

const turn: Turn = {
  ...{ startMs: 0, speechEndMs: 2000, foundMs: 2500, firstTextMs: 2700, firstSoundMs: 2850, endMs: 3200 },
  ...{ heardMs: 2500, answerMs: 1000, tokens: 5, spans: spansOf(runs) },
}

describe("figures", () => {
  const figures = Object.fromEntries(figuresOf(turn).map(({ name, value }) => [name, value]))

  test("runs are stages: many positions are prefill, one is decode, what is unknown is left out", () => {
    expect(turn.spans.map(({ stage }) => stage)).toEqual([
      ...["vad", "audio", "audio", "prefill", "prefill", "audio", "prefill", "prefill", "decode"],
      ...["speech", "codec", "vocoder"],
    ])
    expect(spent(turn.spans, "prefill", 1150, 1250)).toBe(100)
  })

  test("the pieces of the latency add up to it", () => {
    const sum = (name: string) =>
      Object.entries(figures)
        .filter(([other]) => other.startsWith(`${name}.`))
        .reduce((total, [, value]) => total + value, 0)
    expect(sum("text")).toBe(figures.text)
    expect(sum("sound")).toBe(figures.sound)
    expect(figures.vad! + figures.text!).toBe(figures.firstText)
    expect(figures.firstText! + figures.sound!).toBe(figures.firstSound)
    expect(figures).toMatchObject({ "text.audio": 20, "text.prefill": 100, "text.decode": 10, "text.other": 70 })
    expect(figures).toMatchObject({ "sound.speech": 80, "sound.codec": 5, "sound.vocoder": 5, "sound.other": 60 })
  })

  test("real-time factors and rates", () => {
    expect(figures["listening.audio"]).toBe((60 + 20) / 2500)
    expect(figures["listening.all"]).toBeCloseTo((10 + 80 + 300) / 2500)
    expect(figures["speaking.all"]).toBe(500 / 1000)
    expect(figures.prefill).toBeCloseTo((40 / 300) * 1000) // each position once, however many groups of layers
    expect(figures.decode).toBeCloseTo((5 / 10) * 1000)
  })

  test("an answer without sound has none of its figures", () => {
    const { firstSoundMs, ...rest } = turn
    const silent = figuresOf({ ...rest, firstSoundMs: undefined, answerMs: 0 }).map(({ name }) => name)
    expect(firstSoundMs).toBe(2850)
    expect(silent.filter((name) => /sound|Sound|speaking/.test(name))).toEqual([])
    expect(silent.every((name) => !Number.isNaN(name))).toBe(true)
  })
})

test("the picture has a bar for every stage and a line for every moment, and escapes what it is told", () => {
  const svg = timelineSvg(turn, "a < b & c", "model")
  expect(svg).toContain("a &lt; b &amp; c")
  for (const label of ["end of speech", "turn found +500 ms", "first text +700 ms", "first sound +850 ms"])
    expect(svg).toContain(`>${label}</text>`)
  // The background, what is said and heard, and every run but the one that is unknown; runs that touch are one bar.
  expect(svg.match(/<rect /g)!.length).toBe(1 + 2 + 9)
  expect(svg).not.toContain("NaN")
})
