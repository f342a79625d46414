/**
 * @file Reading a text aloud: the model is asked to, with the official prompts, piece by piece where the text is long. Its
 * words may differ from the text in small things, as the official demo's do.
 */
import type { ChatMessage, ChatOptions, Sound } from "./types.ts"
import { voicePrompt } from "./voice-prompt.ts"

const READ_PROMPT = { en: "Please read the text below.", zh: "请朗读以下内容。" }

/** A piece is a minute or less of speech: models lose their way in long readings. */
const PIECE_CHARACTERS = 600

export type ReadAloudOptions = {
  /** A recording of the voice to read with; the model's own voice when absent. */
  readonly voice?: Sound | undefined
  /** How it is to be read, in words. */
  readonly instructions?: string | undefined
  readonly seed?: number | undefined
}

/** The questions whose spoken answers, one after the other, are the text. */
export function readAloudQuestions(
  text: string,
  { voice, instructions, seed }: ReadAloudOptions = {},
): readonly ChatOptions[] {
  const prompt: ChatMessage[] = voice ? [voicePrompt("voice_cloning", voice)] : []
  const how = instructions ? `${instructions}\n` : ""
  return cutText(text).map((piece) => ({
    messages: [
      ...prompt,
      { role: "user", content: `${how}${READ_PROMPT[/[\u4e00-\u9fff]/.test(piece) ? "zh" : "en"]}\n${piece}` },
    ],
    speak: true,
    // A text is read in about as many tokens as it has; more is rambling.
    maxNewTokens: 64 + 2 * piece.length,
    ...(seed === undefined ? {} : { seed }),
  }))
}

/** Ends of sentences, then of clauses, then of words: the best place to cut before the limit. */
const ENDS = [/[.!?](?=\s)|[。！？]|\n/gu, /[,;:](?=\s)|[，；：、]/gu, /\s/gu]

/**
 * Cuts a text into pieces that can be read for themselves; joined, they are the text without the space around cuts.
 * @param most characters of a piece
 */
export function cutText(text: string, most = PIECE_CHARACTERS): string[] {
  const pieces: string[] = []
  let rest = text.trim()
  while (rest.length > most) {
    const start = rest.slice(0, most)
    // In its second half, or pieces become short.
    const cut = ENDS.map((end) => [...start.matchAll(end)].at(-1)).find((match) => match && match.index >= most / 2)
    const at = cut ? cut.index + cut[0].length : wholeCharacters(start)
    pieces.push(rest.slice(0, at).trim())
    rest = rest.slice(at).trim()
  }
  if (rest !== "") pieces.push(rest)
  return pieces
}

/** Length without half a character at the end. */
function wholeCharacters(text: string): number {
  return /[\ud800-\udbff]$/.test(text) ? text.length - 1 : text.length
}
