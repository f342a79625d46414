/**
 * @file The official system prompts: what tells the model how to behave and with which voice. All of them are messages
 * of the role `user`. Source: `get_sys_prompt` of the MiniCPM-o 2.6 model code.
 */
import { ConfigError } from "../util/index.ts"
import { AUDIO_MARKER } from "./chat-template.ts"

export type SystemPromptMode = "omni" | "audio_assistant" | "audio_roleplay" | "voice_cloning" | "default"
export type PromptLanguage = "en" | "zh"

/** Names the trained default voice; English for both languages, as in the official code. */
const DEFAULT_VOICE = "Use the <reserved_53> voice."
const DEFAULT_TEXT = "You are a helpful assistant. You can accept audio and text input and output voice and text."
const OMNI = {
  en: "You are a helpful assistant. You can accept video, audio and text input and output voice and text. ",
  zh: "你是一个AI助手。你能接受视频，音频和文本输入并输出语音和文本。",
}
const CLONE = { en: "Clone the voice in the provided audio prompt.", zh: "模仿输入音频中的声音特征。" }
const SPEAK_SO = {
  en: "As an assistant, you will speak using this voice style.",
  zh: "作为助手，你将使用这种声音风格说话。",
}
const ASSISTANT = { en: "You are a helpful assistant with the above voice style.", zh: SPEAK_SO.zh }
const ROLE_PLAY = {
  en: "Try to role-play the character based on the audio prompt above.",
  zh: "假装你是上述音频中的人物，与我进行对话。",
}

/**
 * Content items of a system prompt in order; {@link AUDIO_MARKER} stands where the reference voice goes.
 * @param options.referenceVoice whether the caller has one; `default` ignores it, and so does a mode that is none of these
 * @throws ConfigError for voice cloning without a reference voice
 */
export function systemPromptItems(
  mode: SystemPromptMode,
  language: PromptLanguage,
  options: { referenceVoice: boolean },
): string[] {
  const { referenceVoice } = options
  switch (mode) {
    case "omni":
      return referenceVoice ? [OMNI[language] + CLONE[language], AUDIO_MARKER, SPEAK_SO[language]] : [OMNI[language]]
    case "audio_assistant": {
      const clone = language === "en" ? "Use the voice in the audio prompt to synthesize new content." : CLONE.zh
      return [...(referenceVoice ? [clone, AUDIO_MARKER] : [DEFAULT_VOICE]), ASSISTANT[language]]
    }
    case "audio_roleplay":
      return [...(referenceVoice ? [CLONE[language], AUDIO_MARKER] : [DEFAULT_VOICE]), ROLE_PLAY[language]]
    case "voice_cloning":
      if (referenceVoice) return [CLONE[language], AUDIO_MARKER]
      throw new ConfigError(
        "system prompt voice_cloning: expected a reference voice, got none (give a recording of the voice to clone)",
      )
    default: // and any other mode, as in the official code
      return [DEFAULT_TEXT]
  }
}
