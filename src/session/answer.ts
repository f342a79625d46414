/**
 * @file Writing and speaking one answer: the language model and the speech decoder take turns, a few tokens against one
 * call of frames, over a cache that already holds the question.
 *
 *   prompt of the answer ──► token token token ──► text-delta ──► speech: text chunk, frames ──► audio-delta
 *                              ▲                                                      │
 *                              └──────────────────────────────────────────────────────┘
 * Source: streaming_generate, llm_generate_chunk (modeling_minicpmo.py).
 */
import { TOOL_CALL_OPEN, type TokenConstraint, type ToolCallPiece } from "../grammar/index.ts"
import {
  DEFAULT_SAMPLING,
  type Draw,
  decode,
  drawBy,
  drawMostLikely,
  type GenerateStep,
  generate,
  type SamplingOptions,
  type SpeechPiece,
  VOCODER_SAMPLE_RATE_HZ,
} from "../inference/index.ts"
import type { KvCache } from "../runtime/index.ts"
import { f32Data, type HostTensor } from "../tensor/index.ts"
import { type OmniTokenizer, type SpokenLanguage, TTS_EOS, terminatorIds } from "../tokenizer/index.ts"
import { createRandom } from "../util/index.ts"
import { withoutUndefined } from "./answer-options.ts"
import { AnswerText, livePieces, officialPieces } from "./answer-text.ts"
import type { BehaviourOptions } from "./behaviour.ts"
import { tokenLogprob } from "./logprobs.ts"
import { type OmniModel, voiceOf } from "./model.ts"
import { SpeechTrack } from "./speech-track.ts"
import type { AnswerEvent, AnswerOptions, FinishReason, TokenLogprob } from "./types.ts"
import { type PromptUsage, usageOf } from "./usage.ts"

