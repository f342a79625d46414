/**
 * @file Writing down what is said: the model is asked, with the official prompts, window by window of at most 30 s, cut where
 * it is quiet. Times are those of windows: the model gives none of words.
 */
import type { AnswerEvent, Behaviour, ChatOptions, Sound } from "./types.ts"
import { cutAtSilences } from "./windows.ts"

/** Ours: the official prompts have none for translating. */
const TRANSLATION_PROMPT = "Please listen to the audio snippet carefully and translate the content into English."

const PROMPTS = {
  en: "Please listen to the audio snippet carefully and transcribe the content.",
  zh: "请仔细听这段音频片段，并将其内容逐字记录。",
}

/** Shorter ends of a recording hold no word, and are less than the encoder takes. */
const MIN_SECONDS = 0.1

export type TranscriptionOptions = {
  readonly task?: "transcribe" | "translate"
  /** A code or name; Chinese is asked for in Chinese. */
  readonly language?: string | undefined
  /** Words to expect. */
  readonly hint?: string | undefined
  readonly temperature?: number | undefined
  readonly behaviour?: Behaviour | undefined
}

/** What was said in one window. */
export type TranscriptPart = {
  readonly window: number
  /** Seconds. */
  readonly start: number
  readonly end: number
  readonly text: string
  /** Tokens that were written. */
  readonly tokens: number
}

/** The question for one piece of sound, at most 30 s. */
export function transcriptionQuestion(
  audio: Sound,
  { task = "transcribe", language = "", hint, temperature = 0, behaviour }: TranscriptionOptions = {},
): ChatOptions {
  const prompt = task === "translate" ? TRANSLATION_PROMPT : PROMPTS[/^(zh|chinese)/i.test(language) ? "zh" : "en"]
  const text = `${prompt}${hint ? `\n${hint}` : ""}\n`
  const content = [{ type: "text", text } as const, { type: "audio", audio } as const]
  const question = { messages: [{ role: "user" as const, content }], temperature, maxNewTokens: 512 }
  return behaviour === undefined ? question : { ...question, behaviour }
}

/**
 * Text as it is written, and each window when it is done.
 * @param ask answers one question
 */
export async function* transcribe(
  ask: (question: ChatOptions) => AsyncIterable<AnswerEvent>,
  { pcm, sampleRateHz }: Sound,
  options: TranscriptionOptions = {},
): AsyncGenerator<string | TranscriptPart, void, void> {
  let window = 0
  for (const { start, end } of cutAtSilences(pcm, sampleRateHz)) {
    if (end - start < MIN_SECONDS * sampleRateHz) continue
    const audio = { pcm: pcm.slice(start, end), sampleRateHz }
    for await (const event of ask(transcriptionQuestion(audio, options))) {
      if (event.type === "text-delta") yield event.text
      if (event.type !== "turn-end") continue
      const text = event.text.trim()
      yield { window, start: start / sampleRateHz, end: end / sampleRateHz, text, tokens: event.completionTokens }
    }
    window++
  }
}

/** The text of all windows. */
export function transcriptText(parts: readonly TranscriptPart[]): string {
  return parts
    .map(({ text }) => text)
    .filter((text) => text !== "")
    .join(" ")
}
