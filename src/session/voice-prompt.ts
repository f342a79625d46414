/** @file The official prompts that give an answer its voice, for questions with whole inputs. */

import { AUDIO_MARKER, type PromptLanguage, type SystemPromptMode, systemPromptItems } from "../tokenizer/index.ts"
import type { ChatMessage, ContentPart, Sound } from "./types.ts"

/** A system prompt with the recording of a voice in it. Its role is `user`, as in the official code. */
export function voicePrompt(
  mode: SystemPromptMode,
  voice: Sound | undefined,
  language: PromptLanguage = "en",
): ChatMessage {
  const items = systemPromptItems(mode, language, { referenceVoice: voice !== undefined })
  const content = items.map((item): ContentPart => {
    return item === AUDIO_MARKER && voice ? { type: "audio", audio: voice } : { type: "text", text: item }
  })
  return { role: "user", content }
}

/** The conversation with the prompt of a voice before it; a system message keeps its place behind it. */
export function spokenPrompt(messages: readonly ChatMessage[], voice: Sound): ChatMessage[] {
  return [voicePrompt("audio_assistant", voice), ...messages]
}
