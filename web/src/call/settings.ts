/** @file What a person chooses for calls, and the session that it asks the server for. */
import type { RealtimeSessionUpdate } from "../omni.ts"

export const ANSWER_LANGUAGES = ["auto", "en", "zh"] as const
export type AnswerLanguage = (typeof ANSWER_LANGUAGES)[number]

export type CallSettings = {
  /** A voice of the server by name or id. */
  readonly voice: string
  /** A voice in words; empty when the named voice is taken. */
  readonly voiceDescription: string
  readonly language: AnswerLanguage
  /** The system prompt; empty for the model's own. */
  readonly instructions: string
  /** `hands-free`: the server finds turns; `push`: a button does. */
  readonly turns: "hands-free" | "push"
}

export const DEFAULT_SETTINGS: CallSettings = {
  voice: "default",
  voiceDescription: "",
  language: "auto",
  instructions: "",
  turns: "hands-free",
}

const ANSWER_IN = { en: "Answer in English.", zh: "请用中文回答。" } as const

/** Id of the event that carries settings, by which a refusal is known. */
export const SETTINGS_EVENT = "settings"

/** The system prompt with what else is asked for in words. */
export function instructionsOf({ instructions, voiceDescription, language }: CallSettings): string {
  const parts = [instructions.trim()]
  const voice = voiceDescription.trim()
  if (voice !== "") parts.push(`Speak with this voice: ${voice}`)
  if (language !== "auto") parts.push(ANSWER_IN[language])
  return parts.filter((part) => part !== "").join("\n")
}

/**
 * The session for these settings.
 * @param options `video` asks for the camera's extension; `voice: false` leaves the voice as it is
 */
export function sessionOf(settings: CallSettings, options: { video: boolean; voice: boolean }): RealtimeSessionUpdate {
  const format = { type: "audio/pcm", rate: 24000 } as const
  const turns = settings.turns === "push" ? null : ({ type: "server_vad" } as const)
  return {
    type: "realtime",
    output_modalities: ["audio"],
    instructions: instructionsOf(settings),
    audio: {
      input: {
        format,
        transcription: settings.language === "auto" ? {} : { language: settings.language },
        turn_detection: turns,
      },
      output: { format, ...(options.voice ? { voice: settings.voice } : {}) },
    },
    extensions: options.video ? ["omni.timing", "omni.video"] : ["omni.timing"],
  }
}
