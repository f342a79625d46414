/** @file The options of an answer: checked at the border, merged, and what they mean for its text and tools. */
import type { TokenConstraint } from "../grammar/index.ts"
import { checkSampling, DEFAULT_SAMPLING } from "../inference/index.ts"
import { TTS_EOS, terminatorIds } from "../tokenizer/index.ts"
import { ConfigError, InputError } from "../util/index.ts"
import type { AnswerRequest } from "./answer.ts"
import { MAX_TOP_LOGPROBS } from "./logprobs.ts"
import { type OmniModel, voiceOf } from "./model.ts"
import type { AnswerFormat, AnswerOptions, RespondOptions, Tool } from "./types.ts"

/** @throws InputError naming the option */
export function checkAnswer(options: AnswerOptions): void {
  const { maxNewTokens, seed, logprobs } = options
  for (const [name, value, least] of [
    ["maxNewTokens", maxNewTokens, 1],
    ["seed", seed, 0],
  ] as const) {
    if (value !== undefined && !(Number.isSafeInteger(value) && value >= least)) {
      throw new InputError(`${name}: expected a whole number ≥ ${least}, got ${value}`)
    }
  }
  if (logprobs !== undefined && !(Number.isInteger(logprobs) && logprobs >= 0 && logprobs <= MAX_TOP_LOGPROBS)) {
    throw new InputError(`logprobs: expected a whole number from 0 to ${MAX_TOP_LOGPROBS}, got ${logprobs}`)
  }
  checkSampling({ ...DEFAULT_SAMPLING, ...withoutUndefined(options) })
}

/** The answer's options that were given: an undefined one must not hide a default. */
export function withoutUndefined(options: AnswerOptions): AnswerOptions {
  const { temperature, topK, topP, repetitionPenalty, minNewTokens, maxNewTokens, seed, logprobs } = options
  const { logitBias, frequencyPenalty, presencePenalty } = options
  const sampling = { temperature, topK, topP, repetitionPenalty, minNewTokens, logitBias }
  const all = { ...sampling, frequencyPenalty, presencePenalty, maxNewTokens, seed, logprobs }
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined))
}

/** Whether an answer of this format has text that can be spoken. */
export function canBeSpoken(format: AnswerFormat | undefined): boolean {
  return format === undefined || format.type === "text"
}

/** What format and tools mean for an answer, to be disposed of after it. */
export type AnswerForm = Pick<AnswerRequest, "constraint" | "calls"> & Disposable

/** @throws InputError for a schema or tool that cannot be kept, ConfigError when the model was loaded without grammars */
export async function answerForm(
  model: OmniModel,
  format: AnswerFormat | undefined,
  tools: readonly Tool[] = [],
): Promise<AnswerForm> {
  const nothing = { [Symbol.dispose]: () => {} }
  if (format?.type === "text") return { ...(tools.length > 0 ? { calls: "forbidden" } : {}), ...nothing }
  if (!format && tools.length === 0) return nothing
  if (!model.constraints) {
    throw new ConfigError("format: expected a model with grammars, got one without (ask for text)")
  }
  const constraint = await (await model.constraints()).constraint(format ?? { type: "text" }, tools)
  if (!constraint) return nothing
  const calls = !format || format.type === "tool-call" ? { calls: "taken" as const } : {}
  return {
    constraint: format ? constraint : withEndOfSpeech(model, constraint),
    ...calls,
    [Symbol.dispose]: () => constraint[Symbol.dispose](),
  }
}

/** Lets the mark that ends spoken text stand where the answer may end: it is no text, so no grammar has it. */
function withEndOfSpeech({ prompts: { tokenizer } }: OmniModel, constraint: TokenConstraint) {
  const mark = tokenizer.idOf(TTS_EOS)
  const terminators = terminatorIds(tokenizer)
  return {
    async allowed() {
      const mask = (await constraint.allowed()).slice()
      const mayEnd = terminators.some((id) => (mask[id >> 5]! >>> (id & 31)) & 1)
      if (mayEnd) mask[mark >> 5]! |= 1 << (mark & 31)
      return mask
    },
    accept: (id: number) => (id === mark ? undefined : constraint.accept(id)),
  }
}

/** What an answer of a call is made with. @throws InputError for wrong options, ConfigError when the model cannot speak */
export function answerWith(
  model: OmniModel,
  call: AnswerOptions,
  options: RespondOptions,
): { readonly speak: boolean; readonly merged: AnswerOptions } {
  const speak = canBeSpoken(options.format) && (options.speak ?? model.voice !== undefined)
  const merged = { ...withoutUndefined(call), ...withoutUndefined(options) }
  checkAnswer(merged)
  if (speak) voiceOf(model)
  return { speak, merged }
}
