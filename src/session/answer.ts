/**
 * @file Writing and speaking one answer: the language model and the speech decoder take turns, a few tokens against one
 * call of frames, over a cache that already holds the question.
 *
 *   prompt of the answer ──► token token token ──► text-delta ──► speech: text chunk, frames ──► audio-delta
 *                              ▲                                                      │
 *                              └──────────────────────────────────────────────────────┘
 * Source: streaming_generate, llm_generate_chunk (modeling_minicpmo.py).
 */
import {
  DEFAULT_SAMPLING,
  type Draw,
  decode,
  drawBy,
  drawMostLikely,
  type GenerateStep,
  generate,
  type SamplingOptions,
  VOCODER_SAMPLE_RATE_HZ,
} from "../inference/index.ts"
import type { KvCache } from "../runtime/index.ts"
import { f32Data, type HostTensor } from "../tensor/index.ts"
import { TTS_EOS, terminatorIds } from "../tokenizer/index.ts"
import { createRandom } from "../util/index.ts"
import { livePieces, officialPieces } from "./answer-text.ts"
import type { BehaviourOptions } from "./behaviour.ts"
import { type OmniModel, voiceOf } from "./model.ts"
import { SpeechTrack } from "./speech-track.ts"
import { StopScanner } from "./stop-scanner.ts"
import type { AnswerEvent, AnswerOptions, FinishReason } from "./types.ts"
import { type PromptUsage, usageOf } from "./usage.ts"

/** A delivery of sound, and how much of the answer's text had been given to the speech when it was made. */
export type HeardChunk = {
  readonly tokens: number
  readonly endSample: number
}

/** An answer so far; it grows while the answer is written, and stays true when writing is stopped. */
export type AnswerRecord = {
  /** Sampled tokens, the terminator included. */
  readonly ids: number[]
  /** Tokens whose text was delivered. */
  shownTokens: number
  text: string
  readonly chunks: HeardChunk[]
  samples: number
  spoken: boolean
  /** Undefined while the answer is being written. */
  finishReason: FinishReason | undefined
}

export const emptyAnswer = (): AnswerRecord => ({
  ids: [],
  shownTokens: 0,
  text: "",
  chunks: [],
  samples: 0,
  spoken: false,
  finishReason: undefined,
})

export type AnswerRequest = {
  readonly cache: KvCache
  /** Ids that opened the answer, now in the cache. */
  readonly promptIds: readonly number[]
  /** Their states before the final norm, [1, T, D]. */
  readonly hidden: HostTensor
  /** The normed state at the speaker's slot; text alone when absent. */
  readonly speaker?: HostTensor<"f32">
  readonly options: AnswerOptions & { readonly stop?: readonly string[] }
  readonly behaviour: BehaviourOptions
  readonly prompt: PromptUsage
  /** When the answer was asked for, and how long reading the question took; milliseconds of `now`. */
  readonly startMs: number
  readonly now: () => number
  /** Hears every sampled step. */
  readonly onStep?: (step: NonNullable<GenerateStep>) => void
}

/** Answer length of the official stream. */
export const DEFAULT_CALL_TOKENS = 512

/** Separates the draws of the speech from those of the text under one seed. */
const SPEECH_STREAM = 0x5eed

/**
 * Yields events, and undefined after steps without one; `record` is the answer's state at every moment. The last sampled
 * token is not in the cache afterwards.
 */
