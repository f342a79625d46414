/** @file The official question for writing down what is said, as whole questions to the engine. */
import type { ChatOptions, Sound } from "../session/index.ts"

/** Ours: the official prompts have none for translating. */
const TRANSLATION_PROMPT = "Please listen to the audio snippet carefully and translate the content into English."

const PROMPTS = {
  en: "Please listen to the audio snippet carefully and transcribe the content.",
  zh: "请仔细听这段音频片段，并将其内容逐字记录。",
}

export type TranscriptionOptions = {
  readonly task?: "transcribe" | "translate"
  /** A code or name; Chinese is asked for in Chinese. */
  readonly language?: string | undefined
  /** Words to expect. */
  readonly hint?: string | undefined
  readonly temperature?: number | undefined
}

/** The question for one piece of sound, at most 30 s. */
export function transcriptionQuestion(
  audio: Sound,
  { task = "transcribe", language = "", hint, temperature = 0 }: TranscriptionOptions = {},
): ChatOptions {
  const prompt = task === "translate" ? TRANSLATION_PROMPT : PROMPTS[/^(zh|chinese)/i.test(language) ? "zh" : "en"]
  const text = `${prompt}${hint ? `\n${hint}` : ""}\n`
  const content = [{ type: "text", text } as const, { type: "audio", audio } as const]
  return { messages: [{ role: "user", content }], temperature, maxNewTokens: 512 }
}
