/**
 * @file From logits to the next token, in the order of the reference: repetition penalty, minimum length, temperature,
 * top-k, top-p, one draw. Source: the logits processors and warpers of transformers 4.44.
 */
import { BackendError, InputError } from "../util/index.ts"

export type SamplingOptions = {
  /** 0 means greedy: the most likely token. */
  readonly temperature: number
  /** 0 keeps all. */
  readonly topK: number
  /** 1 keeps all. */
  readonly topP: number
  /** Above 1 makes seen tokens less likely. */
  readonly repetitionPenalty: number
  readonly minNewTokens: number
  /** Added to the logits of these ids. */
  readonly logitBias?: Readonly<Record<number, number>>
  /** Taken from a token's logit for each time that it was written. OpenAI's `frequency_penalty`. */
  readonly frequencyPenalty?: number
  /** Taken once from the logit of each token that was written. OpenAI's `presence_penalty`. */
  readonly presencePenalty?: number
}

/** The official defaults of `chat` and `streaming_generate`. */
export const DEFAULT_SAMPLING: SamplingOptions = {
  temperature: 0.7,
  topK: 100,
  topP: 0.8,
  repetitionPenalty: 1.05,
  minNewTokens: 0,
}

/** @throws InputError naming the option */
export function checkSampling(options: SamplingOptions): void {
  const { logitBias = {}, frequencyPenalty = 0, presencePenalty = 0 } = options
  const isPenalty = (value: number) => value >= -2 && value <= 2
  const rules: readonly [keyof SamplingOptions, boolean, string][] = [
    ["frequencyPenalty", isPenalty(frequencyPenalty), "a number from -2 to 2"],
    ["presencePenalty", isPenalty(presencePenalty), "a number from -2 to 2"],
    ["temperature", options.temperature >= 0, "a number ≥ 0"],
    ["topK", Number.isInteger(options.topK) && options.topK >= 0, "a whole number ≥ 0"],
    ["topP", options.topP > 0 && options.topP <= 1, "a number in (0, 1]"],
    ["repetitionPenalty", options.repetitionPenalty > 0, "a number > 0"],
    ["minNewTokens", Number.isInteger(options.minNewTokens) && options.minNewTokens >= 0, "a whole number ≥ 0"],
  ]
  for (const [name, ok, expected] of rules) {
    if (!ok) throw new InputError(`${name}: expected ${expected}, got ${options[name] as number}`)
  }
  for (const [id, bias] of Object.entries(logitBias)) {
    if (/^\d{1,9}$/.test(id) && bias >= -100 && bias <= 100) continue
    throw new InputError("logitBias: expected numbers from -100 to 100 by token id, got others")
  }
}

/** What the sampler needs to know besides logits. */
export type SamplingContext = {
  /** Ids whose repetition is penalized: those of this answer, or of this inner call. */
  readonly seen: Iterable<number>
  /** Ids that frequency and presence penalties count: those of this answer. */
  readonly written?: Iterable<number>
  /** How many tokens the answer has so far. */
  readonly newTokens: number
  readonly terminators: readonly number[]
  /** Ids that no token has: never sampled. */
  readonly reserved: readonly number[]
}

/** Penalties, bias, minimum length and reserved ids, in place. */
export function processLogits(
  logits: Float32Array, // [V]
  options: Omit<SamplingOptions, "temperature" | "topK" | "topP">,
  { seen, written = [], newTokens, terminators, reserved }: SamplingContext,
): void {
  const { repetitionPenalty, minNewTokens, logitBias = {}, frequencyPenalty = 0, presencePenalty = 0 } = options
  if (repetitionPenalty !== 1) {
    for (const id of new Set(seen)) {
      const value = logits[id]!
      logits[id] = value < 0 ? value * repetitionPenalty : value / repetitionPenalty
    }
  }
  if (frequencyPenalty !== 0) for (const id of written) logits[id]! -= frequencyPenalty
  if (presencePenalty !== 0) for (const id of new Set(written)) logits[id]! -= presencePenalty
  // An id beyond the vocabulary is nobody's: a typed array takes no notice.
  for (const [id, bias] of Object.entries(logitBias)) logits[Number(id)]! += bias
  if (newTokens < minNewTokens) for (const id of terminators) logits[id] = Number.NEGATIVE_INFINITY
  for (const id of reserved) logits[id] = Number.NEGATIVE_INFINITY
}

