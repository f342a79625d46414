/** @file One question with whole inputs, as the official `chat` reads it: text, images and sound in, text and speech out. */
import { audioLengths, checkFinite, resampleSteps } from "../audio/index.ts"
import {
  CALL_FRAMES,
  chatPrompt,
  checkContext,
  codeSampling,
  drawBy,
  drawMostLikely,
  embedPrompt,
  type Message,
  spanLength,
  speakerState,
  speakWhole,
  VOCODER_SAMPLE_RATE_HZ,
} from "../inference/index.ts"
import { f32Data } from "../tensor/index.ts"
import { answerText, detectLanguage, type SpokenLanguage, TTS_EOS } from "../tokenizer/index.ts"
import { createRandom, InputError, inSteps, type Steps } from "../util/index.ts"
import { type AnswerRecord, emptyAnswer, writeAnswer } from "./answer.ts"
import { answerForm, canBeSpoken, checkAnswer } from "./answer-options.ts"
import { BEHAVIOURS } from "./behaviour.ts"
import { UNIT_SAMPLES } from "./ears.ts"
import { type OmniModel, voiceOf } from "./model.ts"
import { checkTextSize } from "./text-size.ts"
import type { AnswerEvent, ChatMessage, ChatOptions, ContentPart } from "./types.ts"
import type { VoiceCache } from "./voices.ts"

/** Answer length of the official `chat`. */
const DEFAULT_CHAT_TOKENS = 2048

/** @throws InputError naming what is wrong with the request */
export function checkChat(options: ChatOptions): void {
  const { messages, maxSlices } = options
  if (messages.length === 0) throw new InputError("messages: expected at least one, got none")
  const last = messages.at(-1)!.role
  if (last !== "user" && last !== "tool") {
    throw new InputError(`messages: expected the last one from the user, got ${last}`)
  }
  if (maxSlices !== undefined && !(Number.isInteger(maxSlices) && maxSlices >= 1 && maxSlices <= 9)) {
    throw new InputError(`maxSlices: expected a whole number from 1 to 9, got ${maxSlices}`)
  }
  checkAnswer(options)
}

/**
 * Answers a conversation; each `next()` is one step of work.
 * @param voices voices to speak with that were encoded before, by calls or other requests
 * @throws InputError when the request is wrong or the prompt exceeds the context; ConfigError when the model cannot see,
 * hear or speak
 */
export async function* omniChat(
  model: OmniModel,
  options: ChatOptions,
  now: () => number,
  voices?: VoiceCache,
): AsyncGenerator<AnswerEvent | undefined, void, void> {
  checkChat(options)
  const { behaviour = "live", tools = [], maxNewTokens = DEFAULT_CHAT_TOKENS, omniInput, maxSlices } = options
  const speak = options.speak === true && canBeSpoken(options.format)
  if (speak) voiceOf(model)
  using form = await answerForm(model, options.format, tools)
  const startMs = now()
  checkTextSize("messages", textsOf(options), model.language.config.maxPositionEmbeddings)
  checkContext(model.language.config, soundPositions(model, options)) // before hours of sound are brought to its rate
  const messages: Message[] = []
  for (const message of options.messages) messages.push(yield* messageOf(message))
  const prompt = chatPrompt(model.prompts, messages, {
    useTtsTemplate: speak,
    tools: tools.map((tool) => ({ type: "function", function: tool })),
    ...(omniInput === undefined ? {} : { omniInput }),
    ...(maxSlices === undefined ? {} : { maxSliceNums: maxSlices }),
  })
  checkContext(model.language.config, prompt.ids.length) // before images and sound are encoded for nothing
  const isVoice = speak && hasVoicePrompt(options.messages, prompt.clipMessages)
  const perception = isVoice && voices ? voices.remembering(model.perception) : model.perception
  const embeds = yield* inSteps(embedPrompt(perception, prompt))
  const cache = model.language.createCache()
  const [hidden] = yield* inSteps(model.language.forward(cache, embeds))
  const speaker = speak ? await speakerState(model.language, hidden!, prompt) : undefined
  const whole = speak && behaviour === "reference"
  const record = emptyAnswer()
  const events = writeAnswer(
    model,
    {
      cache,
      promptIds: prompt.ids,
      hidden: hidden!,
      ...(speaker && !whole ? { speaker } : {}),
      language: languageOf(options.messages),
      ...form,
      options: { ...options, maxNewTokens },
      behaviour: { ...BEHAVIOURS[behaviour], penaltyScope: "answer", cutsAtSpeechEnd: false },
      prompt: {
        positions: prompt.ids.length,
        audio: spanLength(prompt.audioSpans),
        image: spanLength(prompt.imageSpans),
        cached: 0,
      },
      startMs,
      now,
    },
    record,
  )
  for await (const event of events) {
    if (!(whole && event?.type === "turn-end")) {
      yield event
      continue
    }
    const before = now()
    const { pcm, frames } = yield* inSteps(speakAll(model, f32Data(speaker!), spokenText(model, record), options))
    const firstAudioMs = now() - startMs
    yield { type: "audio-delta", pcm, text: record.text }
    const timings = { ...event.timings, firstAudioMs, totalMs: now() - startMs, speechMs: now() - before }
    const usage = { ...event.usage, completionAudioTokens: frames }
    yield { ...event, audioMs: (pcm.length / VOCODER_SAMPLE_RATE_HZ) * 1000, timings, usage }
  }
}

