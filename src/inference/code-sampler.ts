/**
 * @file From the speech decoder's logits to one frame of codes, in the order of the reference: temperature, repetition
 * penalty, top-p, top-k, ban of the end code, one independent draw per codebook.
 * Letters: R codebooks, V codes of one. Source: ConditionalChatTTS.generate and gen_logits (modeling_minicpmo.py),
 * CustomRepetitionPenaltyLogitsProcessorRepeat; the warpers of transformers 4.44.
 */
import { InputError } from "../util/index.ts"
import { argMax } from "./sampler.ts"

/** One code of each codebook. */
export type CodeFrame = readonly number[] // [R]

/** Chooses an index by probabilities that sum to 1; called once per codebook and frame. */
export type Draw = (probabilities: Float32Array) => number

export type CodeSampling = {
  /** One per codebook; a single one serves all. */
  readonly temperatures: readonly number[]
  readonly topP: number
  readonly topK: number
  /** 1 leaves the logits as they are. */
  readonly repetitionPenalty: number
}

/** The drivers' temperatures; the official class defaults for the rest. */
export const DEFAULT_CODE_SAMPLING: CodeSampling = {
  temperatures: [0.1, 0.3, 0.1, 0.3],
  topP: 0.7,
  topK: 20,
  repetitionPenalty: 1,
}

/** What a checkpoint asks for: its own cuts and penalty under the drivers' temperatures. */
export function codeSampling({ topP, topK, repetitionPenalty }: Omit<CodeSampling, "temperatures">): CodeSampling {
  return { ...DEFAULT_CODE_SAMPLING, topP, topK, repetitionPenalty }
}

/** Warpers always leave so many codes, so that banning one never empties a row. */
const MIN_KEPT = 3
/** The penalty counts codes of so many last frames. */
const PENALTY_FRAMES = 16

/** @throws InputError naming the option */
export function checkCodeSampling({ temperatures, topP, topK, repetitionPenalty }: CodeSampling, rows: number): void {
  const fail = (name: string, expected: string, got: unknown): never => {
    throw new InputError(`speech ${name}: expected ${expected}, got ${String(got)}`)
  }
  if (temperatures.length !== 1 && temperatures.length !== rows) {
    fail("temperatures", `1 or ${rows} numbers`, temperatures.length)
  }
  for (const temperature of temperatures) if (!(temperature > 0)) fail("temperatures", "numbers > 0", temperature)
  if (!(topP > 0 && topP <= 1)) fail("topP", "a number in (0, 1]", topP)
  if (!(Number.isInteger(topK) && topK > 0)) fail("topK", "a whole number > 0", topK)
  if (!(repetitionPenalty > 0)) fail("repetitionPenalty", "a number > 0", repetitionPenalty)
}

/** Makes codes of the last frames less likely, each once per occurrence. In place. */
export function penalizeRepetition(logits: Float32Array, codes: readonly number[], penalty: number): void {
  for (const code of codes.slice(-PENALTY_FRAMES)) {
    const value = logits[code]!
    logits[code] = value < 0 ? value * penalty : value / penalty
  }
}

/** Everything below a value becomes impossible. */
function dropBelow(logits: Float32Array, threshold: number): void {
  for (let i = 0; i < logits.length; i++) if (logits[i]! < threshold) logits[i] = Number.NEGATIVE_INFINITY
}

/**
 * Keeps the most likely codes until their probabilities reach topP, then the topK best of them; never fewer than three.
 * Codes that tie with the last one kept stay. In place.
 */
export function warp(logits: Float32Array, { topP, topK }: Pick<CodeSampling, "topP" | "topK">): void {
  const sorted = logits.slice().sort().reverse()
  const powers = softmax(sorted)
  let kept = 0
  let above = 0 // probability of all better ones
  while (kept < sorted.length && (kept < MIN_KEPT || above < topP)) above += powers[kept++]!
  kept = Math.min(kept, Math.max(topK, MIN_KEPT))
  dropBelow(logits, sorted[kept - 1]!)
}

export function softmax(logits: Float32Array): Float32Array {
  let max = Number.NEGATIVE_INFINITY
  for (const value of logits) if (value > max) max = value
  const powers = new Float64Array(logits.length)
  let sum = 0
  for (let i = 0; i < logits.length; i++) sum += powers[i] = Math.exp(logits[i]! - max)
  const probabilities = new Float32Array(logits.length)
  for (let i = 0; i < logits.length; i++) probabilities[i] = powers[i]! / sum
  return probabilities
}

export type CodeContext = {
  /** Frames so far. Before the first one neither penalty nor warpers apply. */
  readonly frames: readonly CodeFrame[]
  /** The end code where it may not be drawn yet. */
  readonly banned?: number | undefined
}

/**
 * The distributions that reach the draws, one row per codebook.
 * @param logits [R, V] row-major; left as they are
 * @returns R rows [V]
 */
export function codeProbabilities(
  logits: Float32Array,
  rows: number,
  sampling: CodeSampling,
  { frames, banned }: CodeContext,
): Float32Array[] {
  const { temperatures, repetitionPenalty } = sampling
  const width = logits.length / rows
  return Array.from({ length: rows }, (_, row) => {
    const temperature = temperatures[row % temperatures.length]!
    const line = logits.slice(row * width, (row + 1) * width)
    for (let i = 0; i < width; i++) line[i]! /= temperature
    if (frames.length > 0) {
      if (repetitionPenalty !== 1) {
        const codes = frames.slice(-PENALTY_FRAMES).map((frame) => frame[row]!)
        penalizeRepetition(line, codes, repetitionPenalty)
      }
      warp(line, sampling)
    }
    if (banned !== undefined) line[banned] = Number.NEGATIVE_INFINITY
    return softmax(line)
  })
}

/** The most likely code. */
export const drawMostLikely: Draw = argMax

/** @param random numbers in [0, 1) */
export function drawBy(random: () => number): Draw {
  return (probabilities) => {
    let rest = random()
    for (let code = 0; code < probabilities.length; code++) {
      rest -= probabilities[code]!
      if (rest < 0) return code
    }
    return argMax(probabilities) // rounding left the sum below the number drawn
  }
}
