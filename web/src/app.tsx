/** @file The page: header, the three views, settings and messages. */
import { useEffect, useState } from "react"
import { CallController } from "./call/call-controller.ts"
import type { CallMode } from "./call/call-state.ts"
import { ChatController } from "./chat/chat-controller.ts"
import type { Messages } from "./i18n/en.ts"
import { LOCALES, LocaleContext, NOTICE_KEYS, useMessages } from "./i18n/index.ts"
import { loadPreferences, type Preferences, savePreferences } from "./preferences.ts"
import { accessKey, fetchModel, type Model, ServerError, type ServerFailure } from "./server/api.ts"
import { useStore } from "./store.ts"
import { CallView } from "./views/call-view.tsx"
import { ChatView } from "./views/chat-view.tsx"
import { Icon, type IconName } from "./views/icons.tsx"
import { NoticeBar } from "./views/notice.tsx"
import { SettingsDialog } from "./views/settings-dialog.tsx"

const VIEWS = ["voice", "video", "chat"] as const
type View = (typeof VIEWS)[number]
const VIEW_ICONS = { voice: "phone", video: "video", chat: "chat" } as const satisfies Record<View, IconName>
const POLL_MS = 15_000
const POLL_AWAY_MS = 3000

const viewOfHash = (): View => VIEWS.find((view) => location.hash === `#${view}`) ?? "voice"

type ModelState = Model | "away" | "locked"

/**
 * The model that answers, asked for again now and then, when the settings, where the access key is, open or close, and soon after
 * something failed.
 * @param onReached told whenever the server answers, and whether it takes the access key; the same function all the time
 */
function useModel(settingsOpen: boolean, failed: boolean, onReached: (unlocked: boolean) => void): ModelState {
  const [model, setModel] = useState<ModelState>({ name: "", untrained: false })
  // biome-ignore lint/correctness/useExhaustiveDependencies: the settings may have brought the key that was wanted.
  useEffect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined
    let shown = true
    const poll = async () => {
      const next = await fetchModel().catch((error: unknown): ModelState => {
        return error instanceof ServerError && error.kind === "locked" ? "locked" : "away"
      })
      if (!shown) return
      if (next !== "away") onReached(next !== "locked")
      // The same model is no news: nothing is drawn for it.
      setModel((old) => (JSON.stringify(old) === JSON.stringify(next) ? old : next))
      timer = setTimeout(() => void poll(), next === "away" ? POLL_AWAY_MS : POLL_MS)
    }
    if (failed) timer = setTimeout(() => void poll(), POLL_AWAY_MS)
    else void poll()
    return () => {
      shown = false
      clearTimeout(timer)
    }
  }, [settingsOpen, failed, onReached])
  return model
}

const keyText = (words: Messages): string => (accessKey.get() === "" ? words.noticeKeyNeeded : words.noticeKeyWrong)

const failureText = (words: Messages, kind: ServerFailure, message: string): string =>
  kind === "away"
    ? words.noticeServerAway
    : kind === "full"
      ? words.noticeServerFull
      : kind === "locked"
        ? keyText(words)
        : words.noticeRefused(message)

function modelText(words: Messages, model: ModelState): string {
  if (model === "away") return words.serverAway
  if (model === "locked") return words.keyNeeded
  return model.name === "" ? "" : words.model(model.name)
}

