/**
 * @file When somebody begins and stops talking, from speech probabilities alone: no model, no clock, no sound. Push-to-talk
 * needs none of it, except `finish` where a client ends a running turn by hand.
 */
import { type TurnOptions, turnOptions } from "./turn-options.ts"
import { VAD_SAMPLE_RATE_HZ, VAD_WINDOW_SAMPLES } from "./vad.ts"

/** Positions are samples at 16 kHz from the start of the stream; `atSample` is where the event became known. */
export type TurnEvent =
  /** A turn began; `startSample` includes the pre-roll, but nothing from before the end of the last turn was known. */
  | {
      readonly type: "speech-start"
      readonly startSample: number
      readonly atSample: number
      /** Said into the assistant's speech. */
      readonly bargeIn: boolean
    }
  /** The turn is over; its last speech ended at `endSample`. */
  | {
      readonly type: "speech-end"
      readonly endSample: number
      readonly atSample: number
      readonly reason: "silence" | "max-length" | "finish"
    }
  /** Nobody spoke for `idleTimeoutMs`; once, until there was speech or the assistant spoke. */
  | { readonly type: "idle"; readonly atSample: number }

/** Where a stream stands, counted in windows of 32 ms; plain data, never changed in place. */
export type TurnState = {
  /** Windows seen. */
  readonly windows: number
  /** A turn is running. */
  readonly speaking: boolean
  /** First window of the speech that runs, or that may become a turn; -1 when there is none. */
  readonly onset: number
  /** Speech windows since `onset`. */
  readonly voiced: number
  /** The window after the last speech. */
  readonly voicedUntil: number
  /** No turn reaches back behind this window: what came before was heard as part of another. */
  readonly earliest: number
  /** Idle time counts from here; -1 when it was told already. */
  readonly idleFrom: number
}

export type TurnDetector = {
  readonly options: TurnOptions
  init(): TurnState
  /**
   * @param probabilities of the next windows, any number  // [windows]
   * @param assistantSpeaking during these windows: speech is then barge-in, and idle time stands still
   */
  step(
    state: TurnState,
    probabilities: Float32Array,
    assistantSpeaking?: boolean,
  ): [events: TurnEvent[], state: TurnState]
  /** Ends a running turn by hand (a commit, the end of a stream); what is too short to be a turn is forgotten. */
  finish(state: TurnState): [events: TurnEvent[], state: TurnState]
}

/** Speech that is not yet a turn survives gaps of this length: stops of consonants, not pauses. */
const GAP_MS = 96

const windowsOf = (lengthMs: number): number => Math.ceil((lengthMs * VAD_SAMPLE_RATE_HZ) / 1000 / VAD_WINDOW_SAMPLES)

/** @throws ConfigError when an option is out of its range */
export function createTurnDetector(given: Partial<TurnOptions> = {}): TurnDetector {
  const options = turnOptions(given)
  const [minSpeech, bargeIn] = [windowsOf(options.minSpeechMs), windowsOf(options.bargeInMs)]
  const [silence, preRoll, gap] = [windowsOf(options.silenceMs), windowsOf(options.preRollMs), windowsOf(GAP_MS)]
  const [maxTurn, idleTimeout] = [windowsOf(options.maxTurnMs), windowsOf(options.idleTimeoutMs)]

  return {
    options,
    init: () => ({
      windows: 0,
      speaking: false,
      onset: -1,
      voiced: 0,
      voicedUntil: 0,
      earliest: 0,
      idleFrom: 0,
    }),
    step(state, probabilities, assistantSpeaking = false) {
      const events: TurnEvent[] = []
      let now = state
      for (const probability of probabilities) now = window(now, probability, assistantSpeaking, events)
      return [events, now]
    },
    finish(state) {
      if (!state.speaking) return [[], { ...state, onset: -1, voiced: 0 }]
      const events: TurnEvent[] = []
      return [events, endTurn(state, "finish", state.voicedUntil, events)]
    },
  }

  function window(state: TurnState, probability: number, assistantSpeaking: boolean, events: TurnEvent[]): TurnState {
    const windows = state.windows + 1
    const voiced = probability >= (state.onset >= 0 ? options.releaseThreshold : options.threshold)
    let next: TurnState = { ...state, windows }
    if (voiced) {
      const onset = state.onset < 0 ? state.windows : state.onset
      next = { ...next, onset, voiced: state.voiced + 1, voicedUntil: windows }
    }
    if (next.speaking) {
      if (windows - next.voicedUntil >= silence) next = endTurn(next, "silence", next.voicedUntil, events)
      else if (windows - next.onset >= maxTurn) next = splitTurn(next, events)
      return next
    }
    if (next.onset >= 0 && windows - next.voicedUntil >= gap) next = { ...next, onset: -1, voiced: 0 }
    if (voiced && next.voiced >= (assistantSpeaking ? bargeIn : minSpeech)) {
      return startTurn(next, next.onset - preRoll, assistantSpeaking, events)
    }
    return idle(next, assistantSpeaking, events)
  }

  function startTurn(state: TurnState, from: number, bargeIn: boolean, events: TurnEvent[]): TurnState {
    const startSample = Math.max(state.earliest, from) * VAD_WINDOW_SAMPLES
    events.push({ type: "speech-start", startSample, atSample: state.windows * VAD_WINDOW_SAMPLES, bargeIn })
    return { ...state, speaking: true }
  }

  function endTurn(
    state: TurnState,
    reason: "silence" | "max-length" | "finish",
    end: number,
    events: TurnEvent[],
  ): TurnState {
    const { windows } = state
    const [endSample, atSample] = [end * VAD_WINDOW_SAMPLES, windows * VAD_WINDOW_SAMPLES]
    events.push({ type: "speech-end", endSample, atSample, reason })
    return { ...state, speaking: false, onset: -1, voiced: 0, earliest: windows, idleFrom: windows }
  }

  /** The same speech goes on as the next turn; after a pause at the very end, the next turn waits for speech. */
  function splitTurn(state: TurnState, events: TurnEvent[]): TurnState {
    const { windows } = state
    const ended = endTurn(state, "max-length", windows, events)
    if (state.voicedUntil < windows) return ended
    return startTurn({ ...ended, onset: windows }, windows, false, events)
  }

  function idle(state: TurnState, assistantSpeaking: boolean, events: TurnEvent[]): TurnState {
    if (assistantSpeaking || state.onset >= 0) return { ...state, idleFrom: state.windows }
    if (state.idleFrom < 0 || state.windows - state.idleFrom < idleTimeout) return state
    events.push({ type: "idle", atSample: state.windows * VAD_WINDOW_SAMPLES })
    return { ...state, idleFrom: -1 }
  }
}
