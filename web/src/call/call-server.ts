/** @file What the server's events do to a call. */

import { pcmMsOfBase64 } from "../audio/base64.ts"
import type { RealtimeClientEvent, RealtimeServerEvent } from "../omni.ts"
import { silence } from "./call-interrupt.ts"
import type { CallEffect, CallState, Line, Step } from "./call-state.ts"
import { SETTINGS_EVENT, sessionOf } from "./settings.ts"

/** Lines that a new connection is told of, the latest ones. */
const RESTORED_LINES = 40

/** One event of the server while connecting or connected. */
export function onServerEvent(state: CallState, event: RealtimeServerEvent, atMs: number): Step {
  switch (event.type) {
    case "session.created":
      return connected(state)
    case "session.queued":
    case "session.queue_update":
      return [{ ...state, notice: undefined, queue: { position: event.position, length: event.length } }, []]
    case "error":
      return failed(state, event.error.code, event.error.event_id)
    case "input_audio_buffer.speech_started":
      return speechStarted(state, event.item_id)
    case "input_audio_buffer.speech_stopped": {
      // The server counts sound, the page knows when it was sent.
      const endedAtMs = Math.min(atMs, state.sentAtMs - (state.sentMs - event.audio_end_ms))
      return [{ ...state, hearing: false, askedAtMs: endedAtMs }, []]
    }
    case "input_audio_buffer.committed":
      return [{ ...state, hearing: false, lines: withLine(state.lines, event.item_id, "user", { state: "done" }) }, []]
    case "input_audio_buffer.timeout_triggered":
      return [{ ...state, askedAtMs: atMs }, []]
    case "conversation.item.input_audio_transcription.delta":
      return [{ ...state, lines: withLine(state.lines, event.item_id, "user", { add: event.delta }) }, []]
    case "conversation.item.input_audio_transcription.completed":
      return [
        { ...state, lines: withLine(state.lines, event.item_id, "user", { text: event.transcript, state: "done" }) },
        [],
      ]
    case "response.created": {
      const answer = { responseId: event.response.id, itemId: undefined, receivedMs: 0, playedMs: 0, running: true }
      return [{ ...state, answer: { ...answer, createdAtMs: atMs, madeMs: 0, madeAtMs: atMs } }, []]
    }
    case "response.output_item.added":
      return itemAdded(state, event)
    case "response.output_audio.delta":
      return sound(state, event.item_id, event.delta, atMs)
    case "response.output_audio.done":
      if (state.silenced.includes(event.item_id)) return [state, []]
      return [state, [{ do: "end-sound", itemId: event.item_id }]]
    case "response.output_audio_transcript.delta":
    case "response.output_text.delta":
      if (state.silenced.includes(event.item_id)) return [state, []]
      return [{ ...state, lines: withLine(state.lines, event.item_id, "assistant", { add: event.delta }) }, []]
    case "response.output_item.done": {
      const { id } = event.item
      const open = state.lines.some((line) => line.id === id && line.state === "open")
      return [open ? { ...state, lines: withLine(state.lines, id!, "assistant", { state: "done" }) } : state, []]
    }
    case "response.done":
      return responseDone(state, event.response.id, event.response.status)
    case "conversation.item.truncated":
      return [state, [{ do: "send", event: { type: "conversation.item.retrieve", item_id: event.item_id } }]]
    case "conversation.item.retrieved":
      return retrieved(state, event.item)
    case "omni.response.timing":
      return timing(state, event)
    case "omni.context.changed":
      if (event.reason === "rebuilt" || event.reason === "restored") return [state, []]
      return [{ ...state, notice: event.reason === "compacted" ? "context-compacted" : "sound-dropped" }, []]
    case "session.updated":
    case "conversation.created":
    case "rate_limits.updated":
    case "input_audio_buffer.cleared":
    case "conversation.item.added":
    case "conversation.item.done":
    case "conversation.item.deleted":
    case "conversation.item.input_audio_transcription.failed":
    case "response.content_part.added":
    case "response.content_part.done":
    case "response.output_text.done":
    case "response.output_audio_transcript.done":
    case "response.function_call_arguments.delta":
    case "response.function_call_arguments.done":
      return [state, []]
  }
}

/** A new connection gets the settings, and what was said before. */
function connected(state: CallState): Step {
  const session = sessionOf(state.settings, { video: state.mode === "video", voice: true })
  const events: RealtimeClientEvent[] = [{ type: "session.update", event_id: SETTINGS_EVENT, session }]
  for (const { id, role, text } of state.lines.slice(-RESTORED_LINES)) {
    if (text === undefined || text === "") continue
    const item =
      role === "user"
        ? { id, type: "message" as const, role, content: [{ type: "input_text" as const, text }] }
        : { id, type: "message" as const, role, content: [{ type: "output_text" as const, text }] }
    events.push({ type: "conversation.item.create", item })
  }
  const effects = events.map((event): CallEffect => ({ do: "send", event }))
  return [{ ...state, phase: "live", attempt: 0, notice: undefined, queue: undefined }, effects]
}