function Page({ preferences, onChange }: { preferences: Preferences; onChange: (next: Preferences) => void }) {
  const words = useMessages()
  const [view, setView] = useState<View>(viewOfHash)
  const [settingsOpen, setSettingsOpen] = useState(false)
  const [lockSeen, setLockSeen] = useState(false)
  const [problem, setProblem] = useState<string | undefined>(undefined)
  const [call] = useState(() => new CallController(preferences.settings))
  const [chat] = useState(() => new ChatController())
  const { notice, phase, mode } = useStore(call.state)
  const { failure } = useStore(chat.state)
  const [onReached] = useState(() => (unlocked: boolean) => {
    chat.reached(unlocked)
    if (unlocked && call.state.get().notice === "key-needed") call.dispatch({ type: "dismiss" })
  })
  const model = useModel(settingsOpen, failure?.kind === "away", onReached)
  const inCall = phase !== "idle"

  useEffect(() => {
    const moved = () => setView(viewOfHash())
    window.addEventListener("hashchange", moved)
    return () => window.removeEventListener("hashchange", moved)
  }, [])
  useEffect(() => {
    const leave = () => call.hangUp()
    window.addEventListener("pagehide", leave)
    return () => window.removeEventListener("pagehide", leave)
  }, [call])
  useEffect(() => call.dispatch({ type: "settings", settings: preferences.settings }), [call, preferences.settings])

  // Whoever comes without a key is told so at once, not when the first word is refused.
  const locked = notice === "key-needed" || failure?.kind === "locked" || (model === "locked" && !lockSeen)
  const text =
    problem ??
    (notice === undefined || notice === "key-needed" ? undefined : words[NOTICE_KEYS[notice]]) ??
    (locked ? keyText(words) : undefined) ??
    (failure === undefined ? undefined : failureText(words, failure.kind, failure.message))
  const dismiss = () => {
    setProblem(undefined)
    setLockSeen(true)
    call.dispatch({ type: "dismiss" })
    chat.dismiss()
  }
  // A running call stays in its view; the other kind would end it.
  const shown: View = inCall && view !== "chat" ? mode : view
  const names = { voice: words.viewVoice, video: words.viewVideo, chat: words.viewChat }
  return (
    <div className="page">
      <a className="skip" href="#content">
        {words.skip}
      </a>
      <header className="top">
        <h1 className="brand">
          <span className="brand-mark" aria-hidden="true" /> <span className="brand-name">omni</span>
        </h1>
        <nav className="tabs" aria-label={words.views}>
          {VIEWS.map((one) => (
            <a
              key={one}
              href={`#${one}`}
              className="tab"
              aria-current={shown === one ? "page" : undefined}
              aria-disabled={inCall && one !== "chat" && one !== mode ? true : undefined}
            >
              <Icon name={VIEW_ICONS[one]} /> {names[one]}
            </a>
          ))}
        </nav>
        <p className="model" data-away={typeof model === "string"}>
          {modelText(words, model)}
        </p>
        <button type="button" className="round plain" aria-label={words.settings} onClick={() => setSettingsOpen(true)}>
          <Icon name="sliders" />
        </button>
      </header>
      <div className="messages">
        {typeof model === "object" && model.untrained ? (
          <p className="banner">{words.untrained(model.name)}</p>
        ) : undefined}
        <NoticeBar
          text={text}
          onDismiss={dismiss}
          {...(locked ? { action: words.openSettings, onAction: () => setSettingsOpen(true) } : {})}
        />
      </div>
      <main id="content" tabIndex={-1}>
        {shown === "chat" ? (
          <ChatView
            chat={chat}
            settings={preferences.settings}
            aloud={preferences.readAloud}
            onAloud={(readAloud) => onChange({ ...preferences, readAloud })}
            onProblem={setProblem}
          />
        ) : (
          <CallView
            key={shown}
            call={call}
            mode={shown satisfies CallMode}
            theme={preferences.theme}
            onSettings={() => setSettingsOpen(true)}
          />
        )}
      </main>
      {settingsOpen ? (
        <SettingsDialog
          preferences={preferences}
          inCall={inCall}
          onChange={onChange}
          onClose={() => setSettingsOpen(false)}
        />
      ) : undefined}
    </div>
  )
}

export function App() {
  const [preferences, setPreferences] = useState(loadPreferences)
  const { locale, theme } = preferences
  useEffect(() => {
    document.documentElement.lang = LOCALES[locale].tag
    document.documentElement.dataset.theme = theme
    savePreferences(preferences)
  }, [preferences, locale, theme])
  return (
    <LocaleContext value={locale}>
      <Page preferences={preferences} onChange={setPreferences} />
    </LocaleContext>
  )
}
