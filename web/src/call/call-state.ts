/** @file The state of a call as plain data, what happens to it, and what it asks for. See `call-machine.ts`. */

import type { MediaFailure } from "../audio/microphone.ts"
import type { RealtimeClientEvent, RealtimeServerEvent } from "../omni.ts"
import { type CallSettings, DEFAULT_SETTINGS } from "./settings.ts"

/** One turn in the transcript. */
export type Line = {
  readonly id: string
  readonly role: "user" | "assistant"
  /** Undefined while nobody has written down what was said. */
  readonly text: string | undefined
  /** `cut`: interrupted; its text is what was heard. */
  readonly state: "open" | "done" | "cut"
}

/** The latest answer. Times are the page's clock, in milliseconds. */
export type Answer = {
  readonly responseId: string
  readonly itemId: string | undefined
  readonly receivedMs: number
  readonly playedMs: number
  readonly running: boolean
  readonly createdAtMs: number
  /** Sound that came before the answer ended or was stopped, and when the last of it did. */
  readonly madeMs: number
  readonly madeAtMs: number
}

/** How fast an answer came. */
export type Timing = {
  readonly responseId: string
  /** From the end of the question to the first audible sound. */
  readonly firstSoundMs: number | undefined
  /** Work per sound; below 1 is faster than it plays. */
  readonly realTimeFactor: number | undefined
}

/** Why a person should be told something. */
export type Notice =
  | "mic-refused"
  | "mic-missing"
  | "mic-insecure"
  | "camera-refused"
  | "camera-missing"
  | "camera-insecure"
  | "server-away"
  | "server-full"
  | "key-needed"
  | "idle-ended"
  | "answer-failed"
  | "talk-too-short"
  | "voice-next-call"
  | "settings-refused"
  | "context-compacted"
  | "sound-dropped"

/** Why a connection ended or never began. */
export type CloseCause = "away" | "full" | "locked" | "expired" | "idle" | "dropped"

export type CallPhase = "idle" | "asking" | "connecting" | "live" | "retrying"
export type CallMode = "voice" | "video"

export type CallState = {
  readonly phase: CallPhase
  readonly mode: CallMode
  readonly settings: CallSettings
  readonly notice: Notice | undefined
  /** The server is full: so many callers come before this one, of so many. */
  readonly queue: { readonly position: number; readonly length: number } | undefined
  /** Connections that failed in a row. */
  readonly attempt: number
  readonly muted: boolean
  /** Silence sent since the microphone was muted: what was being said then ends for the server. */
  readonly hushMs: number
  /** The push-to-talk button is held. */
  readonly talking: boolean
  readonly talkedMs: number
  /** The server hears speech. */
  readonly hearing: boolean
  readonly answer: Answer | undefined
  /** The item whose playback is being stopped; what must be sent after that waits. */
  readonly flushing: { readonly itemId: string; readonly receivedMs: number } | undefined
  readonly afterFlush: readonly RealtimeClientEvent[]
  /** Items that were interrupted: their late sound is not played. */
  readonly silenced: readonly string[]
  readonly lines: readonly Line[]
  readonly timings: readonly Timing[]
  /** When the question that waits for its answer ended, by the page's clock. */
  readonly askedAtMs: number | undefined
  /** Sound sent on this connection, and when the last of it was. */
  readonly sentMs: number
  readonly sentAtMs: number
  /** The session has spoken, so that its voice stays. */
  readonly spoken: boolean
  readonly nextId: number
}

/** What belongs to a connection, before there is one. */
export const NO_CONNECTION = {
  queue: undefined,
  talking: false,
  talkedMs: 0,
  hearing: false,
  answer: undefined,
  flushing: undefined,
  afterFlush: [],
  silenced: [],
  askedAtMs: undefined,
  sentMs: 0,
  sentAtMs: 0,
  spoken: false,
} satisfies Partial<CallState>

export const IDLE: CallState = {
  ...NO_CONNECTION,
  phase: "idle",
  mode: "voice",
  settings: DEFAULT_SETTINGS,
  notice: undefined,
  attempt: 0,
  muted: false,
  hushMs: 0,
  lines: [],
  timings: [],
  nextId: 1,
}

export type CallEvent =
  | { readonly type: "dial"; readonly mode: CallMode }
  | { readonly type: "hang-up" }
  | { readonly type: "mic-ready" }
  | { readonly type: "mic-failed"; readonly reason: MediaFailure }
  | { readonly type: "camera-failed"; readonly reason: MediaFailure }
  | { readonly type: "socket-closed"; readonly cause: CloseCause }
  | { readonly type: "retry" }
  | { readonly type: "server"; readonly event: RealtimeServerEvent; readonly atMs: number }
  /** Sound of the microphone, 16-bit PCM in base64, and its length. While it is muted the sound is silence. */
  | { readonly type: "mic-sound"; readonly audio: string; readonly ms: number; readonly atMs: number }
  | { readonly type: "frame"; readonly image: string }
  /** Sound of an item so far played. */
  | { readonly type: "played"; readonly itemId: string; readonly playedMs: number }
  /** An item became audible. */
  | { readonly type: "sound-started"; readonly itemId: string; readonly atMs: number }
  /** Playback was stopped; the item had played so much. */
  | { readonly type: "flushed"; readonly itemId: string; readonly playedMs: number }
  | { readonly type: "interrupt" }
  | { readonly type: "talk-down" }
  | { readonly type: "talk-up"; readonly atMs: number }
  | { readonly type: "mute"; readonly on: boolean }
  | { readonly type: "say"; readonly text: string; readonly atMs: number }
  | { readonly type: "settings"; readonly settings: CallSettings }
  | { readonly type: "dismiss" }
  | { readonly type: "clear" }

export type CallEffect =
  | { readonly do: "open-mic" }
  | { readonly do: "close-mic" }
  | { readonly do: "open-socket" }
  | { readonly do: "close-socket" }
  | { readonly do: "retry-after"; readonly delayMs: number }
  | { readonly do: "cancel-retry" }
  | { readonly do: "send"; readonly event: RealtimeClientEvent }
  | { readonly do: "play"; readonly itemId: string; readonly audio: string }
  /** All sound of the item has come. */
  | { readonly do: "end-sound"; readonly itemId: string }
  /** Stop playing; answered by `flushed` for the item. */
  | { readonly do: "flush"; readonly itemId: string }
  /** The conversation's recording starts anew. */
  | { readonly do: "clear-recording" }

export type Step = readonly [CallState, readonly CallEffect[]]

/** What the call is doing, for people. */
export type CallStatus =
  | "idle"
  | "asking"
  | "connecting"
  | "queued"
  | "retrying"
  | "listening"
  | "hearing"
  | "thinking"
  | "speaking"

/** Something of the answer can still be heard or will come. */
export const answerSounds = ({ answer }: CallState): boolean =>
  answer?.itemId !== undefined && (answer.playedMs < answer.receivedMs - 1 || (answer.running && answer.receivedMs > 0))

export function statusOf(state: CallState): CallStatus {
  if (state.phase === "connecting" && state.queue) return "queued"
  if (state.phase !== "live") return state.phase
  if (state.hearing || state.talking) return "hearing"
  if (answerSounds(state)) return "speaking"
  return state.answer?.running === true || state.askedAtMs !== undefined ? "thinking" : "listening"
}
