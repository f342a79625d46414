/** @file What a person chose on this page, kept in the browser. What cannot be read is as if it had never been chosen. */
import { ANSWER_LANGUAGES, type CallSettings, DEFAULT_SETTINGS } from "./call/settings.ts"
import { LOCALES, type Locale, preferredLocale } from "./i18n/index.ts"

export const THEMES = ["auto", "light", "dark"] as const
export type Theme = (typeof THEMES)[number]

export type Preferences = {
  readonly locale: Locale
  readonly theme: Theme
  readonly settings: CallSettings
  readonly readAloud: boolean
}

const KEY = "omni.preferences"

/** Preferences out of stored text, field by field. */
export function parsePreferences(text: string | null, languages: readonly string[]): Preferences {
  let stored: { [key: string]: unknown } = {}
  try {
    const value: unknown = JSON.parse(text ?? "{}")
    if (typeof value === "object" && value !== null) stored = value as typeof stored
  } catch {
    // as if nothing had been stored
  }
  const settings = (typeof stored.settings === "object" && stored.settings !== null ? stored.settings : {}) as {
    [key: string]: unknown
  }
  const word = (key: keyof CallSettings) => (typeof settings[key] === "string" ? settings[key] : DEFAULT_SETTINGS[key])
  const oneOf = <T extends string>(all: readonly T[], value: unknown, otherwise: T): T =>
    all.find((one) => one === value) ?? otherwise
  return {
    locale: oneOf(Object.keys(LOCALES) as Locale[], stored.locale, preferredLocale(languages)),
    theme: oneOf(THEMES, stored.theme, "auto"),
    readAloud: stored.readAloud === true,
    settings: {
      voice: word("voice"),
      voiceDescription: word("voiceDescription"),
      instructions: word("instructions"),
      language: oneOf(ANSWER_LANGUAGES, settings.language, DEFAULT_SETTINGS.language),
      turns: oneOf(["hands-free", "push"], settings.turns, DEFAULT_SETTINGS.turns),
    },
  }
}

/** Storage may be forbidden: the page works without. */
export function loadPreferences(): Preferences {
  let text: string | null = null
  try {
    text = localStorage.getItem(KEY)
  } catch {
    // forbidden
  }
  return parsePreferences(text, navigator.languages)
}

export function savePreferences(preferences: Preferences): void {
  try {
    localStorage.setItem(KEY, JSON.stringify(preferences))
  } catch {
    // forbidden or full
  }
}