/** What an answer says before its end-of-speech mark. */
function spokenText({ prompts: { tokenizer } }: OmniModel, { ids, text }: AnswerRecord): string {
  const mark = ids.indexOf(tokenizer.idOf(TTS_EOS))
  return mark < 0 ? text : text.slice(0, answerText(tokenizer, ids.slice(0, mark)).length)
}

/** The official offline path: all codes first, then one decode of everything. */
async function* speakAll(
  model: OmniModel,
  speaker: Float32Array,
  text: string,
  { temperature, seed = 0 }: ChatOptions,
): Steps<{ readonly pcm: Float32Array; readonly frames: number }> {
  const { decoder, codec, vocoder, tokenizer, layout } = voiceOf(model)
  const draw = temperature === 0 ? drawMostLikely : drawBy(createRandom(seed + CALL_FRAMES))
  const sampling = codeSampling(decoder.config)
  const frames = yield* speakWhole(decoder, speaker, text, { tokenizer, layout, sampling, draw })
  const pcm = frames.length > 0 ? await vocoder.render(await codec.decode(frames)) : new Float32Array(0)
  return { pcm, frames: frames.length }
}

/**
 * Whether all that a request lets be heard is a voice to speak with, which comes again with the next one: in a message of its
 * own before the question. Sound in a question, or in one that was answered, is nobody's voice.
 */
function hasVoicePrompt([, second]: readonly ChatMessage[], clipMessages: readonly number[]): boolean {
  const asks = second !== undefined && second.role !== "assistant"
  return asks && clipMessages.length > 0 && clipMessages.every((message) => message === 0)
}

function textsOf({ messages }: Pick<ChatOptions, "messages">): string[] {
  return messages.flatMap(({ content, toolCalls = [] }) => [
    ...(typeof content === "string" ? [content] : content.flatMap((part) => (part.type === "text" ? [part.text] : []))),
    ...toolCalls.map((call) => call.arguments),
  ])
}

/** Positions that sound takes at least. */
function soundPositions({ prompts }: OmniModel, { messages }: ChatOptions): number {
  const { mel, poolStep } = prompts.audio
  const sounds = messages.flatMap(({ content }) =>
    typeof content === "string" ? [] : content.flatMap((part) => (part.type === "audio" ? [part.audio] : [])),
  )
  return sounds.reduce((sum, { pcm, sampleRateHz }) => {
    const samples = Math.floor((pcm.length * UNIT_SAMPLES) / sampleRateHz)
    // A wrong rate is told when it is used.
    return sum + (Number.isFinite(samples) ? audioLengths(samples, poolStep, mel.hopLength).audioTokens : 0)
  }, 0)
}

/** The language that the latest text is written in. */
function languageOf(messages: readonly ChatMessage[]): SpokenLanguage {
  const texts = textsOf({ messages: messages.map(({ role, content }) => ({ role, content })) })
  const latest = texts.findLast((text) => /[a-zA-Z\u4e00-\u9fff]/.test(text))
  return latest === undefined ? "english" : detectLanguage(latest)
}

/** In steps, since sound may be long. */
function* messageOf({ role, content, toolCalls }: ChatMessage): Generator<undefined, Message, void> {
  const items: unknown[] = typeof content === "string" ? [{ plain: content }] : []
  for (const part of typeof content === "string" ? [] : content) items.push(yield* itemOf(part))
  const calls = toolCalls?.map(({ name, arguments: text }) => ({
    type: "function",
    function: { name, arguments: text },
  }))
  return { role, content: items, ...(calls ? { tool_calls: calls } : {}) } as Message
}

function* itemOf(part: ContentPart): Generator<undefined, object, void> {
  switch (part.type) {
    case "text":
      return { plain: part.text }
    case "image":
      return { image: part.image }
    case "audio": {
      const { pcm, sampleRateHz } = part.audio
      checkFinite(pcm, "audio")
      return { audio: yield* resampleSteps(pcm, sampleRateHz, UNIT_SAMPLES) }
    }
  }
}