/** The k-th largest value. Ties survive because everything not below it is kept. */
export function kthLargest(values: Float32Array, k: number): number {
  // A heap of the k largest so far, smallest on top: one pass over the vocabulary.
  const heap = new Float32Array(k).fill(Number.NEGATIVE_INFINITY)
  for (const value of values) {
    if (!(value > heap[0]!)) continue
    let at = 0
    for (;;) {
      const left = 2 * at + 1
      if (left >= k) break
      const child = left + 1 < k && heap[left + 1]! < heap[left]! ? left + 1 : left
      if (heap[child]! >= value) break
      heap[at] = heap[child]!
      at = child
    }
    heap[at] = value
  }
  return heap[0]!
}

/** The candidates that top-k and top-p leave, most likely first, with probabilities that sum to 1. */
export type Candidates = { readonly ids: readonly number[]; readonly probabilities: Float64Array }

/** Warps processed logits into the distribution that reaches the draw. */
export function candidates(logits: Float32Array, { temperature, topK, topP }: SamplingOptions): Candidates {
  // Relative to the largest, so that the lowest temperatures do not overflow.
  const largest = logits[argMax(logits)]!
  const scaled = logits.map((value) => (value - largest) / temperature)
  const threshold = topK > 0 && topK < scaled.length ? kthLargest(scaled, topK) : Number.NEGATIVE_INFINITY
  const ids: number[] = []
  for (let id = 0; id < scaled.length; id++) {
    if (scaled[id]! >= threshold && scaled[id] !== Number.NEGATIVE_INFINITY) ids.push(id)
  }
  ids.sort((a, b) => scaled[b]! - scaled[a]! || a - b)
  const probabilities = softmax(ids.map((id) => scaled[id]!))
  // From the least likely up: what sums to at most 1 − topP goes; the most likely one always stays.
  let kept = ids.length
  let sum = 0
  while (kept > 1) {
    sum += probabilities[kept - 1]!
    if (sum > 1 - topP) break
    kept--
  }
  if (topP >= 1) kept = ids.length
  return { ids: ids.slice(0, kept), probabilities: softmax(ids.slice(0, kept).map((id) => scaled[id]!)) }
}

function softmax(values: readonly number[]): Float64Array {
  const max = values[0] ?? 0
  const powers = Float64Array.from(values, (value) => Math.exp(value - max))
  const sum = powers.reduce((total, power) => total + power, 0)
  return powers.map((power) => power / sum)
}

/** Index of the largest value, the first of equals; that of a NaN where there is one. */
export function argMax(values: Float32Array): number {
  let best = 0
  for (let i = 0; i < values.length; i++) {
    if (Number.isNaN(values[i]!)) return i
    if (values[i]! > values[best]!) best = i
  }
  return best
}

/**
 * Chooses the next token. Changes `logits`.
 * @param random numbers in [0, 1)
 * @throws BackendError when no logit can be chosen, or one is NaN
 */
export function sample(
  logits: Float32Array, // [V]
  options: SamplingOptions,
  context: SamplingContext,
  random: () => number,
): number {
  processLogits(logits, options, context)
  const best = argMax(logits)
  if (!Number.isFinite(logits[best])) {
    throw new BackendError(`sampler: expected a finite largest logit, got ${logits[best]} (the weights may be damaged)`)
  }
  if (options.temperature === 0) return best
  const { ids, probabilities } = candidates(logits, options)
  let rest = random()
  for (const [i, id] of ids.entries()) {
    rest -= probabilities[i]!
    if (rest < 0) return id
  }
  return ids.at(-1)!
}
