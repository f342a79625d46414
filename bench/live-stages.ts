/** @file What one turn of a live call spent its time on, from what the engine ran and when things happened. No I/O. */
import type { RunRecord } from "../src/runtime/index.ts"

/** In the order in which a turn passes them. */
export const STAGES = ["vad", "vision", "audio", "prefill", "decode", "speech", "codec", "vocoder"] as const
export type Stage = (typeof STAGES)[number]

export type Span = {
  readonly stage: Stage
  readonly startMs: number
  readonly endMs: number
  /** Positions of the language model that this run was the first to take: a pass goes through several groups of layers. */
  readonly positions: number
}

/** One turn; times in milliseconds on one clock. */
export type Turn = {
  /** The first sample was said. */
  readonly startMs: number
  /** The last sound of speech was said, and when that was known; the same where nobody listens for it. */
  readonly speechEndMs: number
  readonly foundMs: number
  readonly firstTextMs: number
  /** Undefined for an answer without sound. */
  readonly firstSoundMs: number | undefined
  readonly endMs: number
  /** Length of the sound that was read before the first text, silence included, and of the spoken answer. */
  readonly heardMs: number
  readonly answerMs: number
  readonly tokens: number
  readonly spans: readonly Span[]
}

const PREFIXES: readonly (readonly [string, Stage])[] = [
  ["vad", "vad"],
  ["vpm", "vision"],
  ["resampler", "vision"],
  ["apm", "audio"],
  ["audioProjector", "audio"],
  ["tts", "speech"],
  ["dvae", "codec"],
  ["vocos", "vocoder"],
]

/** Runs as spans of stages; the language model prefills several positions and decodes one. Others are left out. */
export function spansOf(runs: readonly RunRecord[]): Span[] {
  return runs.flatMap(({ name, rows, startMs, endMs }) => {
    const known = PREFIXES.find(([prefix]) => name === prefix || name.startsWith(`${prefix}.`))?.[1]
    const stage = name.startsWith("llm.") ? (rows > 1 ? "prefill" : "decode") : known
    const positions = name.startsWith("llm.layers.0-") ? rows : 0
    return stage ? [{ stage, startMs, endMs, positions }] : []
  })
}

/** Milliseconds that a stage took between two moments. */
export function spent(spans: readonly Span[], stage: Stage | undefined, fromMs: number, toMs: number): number {
  return spans
    .filter((span) => stage === undefined || span.stage === stage)
    .reduce((sum, { startMs, endMs }) => sum + Math.max(0, Math.min(endMs, toMs) - Math.max(startMs, fromMs)), 0)
}

export type Figure = { readonly name: string; readonly value: number; readonly unit: string }

/**
 * Rows of the table. Latency: `vad` from the end of speech until it is known, `text` from there to the first text, `sound` from
 * there to the first sound, each with its stages; `firstText` and `firstSound` are sums, from the end of speech. Then real-time
 * factors while listening and speaking, and rates.
 */
export function figuresOf(turn: Turn): Figure[] {
  const { spans, startMs, speechEndMs, foundMs, firstTextMs, firstSoundMs, endMs, heardMs, answerMs } = turn
  const ms = (name: string, value: number): Figure => ({ name, value, unit: "ms" })
  const share = (name: string, value: number): Figure => ({ name, value, unit: "of real time" })
  /** Each stage between two moments, and what none of them explains. */
  const pieces = (name: string, stages: readonly Stage[], from: number, to: number) => {
    const all = stages.map((stage) => ms(`${name}.${stage}`, spent(spans, stage, from, to)))
    return [...all, ms(`${name}.other`, to - from - all.reduce((sum, { value }) => sum + value, 0))]
  }
  const figures = [
    ms("vad", foundMs - speechEndMs),
    ms("text", firstTextMs - foundMs),
    ...pieces("text", ["vad", "vision", "audio", "prefill", "decode"], foundMs, firstTextMs),
    ms("firstText", firstTextMs - speechEndMs),
  ]
  if (firstSoundMs !== undefined) {
    figures.push(
      ms("sound", firstSoundMs - firstTextMs),
      ...pieces("sound", ["decode", "speech", "codec", "vocoder"], firstTextMs, firstSoundMs),
      ms("firstSound", firstSoundMs - speechEndMs),
    )
  }
  // What a slow machine has left to read when the turn is found counts, too: all work of listening over all it listened to.
  const listening = (["vad", "vision", "audio", "prefill"] as const).map((stage) =>
    share(`listening.${stage}`, spent(spans, stage, startMs, firstTextMs) / heardMs),
  )
  figures.push(
    ...listening,
    share(
      "listening.all",
      listening.reduce((sum, { value }) => sum + value, 0),
    ),
  )
  if (answerMs > 0) {
    for (const stage of ["decode", "speech", "codec", "vocoder"] as const)
      figures.push(share(`speaking.${stage}`, spent(spans, stage, firstTextMs, endMs) / answerMs))
    figures.push(share("speaking.all", (endMs - firstTextMs) / answerMs))
  }
  const rate = (stage: Stage, rows: number) => (rows / spent(spans, stage, startMs, endMs)) * 1000
  const positions = spans.reduce((sum, span) => sum + (span.stage === "prefill" ? span.positions : 0), 0)
  if (positions > 0) figures.push({ name: "prefill", value: rate("prefill", positions), unit: "tok/s" })
  if (turn.tokens > 1) figures.push({ name: "decode", value: rate("decode", turn.tokens), unit: "tok/s" })
  return figures
}
