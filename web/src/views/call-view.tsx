/** @file A voice or video call: the stage with its controls, and beside it what was said and measured. */
import { type FormEvent, useState } from "react"
import type { CallController } from "../call/call-controller.ts"
import { type CallMode, type Line, statusOf } from "../call/call-state.ts"
import { callText, fileName, saveFile } from "../export.ts"
import { STATUS_KEYS, useMessages } from "../i18n/index.ts"
import { useStore } from "../store.ts"
import { Dock } from "./dock.tsx"
import { Icon, type IconName } from "./icons.tsx"
import { Disc, LevelMeter } from "./meter.tsx"
import { Picture } from "./picture.tsx"
import { Speed } from "./speed.tsx"
import { Transcript } from "./transcript.tsx"

function TypeLine({ call, enabled }: { call: CallController; enabled: boolean }) {
  const words = useMessages()
  const [text, setText] = useState("")
  const submit = (event: FormEvent) => {
    event.preventDefault()
    call.dispatch({ type: "say", text, atMs: performance.now() })
    setText("")
  }
  return (
    <form className="type-line" onSubmit={submit}>
      <input
        type="text"
        value={text}
        disabled={!enabled}
        aria-label={words.typeInCall}
        placeholder={words.typeInCall}
        onChange={(event) => setText(event.target.value)}
      />
      <button type="submit" className="round" aria-label={words.send} disabled={!enabled || text.trim() === ""}>
        <Icon name="send" />
      </button>
    </form>
  )
}

/** What can be done with the conversation, beside the transcript's title. */
function Keep({ call }: { call: CallController }) {
  const words = useMessages()
  const { lines, phase } = useStore(call.state)
  if (lines.length === 0) return undefined
  const saveText = () => saveFile(fileName("txt"), new Blob([callText(lines, words)], { type: "text/plain" }))
  const saveWav = () => saveFile(fileName("wav"), new Blob([call.recording.wav()], { type: "audio/wav" }))
  return (
    <div className="tools">
      <ToolButton icon="save" label={words.exportText} onClick={saveText} />
      <ToolButton icon="sound" label={words.exportWav} hint={words.exportHint} onClick={saveWav} />
      {phase === "idle" ? (
        <ToolButton icon="trash" label={words.clearCall} onClick={() => call.dispatch({ type: "clear" })} />
      ) : undefined}
    </div>
  )
}

function ToolButton(props: { icon: IconName; label: string; onClick: () => void; hint?: string }) {
  const { icon, label, onClick, hint } = props
  return (
    <button type="button" className="round plain small" aria-label={label} title={hint ?? label} onClick={onClick}>
      <Icon name={icon} />
    </button>
  )
}

/** The settings that matter before a call, in a few words; they open the rest. */
function Chosen({ call, onSettings }: { call: CallController; onSettings: () => void }) {
  const words = useMessages()
  const { settings } = useStore(call.state)
  const { turns, voice, voiceDescription, language } = settings
  const languages = { auto: undefined, en: words.answerEn, zh: words.answerZh }
  const turnsName = turns === "push" ? words.pushToTalk : words.handsFree
  const voiceName =
    voiceDescription.trim() !== "" ? words.voiceDescribed : voice === "default" ? words.voiceDefault : words.voiceChosen
  return (
    <button type="button" className="chip chosen" onClick={onSettings}>
      <Icon name="sliders" />
      <span>{[turnsName, voiceName, languages[language]].filter((part) => part !== undefined).join(" · ")}</span>
    </button>
  )
}

/** The latest words, where the transcript is not in sight. The transcript is what screen readers get. */
function Caption({ line }: { line: Line | undefined }) {
  if (line?.text === undefined || line.text === "") return undefined
  return (
    <p className="caption" data-role={line.role} aria-hidden="true">
      <span>{line.text}</span>
    </p>
  )
}

type Props = { call: CallController; mode: CallMode; theme: string; onSettings: () => void }

export function CallView({ call, mode, theme, onSettings }: Props) {
  const words = useMessages()
  const state = useStore(call.state)
  const status = statusOf(state)
  const { phase, settings, lines, timings, queue } = state
  const idle = phase === "idle"
  const idleHint = mode === "video" ? words.idleVideoHint : words.idleHint
  const holdHint = matchMedia("(pointer: coarse)").matches ? words.holdHintTouch : words.holdHint
  const liveHint = settings.turns === "push" ? holdHint : words.handsFreeHint
  const waitHint = queue === undefined ? "" : words.queuedHint(queue.position)
  const hint = idle ? idleHint : phase === "live" ? liveHint : waitHint
  const empty = idle && lines.length === 0
  return (
    <div className="call" data-mode={mode} data-empty={empty}>
      <section className="stage" data-mode={mode} aria-label={mode === "video" ? words.viewVideo : words.viewVoice}>
        {mode === "video" ? <Picture call={call} /> : <Disc levels={call.levels} status={status} />}
        <div className="stage-words">
          <p className="status" role="status" data-status={status}>
            {words[STATUS_KEYS[status]]}
          </p>
          <p className="hint">{hint}</p>
        </div>
        {idle ? undefined : (
          <>
            <Caption line={lines.at(-1)} />
            <div className="levels">
              <LevelMeter label={words.levelYou} levels={call.levels} side="mic" />
              <LevelMeter label={words.levelModel} levels={call.levels} side="out" />
            </div>
          </>
        )}
        <Dock call={call} mode={mode} />
        {idle ? <Chosen call={call} onSettings={onSettings} /> : undefined}
      </section>
      {empty ? undefined : (
        <aside className="side" aria-label={words.transcript}>
          <Transcript lines={lines} tools={<Keep call={call} />} />
          {idle ? undefined : <TypeLine call={call} enabled={phase === "live"} />}
          {timings.length > 0 ? <Speed timings={timings} theme={theme} /> : undefined}
        </aside>
      )}
    </div>
  )
}