/** A delivery of sound, and how much of the answer's text had been given to the speech when it was made. */
export type HeardChunk = {
  readonly tokens: number
  readonly endSample: number
  /** The segment of speech that it belongs to; calls saved by earlier versions do not say. */
  readonly segment?: number
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
  /** All of its sound was delivered. */
  soundIsWhole?: boolean
  /** Tokens up to the end of the latest tool call; 0 when there is none. */
  callTokens: number
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
  callTokens: 0,
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
  /** In which numbers are read where the answer has no letters yet; English when absent. */
  readonly language?: SpokenLanguage
  readonly options: AnswerOptions & { readonly stop?: readonly string[] }
  /** Which tokens may come. */
  readonly constraint?: Pick<TokenConstraint, "allowed" | "accept">
  /** Tool calls in the text: taken out of it, forbidden, or text like any other. */
  readonly calls?: "taken" | "forbidden"
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
  const { behaviour, options, now, startMs, speaker, language = "english" } = request
  const sampling: SamplingOptions = { ...DEFAULT_SAMPLING, ...withoutUndefined(options) }
  const seed = options.seed ?? 0
  const draw: Draw = sampling.temperature === 0 ? drawMostLikely : drawBy(createRandom(seed + SPEECH_STREAM))
  const speech = speaker ? new SpeechTrack(voiceOf(model), behaviour, f32Data(speaker), { draw, language }) : undefined
  record.spoken = speech !== undefined
  const { tokenizer } = model.prompts
  const terminators = terminatorIds(tokenizer)
  const hasCalls = request.calls === "taken"
  const writer = behaviour.officialText && !hasCalls ? officialPieces(tokenizer) : livePieces(tokenizer)
  const said = new AnswerText(writer, { stop: options.stop ?? [], calls: hasCalls })
  const hidden = new Set([...terminators, tokenizer.idOf(TTS_EOS)])
  let logprobs: TokenLogprob[] = []
  const prefillMs = now() - startMs
  const work = { decodeMs: 0, speechMs: 0 }
  let firstTextMs: number | undefined
  let firstAudioMs: number | undefined

  const sound = async function* (pieces: AsyncGenerator<SpeechPiece | undefined, void, void>) {
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
      const { pcm, text, segment, unheard } = value
      record.samples += pcm.length
      const tokens = record.shownTokens - tokensAtEnd(tokenizer, record.ids.slice(0, record.shownTokens), unheard)
      record.chunks.push({ tokens, endSample: record.samples, segment })
      yield { type: "audio-delta", pcm, text } satisfies AnswerEvent
    }
  }
  const show = async function* (text: string): AsyncGenerator<AnswerEvent | undefined, void, void> {
    const visible = behaviour.cutsAtSpeechEnd ? text.split(TTS_EOS)[0]! : text.replaceAll(TTS_EOS, "")
    if (visible !== "") {
      firstTextMs ??= now() - startMs
      record.text += visible
      yield { type: "text-delta", text: visible, ...(options.logprobs === undefined ? {} : { logprobs }) }
      logprobs = []
    }
    if (speech) yield* sound(speech.say(text))
  }
  const deliver = async function* (pieces: readonly ToolCallPiece[]) {
    record.shownTokens = said.wholeTokens
    for (const piece of pieces) {
      if (piece.type === "text") yield* show(piece.text)
      else yield piece
      if (piece.type === "tool-call") record.callTokens = said.wholeTokens
    }
    // The speech counts pieces without text, too.
    if (!pieces.some(({ type }) => type === "text")) yield* show("")
    if (said.wholeTokens < record.ids.length) logprobs = [] // a call's tokens are not reported
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
      if (options.logprobs !== undefined && !hidden.has(value.id)) {
        logprobs.push(tokenLogprob(tokenizer, value.logits, value.id, options.logprobs))
      }
    }
    const ends = value && terminators.includes(value.id)
    if (!value || (waiting.length < pieceTokens && !ends)) {
      yield undefined
      continue
    }
    const pieces = said.push(waiting)
    waiting = []
    if (pieces.length === 0) yield undefined
    yield* deliver(pieces)
    if (said.stopped || speech?.ended) {
      finishReason = said.stopped ? "stop" : "interrupted"
      break
    }
  }
  await steps.return("stop")
  const rest = [...(waiting.length > 0 ? said.push(waiting) : []), ...said.finish()]
  if (rest.length > 0 || record.shownTokens < said.wholeTokens) yield* deliver(rest)
  if (finishReason === "stop" && record.callTokens > 0) finishReason = "tool-calls"
  if (speech) yield* sound(speech.finish())
  record.soundIsWhole = true
  record.finishReason = finishReason
  const completionTokens = record.ids.length
  if (said.stopped && !behaviour.officialText) record.ids.length = tokensOfText(tokenizer, record, hidden)
  yield {
    type: "turn-end",
    finishReason,
    text: record.text,
    audioMs: (record.samples / VOCODER_SAMPLE_RATE_HZ) * 1000,
    promptTokens: request.prompt.positions,
    completionTokens,
    usage: usageOf(request.prompt, completionTokens, speech?.frames ?? 0),
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
  { cache, promptIds, hidden, options, behaviour, constraint, calls }: AnswerRequest,
  sampling: SamplingOptions,
): AsyncGenerator<GenerateStep, "stop" | "length", void> {
  const { language, prompts } = model
  const maxNewTokens = options.maxNewTokens ?? DEFAULT_CALL_TOKENS
  const shared = {
    ...sampling,
    terminators: terminatorIds(prompts.tokenizer),
    reserved: [
      ...(behaviour.officialText ? [] : prompts.tokenizer.reservedIds(language.config.vocabSize)),
      ...(calls === "forbidden" ? callOpening(prompts.tokenizer) : []),
    ],
    random: createRandom(options.seed ?? 0),
    ...(constraint ? { constraint } : {}),
  }
  if (behaviour.penaltyScope === "answer") {
    return yield* decode(language, cache, hidden, { ...shared, maxNewTokens })
  }
  // The official stream: one call for each piece, which starts from the token that the last one ended with.
  const { pieceTokens } = behaviour
  let last: number | undefined
  const answer: number[] = []
  while (answer.length < maxNewTokens) {
    const seen = last === undefined ? promptIds : [last]
    const inner = { ...shared, maxNewTokens: pieceTokens, seen, written: [...answer] }
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
        answer.push(last)
      }
      yield value
    }
    if (cache.length >= language.config.maxPositionEmbeddings) return "length"
  }
  return "length"
}

/** Tokens of an answer that a stop text ended which make up its text: the stop itself is not to be remembered. */
function tokensOfText(tokenizer: OmniTokenizer, { ids, text, callTokens }: AnswerRecord, hidden: ReadonlySet<number>) {
  if (callTokens > 0) return ids.length
  const decoder = tokenizer.createDecoder()
  let length = 0
  for (const [i, id] of ids.entries()) {
    if (!hidden.has(id)) length += decoder.push(id).length
    if (length > text.length) return i
  }
  return ids.length
}

/** Tokens at the end of an answer that hold this text; where it is spoken otherwise than written, about so many. */
function tokensAtEnd(tokenizer: OmniTokenizer, ids: readonly number[], text: string): number {
  let letters = text.length
  let tokens = 0
  while (letters > 0 && tokens < ids.length) letters -= tokenizer.decode([ids.at(-1 - tokens++)!]).length
  return tokens
}

/** What a call begins with, where that is a token of its own. */
function callOpening({ addedTokens }: OmniTokenizer): number[] {
  const id = addedTokens.get(TOOL_CALL_OPEN)
  return id === undefined ? [] : [id]
}