const BUSY = new Set(["session_limit_reached", "rate_limit_exceeded", "queue_full", "server_busy"])
/** Races with the end of an answer: nothing that a person could do about. */
const HARMLESS = new Set(["response_cancel_not_active", "input_audio_buffer_commit_empty", "invalid_value"])

function failed(state: CallState, code: string | null, eventId: string | null | undefined): Step {
  if (eventId === SETTINGS_EVENT) return [{ ...state, notice: "settings-refused" }, []]
  if (code !== null && HARMLESS.has(code)) return [state, []]
  const notice = code !== null && BUSY.has(code) ? "server-full" : "answer-failed"
  return [{ ...state, notice, askedAtMs: undefined }, []]
}

function speechStarted(state: CallState, itemId: string): Step {
  const [quiet, effects] = silence(state, false)
  const lines = withLine(quiet.lines, itemId, "user", { state: "open" })
  return [{ ...quiet, hearing: true, lines, askedAtMs: undefined }, effects]
}

function itemAdded(
  state: CallState,
  { response_id, item }: Extract<RealtimeServerEvent, { type: "response.output_item.added" }>,
): Step {
  if (item.type !== "message" || item.id === undefined || state.answer?.responseId !== response_id) return [state, []]
  const lines = withLine(state.lines, item.id, "assistant", { state: "open", add: "" })
  // Sound is counted by item: an answer may have several.
  const counts = state.answer.itemId === item.id ? {} : { receivedMs: 0, playedMs: 0 }
  return [{ ...state, lines, answer: { ...state.answer, ...counts, itemId: item.id } }, []]
}

function sound(state: CallState, itemId: string, audio: string, atMs: number): Step {
  const { answer } = state
  if (answer?.itemId !== itemId || state.silenced.includes(itemId)) return [state, []]
  const ms = pcmMsOfBase64(audio)
  const heard = { ...answer, receivedMs: answer.receivedMs + ms, madeMs: answer.madeMs + ms, madeAtMs: atMs }
  return [{ ...state, spoken: true, answer: heard }, [{ do: "play", itemId, audio }]]
}

function responseDone(state: CallState, id: string, status: string): Step {
  if (state.answer?.responseId !== id) return [state, []]
  const notice = status === "failed" ? "answer-failed" : state.notice
  // An answer without sound ends the wait as well.
  const askedAtMs = state.answer.receivedMs > 0 && status === "completed" ? state.askedAtMs : undefined
  const ended = { ...state, notice, askedAtMs, answer: { ...state.answer, running: false } }
  return [{ ...ended, timings: withFactor(state) }, []]
}

/** Less sound says too little about the speed. */
const LEAST_MADE_MS = 1000

/** The server tells the factor of whole answers; of one that was interrupted the page saw how fast its sound came. */
function withFactor({ answer, timings }: CallState): CallState["timings"] {
  if (!answer || answer.madeMs < LEAST_MADE_MS) return timings
  const realTimeFactor = (answer.madeAtMs - answer.createdAtMs) / answer.madeMs
  return timings.map((one) =>
    one.responseId === answer.responseId && one.realTimeFactor === undefined ? { ...one, realTimeFactor } : one,
  )
}

function retrieved(
  state: CallState,
  item: Extract<RealtimeServerEvent, { type: "conversation.item.retrieved" }>["item"],
): Step {
  if (item.type !== "message" || item.role !== "assistant" || item.id === undefined) return [state, []]
  const text = item.content.map((part) => (part.type === "output_text" ? part.text : (part.transcript ?? ""))).join("")
  if (!state.lines.some((line) => line.id === item.id)) return [state, []]
  return [{ ...state, lines: withLine(state.lines, item.id, "assistant", { text }) }, []]
}

function timing(state: CallState, event: Extract<RealtimeServerEvent, { type: "omni.response.timing" }>): Step {
  const { response_id: responseId, real_time_factor } = event
  if (real_time_factor === null) return [state, []]
  const known = state.timings.find((one) => one.responseId === responseId)
  const one = { responseId, firstSoundMs: known?.firstSoundMs, realTimeFactor: real_time_factor }
  const timings = known ? state.timings.map((old) => (old === known ? one : old)) : state.timings
  return [{ ...state, timings }, []]
}

type LineChange = { readonly text?: string; readonly add?: string; readonly state?: Line["state"] }

/** The lines with one changed, or with a new one at the end. Interrupted lines stay so. */
function withLine(lines: readonly Line[], id: string, role: Line["role"], change: LineChange): readonly Line[] {
  const apply = (line: Line): Line => ({
    ...line,
    text: change.text ?? (change.add === undefined ? line.text : (line.text ?? "") + change.add),
    state: line.state === "cut" ? "cut" : (change.state ?? line.state),
  })
  if (lines.some((line) => line.id === id)) return lines.map((line) => (line.id === id ? apply(line) : line))
  return [...lines, apply({ id, role, text: undefined, state: "open" })]
}