export async function* writeAnswer(
  model: OmniModel,
  request: AnswerRequest,
  record: AnswerRecord,
): AsyncGenerator<AnswerEvent | undefined, void, void> {
  const { behaviour, options, now, startMs, speaker } = request
  const sampling: SamplingOptions = { ...DEFAULT_SAMPLING, ...definedOnly(options) }
  const seed = options.seed ?? 0
  const draw: Draw = sampling.temperature === 0 ? drawMostLikely : drawBy(createRandom(seed + SPEECH_STREAM))
  const speech = speaker ? new SpeechTrack(voiceOf(model), behaviour, f32Data(speaker), draw) : undefined
  record.spoken = speech !== undefined
  const { tokenizer } = model.prompts
  const terminators = terminatorIds(tokenizer)
  const writer = behaviour.officialText ? officialPieces(tokenizer) : livePieces(tokenizer)
  const stops = new StopScanner(options.stop ?? [])
  const prefillMs = now() - startMs
  const work = { decodeMs: 0, speechMs: 0 }
  let firstTextMs: number | undefined
  let firstAudioMs: number | undefined

  const sound = async function* (pieces: AsyncGenerator<{ text: string; pcm: Float32Array } | undefined, void, void>) {
    for (;;) {
      const before = now()
      const { done, value } = await pieces.next()
      work.speechMs += now() - before
      if (done) return
      if (!value) {
        yield undefined
        continue
      }
      firstAudioMs ??= now() - startMs
      record.samples += value.pcm.length
      record.chunks.push({ tokens: record.shownTokens, endSample: record.samples })
      yield { type: "audio-delta", pcm: value.pcm, text: value.text } satisfies AnswerEvent
    }
  }
  const show = async function* (text: string): AsyncGenerator<AnswerEvent | undefined, void, void> {
    record.shownTokens = record.ids.length
    const visible = behaviour.officialText ? text.split(TTS_EOS)[0]! : text
    if (visible !== "") {
      firstTextMs ??= now() - startMs
      record.text += visible
      yield { type: "text-delta", text: visible }
    }
    if (speech) yield* sound(speech.say(text))
  }

  const steps = tokens(model, request, sampling)
  // Text alone need not wait for company.
  const pieceTokens = speech || behaviour.officialText ? behaviour.pieceTokens : 1
  let waiting: number[] = []
  let finishReason: FinishReason = "stop"
  for (;;) {
    const before = now()
    const { done, value } = await steps.next()
    work.decodeMs += now() - before
    if (done) {
      finishReason = value
      break
    }
    if (value) {
      request.onStep?.(value)
      record.ids.push(value.id)
      waiting.push(value.id)
    }
    const ends = value && terminators.includes(value.id)
    if (!value || (waiting.length < pieceTokens && !ends)) {
      yield undefined
      continue
    }
    const text = stops.push(writer.push(waiting))
    waiting = []
    if (text === "") yield undefined
    yield* show(text)
    if (stops.stopped || speech?.ended) {
      finishReason = stops.stopped ? "stop" : "interrupted"
      break
    }
  }
  await steps.return("stop")
  const rest = stops.stopped
    ? ""
    : stops.push(waiting.length > 0 ? writer.push(waiting) : "") + stops.flush(writer.flush())
  if (rest !== "" || record.shownTokens < record.ids.length) yield* show(rest)
  if (speech) yield* sound(speech.finish())
  record.finishReason = finishReason
  yield {
    type: "turn-end",
    finishReason,
    text: record.text,
    audioMs: (record.samples / VOCODER_SAMPLE_RATE_HZ) * 1000,
    promptTokens: request.prompt.positions,
    completionTokens: record.ids.length,
    usage: usageOf(request.prompt, record.ids.length, speech?.frames ?? 0),
    timings: {
      prefillMs,
      ...(firstTextMs === undefined ? {} : { firstTextMs }),
      ...(firstAudioMs === undefined ? {} : { firstAudioMs }),
      totalMs: now() - startMs,
      ...work,
    },
  }
}

/** Tokens of the answer, in inner calls of one piece each where the behaviour says so. */
async function* tokens(
  model: OmniModel,
  { cache, promptIds, hidden, options, behaviour }: AnswerRequest,
  sampling: SamplingOptions,
): AsyncGenerator<GenerateStep, "stop" | "length", void> {
  const { language, prompts } = model
  const maxNewTokens = options.maxNewTokens ?? DEFAULT_CALL_TOKENS
  const shared = {
    ...sampling,
    terminators: terminatorIds(prompts.tokenizer),
    reserved: prompts.tokenizer.reservedIds(language.config.vocabSize),
    random: createRandom(options.seed ?? 0),
  }
  if (behaviour.penaltyScope === "answer") {
    return yield* decode(language, cache, hidden, { ...shared, maxNewTokens })
  }
  // The official stream: one call for each piece, which starts from the token that the last one ended with.
  const { pieceTokens } = behaviour
  let last: number | undefined
  for (let written = 0; written < maxNewTokens; ) {
    const inner = { ...shared, maxNewTokens: pieceTokens, seen: last === undefined ? promptIds : [last] }
    const calls =
      last === undefined
        ? decode(language, cache, hidden, inner)
        : generate(language, cache, language.embed([last]), inner)
    for (;;) {
      const { done, value } = await calls.next()
      if (done) {
        if (value === "stop") return "stop"
        break
      }
      if (value) {
        last = value.id
        written++
      }
      yield value
    }
    if (cache.length >= language.config.maxPositionEmbeddings) return "length"
  }
  return "length"
}

/** Options that were given: an undefined one must not hide a default. */
function definedOnly({
  temperature,
  topK,
  topP,
  repetitionPenalty,
  minNewTokens,
}: AnswerOptions): Partial<SamplingOptions> {
  const all = { temperature, topK, topP, repetitionPenalty, minNewTokens }
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined))
}
