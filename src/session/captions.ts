/** @file Transcripts as SubRip and WebVTT. */
import type { TranscriptPart } from "./transcribe.ts"

type Cue = Pick<TranscriptPart, "start" | "end" | "text">

/** `00:01:02,345`; hours grow as needed. */
function clock(seconds: number, point: string): string {
  const ms = Math.round(seconds * 1000)
  const two = (value: number) => String(Math.floor(value)).padStart(2, "0")
  const rest = String(ms % 1000).padStart(3, "0")
  return `${two(ms / 3_600_000)}:${two((ms / 60_000) % 60)}:${two((ms / 1000) % 60)}${point}${rest}`
}

/** Blank lines end a cue, and `-->` belongs to its times: neither may come from the text. */
const cueText = (text: string) =>
  text
    .trim()
    .replaceAll(/\s*\n\s*/g, "\n")
    .replaceAll("-->", "->")

export function toSrt(cues: readonly Cue[]): string {
  return cues
    .map(({ start, end, text }, i) => `${i + 1}\n${clock(start, ",")} --> ${clock(end, ",")}\n${cueText(text)}\n\n`)
    .join("")
}

export function toVtt(cues: readonly Cue[]): string {
  const escapeText = (text: string) =>
    cueText(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;")
  const body = cues.map(
    ({ start, end, text }) => `${clock(start, ".")} --> ${clock(end, ".")}\n${escapeText(text)}\n\n`,
  )
  return `WEBVTT\n\n${body.join("")}`
}
