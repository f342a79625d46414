/** @file Settings of calls and of the page. */
import { useEffect, useRef, useState } from "react"
import type { AnswerLanguage, CallSettings } from "../call/settings.ts"
import { LOCALES, type Locale, useMessages } from "../i18n/index.ts"
import { type Preferences, THEMES } from "../preferences.ts"
import { accessKey } from "../server/api.ts"
import { Icon } from "./icons.tsx"
import { VoiceSettings } from "./voice-settings.tsx"

type Props = {
  preferences: Preferences
  inCall: boolean
  onChange: (preferences: Preferences) => void
  onClose: () => void
}

export function SettingsDialog({ preferences, inCall, onChange, onClose }: Props) {
  const words = useMessages()
  const dialog = useRef<HTMLDialogElement | null>(null)
  const [key, setKey] = useState(accessKey.get)
  useEffect(() => dialog.current?.showModal(), [])
  const { settings } = preferences
  const set = (change: Partial<CallSettings>) => onChange({ ...preferences, settings: { ...settings, ...change } })
  const themeNames = { auto: words.themeAuto, light: words.themeLight, dark: words.themeDark }
  return (
    <dialog ref={dialog} className="sheet" aria-labelledby="settings-title" onClose={onClose}>
      <header className="sheet-head">
        <h2 id="settings-title">{words.settings}</h2>
        <button type="button" className="round plain" aria-label={words.close} onClick={() => dialog.current?.close()}>
          <Icon name="close" />
        </button>
      </header>
      <div className="sheet-body">
        <fieldset className="field-group">
          <legend>{words.talkMode}</legend>
          <div className="segments">
            {(["hands-free", "push"] as const).map((turns) => (
              <label key={turns} className="segment">
                <input type="radio" name="turns" checked={settings.turns === turns} onChange={() => set({ turns })} />
                <span>{turns === "push" ? words.pushToTalk : words.handsFree}</span>
              </label>
            ))}
          </div>
        </fieldset>
        <VoiceSettings
          settings={settings}
          inCall={inCall}
          onChange={(next) => onChange({ ...preferences, settings: next })}
        />
        <label className="field">
          <span>{words.answerLanguage}</span>
          <select
            value={settings.language}
            onChange={(event) => set({ language: event.target.value as AnswerLanguage })}
          >
            <option value="auto">{words.answerAuto}</option>
            <option value="en">{words.answerEn}</option>
            <option value="zh">{words.answerZh}</option>
          </select>
        </label>
        <label className="field">
          <span>{words.prompt}</span>
          <textarea
            rows={4}
            value={settings.instructions}
            maxLength={20_000}
            placeholder={words.promptExample}
            onChange={(event) => set({ instructions: event.target.value })}
          />
        </label>
        <div className="pair">
          <label className="field">
            <span>{words.language}</span>
            <select
              value={preferences.locale}
              onChange={(event) => onChange({ ...preferences, locale: event.target.value as Locale })}
            >
              {Object.entries(LOCALES).map(([locale, { name, tag }]) => (
                <option key={locale} value={locale} lang={tag}>
                  {name}
                </option>
              ))}
            </select>
          </label>
          <label className="field">
            <span>{words.theme}</span>
            <select
              value={preferences.theme}
              onChange={(event) =>
                onChange({ ...preferences, theme: THEMES.find((one) => one === event.target.value) ?? "auto" })
              }
            >
              {THEMES.map((theme) => (
                <option key={theme} value={theme}>
                  {themeNames[theme]}
                </option>
              ))}
            </select>
          </label>
        </div>
        <label className="field">
          <span>{words.accessKey}</span>
          <input
            type="password"
            value={key}
            autoComplete="off"
            aria-describedby="key-hint"
            onChange={(event) => {
              setKey(event.target.value)
              accessKey.set(event.target.value.trim())
            }}
          />
          <span id="key-hint" className="hint">
            {words.accessKeyHint}
          </span>
        </label>
      </div>
    </dialog>
  )
}
