/**
 * @file What a call does, as a function: state and event in, state and effects out. No clock, socket or sound: times come
 * with events, effects are executed by `call-controller.ts`. What the server says is in `call-server.ts`, stopping an answer
 * in `call-interrupt.ts`.
 */
import { flushed, sendInOrder, silence } from "./call-interrupt.ts"
import { onServerEvent } from "./call-server.ts"
import {
  type CallEffect,
  type CallEvent,
  type CallState,
  type CloseCause,
  IDLE,
  NO_CONNECTION,
  type Step,
} from "./call-state.ts"
import { type CallSettings, SETTINGS_EVENT, sessionOf } from "./settings.ts"

const FIRST_DELAY_MS = 500
const LONGEST_DELAY_MS = 5000
/** A shorter push of the talk button is a slip. The server takes no less than 100 ms. */
const SHORTEST_TALK_MS = 150
/** Somebody who mutes while speaking has finished: so much silence ends the turn. */
const HUSH_MS = 1500

/** One step of the call. */
export function callStep(state: CallState, event: CallEvent): Step {
  switch (event.type) {
    case "dial":
      return dial(state, event.mode)
    case "hang-up":
      return hangUp(state, undefined)
    case "mic-ready":
      return state.phase === "asking" ? [{ ...state, phase: "connecting" }, [{ do: "open-socket" }]] : [state, []]
    case "mic-failed":
      return state.phase === "idle" ? [state, []] : hangUp(state, `mic-${event.reason}`)
    case "camera-failed":
      return [{ ...state, notice: `camera-${event.reason}` }, []]
    case "socket-closed":
      return closed(state, event.cause)
    case "retry":
      return state.phase === "retrying" ? [{ ...state, phase: "connecting" }, [{ do: "open-socket" }]] : [state, []]
    case "server":
      return state.phase === "connecting" || state.phase === "live"
        ? onServerEvent(state, event.event, event.atMs)
        : [state, []]
    case "mic-sound":
      return micSound(state, event)
    case "frame":
      if (state.phase !== "live" || state.mode !== "video") return [state, []]
      return [state, [{ do: "send", event: { type: "input_video_buffer.append", image: event.image } }]]
    case "played":
      if (state.answer?.itemId !== event.itemId) return [state, []]
      return [{ ...state, answer: { ...state.answer, playedMs: Math.max(state.answer.playedMs, event.playedMs) } }, []]
    case "sound-started":
      return soundStarted(state, event.itemId, event.atMs)
    case "flushed":
      return flushed(state, event.itemId, event.playedMs)
    case "interrupt":
      return interrupt(state)
    case "talk-down":
      return talkDown(state)
    case "talk-up":
      return talkUp(state, event.atMs)
    case "mute":
      return [{ ...state, muted: event.on, hushMs: 0 }, []]
    case "say":
      return say(state, event.text.trim(), event.atMs)
    case "settings":
      return settings(state, event.settings)
    case "dismiss":
      return [{ ...state, notice: undefined }, []]
    case "clear":
      if (state.phase !== "idle") return [state, []]
      return [{ ...state, lines: [], timings: [] }, [{ do: "clear-recording" }]]
  }
}

function dial(state: CallState, mode: CallState["mode"]): Step {
  if (state.phase !== "idle") return [state, []]
  const { settings: kept, nextId } = state
  return [{ ...IDLE, settings: kept, nextId, mode, phase: "asking" }, [{ do: "clear-recording" }, { do: "open-mic" }]]
}

function hangUp(state: CallState, notice: CallState["notice"]): Step {
  if (state.phase === "idle") return [state, []]
  const effects: CallEffect[] = [{ do: "close-mic" }]
  if (state.phase === "connecting" || state.phase === "live") effects.push({ do: "close-socket" })
  if (state.phase === "retrying") effects.push({ do: "cancel-retry" })
  return [{ ...disconnected(state), phase: "idle", attempt: 0, notice }, effects]
}

/** The state without what belonged to the connection. */
function disconnected(state: CallState): CallState {
  const lines = state.lines.map((line) => (line.state === "open" ? { ...line, state: "done" as const } : line))
  return { ...state, ...NO_CONNECTION, lines }
}

/** Delay before connection number `attempt` is tried, without jitter. */
export const retryDelayMs = (attempt: number): number =>
  Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** Math.min(attempt, 10))

const NOTICES = { away: "server-away", full: "server-full", dropped: "server-away" } as const

