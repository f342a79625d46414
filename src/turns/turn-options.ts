/**
 * @file When a turn begins and ends, as numbers: defaults, presets and checks. OpenAI's wire names are mapped in the server.
 */
import { ConfigError } from "../util/index.ts"

/** All lengths of time are rounded up to whole windows of 32 ms. */
export type TurnOptions = {
  /** A window counts as speech from this probability on. OpenAI's `threshold`. */
  readonly threshold: number
  /** Running speech goes on while the probability stays at or above this; `threshold` − 0.15 by default, as in Silero. */
  readonly releaseThreshold: number
  /** Speech heard before a turn starts; shorter bursts (a cough, a click) are ignored. */
  readonly minSpeechMs: number
  /** Speech heard before a turn starts while the assistant speaks: barge-in needs more than an echo or an "mm". */
  readonly bargeInMs: number
  /** Silence that ends a turn. OpenAI's `silence_duration_ms`. */
  readonly silenceMs: number
  /** Sound before the first speech that belongs to the turn, for soft onsets. OpenAI's `prefix_padding_ms`. */
  readonly preRollMs: number
  /** A turn ends at this length even when speech goes on, and the next begins there; Infinity for none. */
  readonly maxTurnMs: number
  /** An `idle` event after this long without speech; Infinity for none. OpenAI's `idle_timeout_ms`. */
  readonly idleTimeoutMs: number
}

/** OpenAI's `server_vad` where it has a value. */
export const DEFAULT_TURN_OPTIONS: TurnOptions = {
  threshold: 0.5,
  releaseThreshold: 0.35,
  minSpeechMs: 192, // "no" has about 250 ms; tones and clicks up to 160 ms (docs/lab-log.md)
  bargeInMs: 320,
  silenceMs: 500,
  preRollMs: 300,
  maxTurnMs: Number.POSITIVE_INFINITY,
  idleTimeoutMs: Number.POSITIVE_INFINITY,
}

/**
 * The nearest that these options come to the official demo server: it starts after 0.4 s of speech within one second at
 * threshold 0.7 (release 0.55), and ends when less than 0.2 s of the last second is speech. It is not the same rule: the
 * server looks at the last second afresh every 200 ms, with an older model in its starting state, reads the 44 bytes of
 * each packet's header as sound, and demands a level of 0.002 (RMS).
 * Source: model_server.py of the 2.6 web demo; `vad_threshold` 0.8 of its page is the share of silence, here `silenceMs`.
 */
export const DEMO_SERVER_TURN_OPTIONS: TurnOptions = {
  ...DEFAULT_TURN_OPTIONS,
  threshold: 0.7,
  releaseThreshold: 0.55,
  minSpeechMs: 400,
  bargeInMs: 500, // the page's own timer
  silenceMs: 800,
}

/** OpenAI's `semantic_vad` setting: how soon to answer somebody who may not have finished. */
export type Eagerness = "low" | "medium" | "high" | "auto"

/**
 * Silence that ends a turn for OpenAI's `semantic_vad`. Nothing here judges whether a sentence is complete: eagerness is
 * only a length of silence, a quarter of the longest wait that OpenAI names (8, 4 and 2 s), because without a judgement
 * every turn, also a finished one, waits that long.
 */
export function eagernessSilenceMs(eagerness: Eagerness): number {
  switch (eagerness) {
    case "low":
      return 2000
    case "medium":
    case "auto":
      return 1000
    case "high":
      return 500
  }
}

/**
 * Defaults for what is absent; `releaseThreshold` follows `threshold`, and `bargeInMs` stays above `minSpeechMs`.
 * @throws ConfigError when a number is out of its range
 */
export function turnOptions(given: Partial<TurnOptions> = {}): TurnOptions {
  const threshold = given.threshold ?? DEFAULT_TURN_OPTIONS.threshold
  const { minSpeechMs, bargeInMs } = DEFAULT_TURN_OPTIONS
  const options = {
    ...DEFAULT_TURN_OPTIONS,
    releaseThreshold: Math.max(0, threshold - 0.15),
    // As much more than in a quiet room as by default.
    bargeInMs: Math.max(bargeInMs, (given.minSpeechMs ?? minSpeechMs) + bargeInMs - minSpeechMs),
    ...Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)),
  }
  checkRange("threshold", options.threshold, 0, 1)
  checkRange("releaseThreshold", options.releaseThreshold, 0, options.threshold)
  checkRange("minSpeechMs", options.minSpeechMs, 0, 10_000)
  checkRange("bargeInMs", options.bargeInMs, 0, 20_000)
  checkRange("silenceMs", options.silenceMs, 1, 60_000)
  checkRange("preRollMs", options.preRollMs, 0, 10_000)
  checkRange("maxTurnMs", options.maxTurnMs, 1000, Number.POSITIVE_INFINITY)
  checkRange("idleTimeoutMs", options.idleTimeoutMs, 1, Number.POSITIVE_INFINITY)
  return options
}

function checkRange(name: string, value: number, least: number, most: number): void {
  if (typeof value === "number" && value >= least && value <= most) return
  throw new ConfigError(`turns.${name}: expected a number from ${least} to ${most}, got ${value}`)
}
