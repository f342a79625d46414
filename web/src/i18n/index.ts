/** @file The page's language: chosen by the person, else as the browser asks. */
import { createContext, useContext } from "react"
import type { CallStatus, Notice } from "../call/call-state.ts"
import { en, type Messages } from "./en.ts"
import { zh } from "./zh.ts"

export const LOCALES = {
  en: { name: "English", tag: "en", messages: en },
  zh: { name: "中文", tag: "zh-Hans", messages: zh },
} as const
export type Locale = keyof typeof LOCALES

/** The first of the browser's languages that the page speaks. */
export function preferredLocale(languages: readonly string[]): Locale {
  for (const language of languages) {
    const short = language.toLowerCase().split("-")[0]
    if (short === "en" || short === "zh") return short
  }
  return "en"
}

export const LocaleContext = createContext<Locale>("en")
export const useMessages = (): Messages => LOCALES[useContext(LocaleContext)].messages

export const STATUS_KEYS = {
  idle: "statusIdle",
  asking: "statusAsking",
  connecting: "statusConnecting",
  queued: "statusQueued",
  retrying: "statusRetrying",
  listening: "statusListening",
  hearing: "statusHearing",
  thinking: "statusThinking",
  speaking: "statusSpeaking",
} as const satisfies Record<CallStatus, keyof Messages>

export const NOTICE_KEYS = {
  "mic-refused": "noticeMicRefused",
  "mic-missing": "noticeMicMissing",
  "mic-insecure": "noticeMicInsecure",
  "camera-refused": "noticeCameraRefused",
  "camera-missing": "noticeCameraMissing",
  "camera-insecure": "noticeMicInsecure",
  "server-away": "noticeServerAway",
  "server-full": "noticeServerFull",
  "key-needed": "noticeKeyNeeded",
  "idle-ended": "noticeIdleEnded",
  "answer-failed": "noticeAnswerFailed",
  "talk-too-short": "noticeTalkTooShort",
  "voice-next-call": "noticeVoiceNextCall",
  "settings-refused": "noticeSettingsRefused",
  "context-compacted": "noticeContextCompacted",
  "sound-dropped": "noticeSoundDropped",
} as const satisfies Record<Notice, keyof Messages>