function closed(state: CallState, cause: CloseCause): Step {
  if (state.phase !== "connecting" && state.phase !== "live") return [state, []]
  // Its socket is gone already, so that there is nothing left to close.
  if (cause === "locked" || cause === "idle") {
    const notice = cause === "locked" ? "key-needed" : "idle-ended"
    return [{ ...disconnected(state), phase: "idle", attempt: 0, notice }, [{ do: "close-mic" }]]
  }
  const effects: CallEffect[] = []
  if (state.answer?.itemId !== undefined) effects.push({ do: "flush", itemId: state.answer.itemId })
  effects.push({ do: "retry-after", delayMs: retryDelayMs(state.attempt) })
  const notice = cause === "expired" ? undefined : NOTICES[cause]
  return [{ ...disconnected(state), phase: "retrying", attempt: state.attempt + 1, notice }, effects]
}

function micSound(state: CallState, { audio, ms, atMs }: { audio: string; ms: number; atMs: number }): Step {
  const wanted = state.settings.turns === "push" ? state.talking : !state.muted || state.hushMs < HUSH_MS
  if (state.phase !== "live" || !wanted || ms <= 0) return [state, []]
  const talkedMs = state.talking ? state.talkedMs + ms : state.talkedMs
  const hushMs = state.muted ? state.hushMs + ms : 0
  const heard = { ...state, talkedMs, hushMs, sentMs: state.sentMs + ms, sentAtMs: atMs }
  return [heard, [{ do: "send", event: { type: "input_audio_buffer.append", audio } }]]
}

function soundStarted(state: CallState, itemId: string, atMs: number): Step {
  const { answer, askedAtMs } = state
  if (answer?.itemId !== itemId) return [state, []]
  if (state.timings.some((one) => one.responseId === answer.responseId)) return [state, []]
  const firstSoundMs = askedAtMs === undefined ? undefined : Math.max(0, atMs - askedAtMs)
  const timing = { responseId: answer.responseId, firstSoundMs, realTimeFactor: undefined }
  return [{ ...state, askedAtMs: undefined, timings: [...state.timings, timing].slice(-100) }, []]
}

function interrupt(state: CallState): Step {
  return state.phase === "live" ? silence(state, true) : [state, []]
}

function talkDown(state: CallState): Step {
  if (state.phase !== "live" || state.settings.turns !== "push" || state.talking) return [state, []]
  const [quiet, stop] = silence(state, true)
  const clear: CallEffect = { do: "send", event: { type: "input_audio_buffer.clear" } }
  return [{ ...quiet, talking: true, talkedMs: 0, notice: undefined }, [...stop, clear]]
}

function talkUp(state: CallState, atMs: number): Step {
  if (!state.talking) return [state, []]
  const released = { ...state, talking: false, talkedMs: 0 }
  if (state.talkedMs < SHORTEST_TALK_MS) {
    const [next, effects] = sendInOrder(released, [{ type: "input_audio_buffer.clear" }])
    return [{ ...next, notice: "talk-too-short" }, effects]
  }
  const [next, effects] = sendInOrder(released, [{ type: "input_audio_buffer.commit" }, { type: "response.create" }])
  return [{ ...next, askedAtMs: atMs }, effects]
}

function say(state: CallState, text: string, atMs: number): Step {
  if (state.phase !== "live" || text === "") return [state, []]
  const [quiet, stop] = silence(state, true)
  const id = `item_page_${quiet.nextId}`
  const line = { id, role: "user", text, state: "done" } as const
  const asked = { ...quiet, nextId: quiet.nextId + 1, lines: [...quiet.lines, line], askedAtMs: atMs }
  const item = { id, type: "message", role: "user", content: [{ type: "input_text", text }] } as const
  const [next, effects] = sendInOrder(asked, [
    { type: "conversation.item.create", item: { ...item, content: [...item.content] } },
    { type: "response.create" },
  ])
  return [next, [...stop, ...effects]]
}

function settings(state: CallState, next: CallSettings): Step {
  const changed = { ...state, settings: next }
  if (state.phase !== "live") return [changed, []]
  const voiceLater = state.spoken && next.voice !== state.settings.voice
  const session = sessionOf(next, { video: state.mode === "video", voice: !state.spoken })
  const effects: CallEffect[] = [{ do: "send", event: { type: "session.update", event_id: SETTINGS_EVENT, session } }]
  const turns = next.turns === state.settings.turns ? {} : { talking: false, talkedMs: 0, hearing: false }
  return [{ ...changed, ...turns, notice: voiceLater ? "voice-next-call" : state.notice }, effects]
}
