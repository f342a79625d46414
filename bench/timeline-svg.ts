/** @file A picture of one turn: a lane for each stage, time to the right, the moments that people notice as lines. */
import { type Span, STAGES, type Turn } from "./live-stages.ts"

const WIDTH = 1280
const LEFT = 120
const RIGHT = 24
const TOP = 96
const LANE = 30
const BAR = 18
/** Runs that are closer than a pixel or two are drawn as one. */
const JOIN_MS = 4

const COLOURS = {
  said: "#8a8f98",
  vad: "#b07aa1",
  vision: "#59a14f",
  audio: "#76b7b2",
  prefill: "#4e79a7",
  decode: "#f28e2b",
  speech: "#e15759",
  codec: "#9c755f",
  vocoder: "#edc948",
  heard: "#8a8f98",
} as const
type Lane = keyof typeof COLOURS

const NAMES: { readonly [L in Lane]: string } = {
  said: "user speaks",
  vad: "voice activity",
  vision: "vision",
  audio: "audio encoder",
  prefill: "LLM prefill",
  decode: "LLM decode",
  speech: "speech decoder",
  codec: "codec",
  vocoder: "vocoder",
  heard: "answer is heard",
}

const escapeXml = (text: string) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;")

/** @param title what was measured; @param subtitle on what machine and model */
export function timelineSvg(turn: Turn, title: string, subtitle: string): string {
  const { startMs, speechEndMs, foundMs, firstTextMs, firstSoundMs, endMs, answerMs } = turn
  const heardEndMs = firstSoundMs === undefined ? endMs : Math.max(endMs, firstSoundMs + answerMs)
  const lastMs = heardEndMs - startMs
  const x = (ms: number) => LEFT + ((ms - startMs) / lastMs) * (WIDTH - LEFT - RIGHT)
  const lanes: readonly Lane[] = ["said", ...STAGES, "heard"]
  const bottom = TOP + lanes.length * LANE
  const bars: { readonly lane: Lane; readonly from: number; readonly to: number }[] = [
    { lane: "said", from: startMs, to: speechEndMs },
    ...STAGES.flatMap((stage) => joined(turn.spans, stage).map(([from, to]) => ({ lane: stage, from, to }))),
    ...(firstSoundMs === undefined
      ? []
      : [{ lane: "heard" as const, from: firstSoundMs, to: firstSoundMs + answerMs }]),
  ]
  const stepS = niceStep(lastMs / 1000)
  const ticks = Array.from({ length: Math.floor(lastMs / 1000 / stepS) + 1 }, (_, i) => i * stepS)
  const marks = [
    { at: speechEndMs, label: "end of speech" },
    ...(foundMs - speechEndMs > 1 ? [{ at: foundMs, label: "turn found" }] : []),
    { at: firstTextMs, label: "first text" },
    ...(firstSoundMs === undefined ? [] : [{ at: firstSoundMs, label: "first sound" }]),
  ].map(({ at, label }) => ({ at, text: at === speechEndMs ? label : `${label} +${Math.round(at - speechEndMs)} ms` }))
  const number = (value: number) => value.toFixed(1)
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${bottom + 44}" font-family="sans-serif" font-size="12">`,
    '<rect width="100%" height="100%" fill="#ffffff"/>',
    `<text x="16" y="24" font-size="16" font-weight="bold">${escapeXml(title)}</text>`,
    `<text x="16" y="42" fill="#5b6068">${escapeXml(subtitle)}</text>`,
    ...ticks.map(
      (second) =>
        `<path d="M${number(x(startMs + second * 1000))} ${TOP}V${bottom}" stroke="#e3e5e8"/>` +
        `<text x="${number(x(startMs + second * 1000))}" y="${bottom + 18}" text-anchor="middle" fill="#5b6068">${+second.toFixed(2)} s</text>`,
    ),
    ...lanes.map(
      (lane, i) =>
        `<text x="${LEFT - 10}" y="${TOP + i * LANE + LANE / 2 + 4}" text-anchor="end">${NAMES[lane]}</text>`,
    ),
    ...bars.map(({ lane, from, to }) => {
      const y = TOP + lanes.indexOf(lane) * LANE + (LANE - BAR) / 2
      const width = Math.max(1, x(to) - x(from))
      return `<rect x="${number(x(from))}" y="${y}" width="${number(width)}" height="${BAR}" fill="${COLOURS[lane]}"/>`
    }),
    ...placed(marks.map(({ at, text }) => ({ x: x(at), text }))).map(
      ({ x: at, text, row, anchor }) =>
        `<path d="M${number(at)} ${TOP - 6 - row * 14}V${bottom}" stroke="#22252a" stroke-dasharray="3 3"/>` +
        `<text x="${number(anchor === "end" ? at - 4 : at + 4)}" y="${TOP - 8 - row * 14}" text-anchor="${anchor}">${escapeXml(text)}</text>`,
    ),
    "</svg>",
    "",
  ].join("\n")
}

/** Labels that would cover each other go to rows of their own, the later ones lower; near the edge they turn left. */
function placed(labels: readonly { readonly x: number; readonly text: string }[]) {
  const rows = labels.length
  return labels.map(({ x, text }, i) => {
    const anchor = x > WIDTH - 150 ? ("end" as const) : ("start" as const)
    const crowded = labels.some((other, j) => j !== i && Math.abs(other.x - x) < 150)
    return { x, text, anchor, row: crowded ? Math.min(rows - 1 - i, 3) : 0 }
  })
}

function joined(spans: readonly Span[], stage: Span["stage"]): [number, number][] {
  const bars: [number, number][] = []
  for (const { stage: own, startMs, endMs } of spans) {
    if (own !== stage) continue
    const last = bars.at(-1)
    if (last && startMs - last[1] < JOIN_MS) last[1] = endMs
    else bars.push([startMs, endMs])
  }
  return bars
}

/** About ten lines. */
function niceStep(seconds: number): number {
  return [0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20].find((step) => seconds / step <= 12) ?? 60
}
