/** @file A voice or video call: the stage with its controls, and beside it what was said, seen and measured. */
import { type FormEvent, useState } from "react"
import type { CallController } from "../call/call-controller.ts"
import { type CallMode, statusOf } from "../call/call-state.ts"
import { callText, fileName, saveFile } from "../export.ts"
import { STATUS_KEYS, useMessages } from "../i18n/index.ts"
import { useStore } from "../store.ts"
import { Dock } from "./dock.tsx"
import { Icon } from "./icons.tsx"
import { Disc, LevelMeter } from "./meter.tsx"
import { Picture, Seen } from "./picture.tsx"
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

function Keep({ call }: { call: CallController }) {
  const words = useMessages()
  const { lines, phase } = useStore(call.state)
  const saveText = () => saveFile(fileName("txt"), new Blob([callText(lines, words)], { type: "text/plain" }))
  const saveWav = () => saveFile(fileName("wav"), new Blob([call.recording.wav()], { type: "audio/wav" }))
  const empty = lines.length === 0
  return (
    <section className="panel" aria-labelledby="keep-title">
      <h2 id="keep-title">{words.exportTitle}</h2>
      <div className="row">
        <button type="button" className="chip" disabled={empty} onClick={saveText}>
          <Icon name="save" /> {words.exportText}
        </button>
        <button type="button" className="chip" disabled={empty} onClick={saveWav}>
          <Icon name="save" /> {words.exportWav}
        </button>
        <button
          type="button"
          className="chip"
          disabled={empty || phase !== "idle"}
          onClick={() => call.dispatch({ type: "clear" })}
        >
          <Icon name="trash" /> {words.clearCall}
        </button>
      </div>
      <p className="hint">{words.exportHint}</p>
    </section>
  )
}

export function CallView({ call, mode, theme }: { call: CallController; mode: CallMode; theme: string }) {
  const words = useMessages()
  const state = useStore(call.state)
  const status = statusOf(state)
  const { phase, settings, lines, timings } = state
  const hint = phase === "idle" ? words.idleHint : settings.turns === "push" ? words.holdHint : words.handsFreeHint
  return (
    <div className="call" data-mode={mode}>
      <section className="stage" aria-label={mode === "video" ? words.viewVideo : words.viewVoice}>
        {mode === "video" ? <Picture call={call} /> : <Disc levels={call.levels} status={status} />}
        <div className="stage-words">
          <p className="status" role="status" data-status={status}>
            {words[STATUS_KEYS[status]]}
          </p>
          <p className="hint">{hint}</p>
        </div>
        <div className="levels" hidden={phase === "idle"}>
          <LevelMeter label={words.levelYou} levels={call.levels} side="mic" />
          <LevelMeter label={words.levelModel} levels={call.levels} side="out" />
        </div>
        <Dock call={call} mode={mode} />
      </section>
      <aside className="side" aria-label={words.transcript}>
        {mode === "video" ? <Seen call={call} /> : undefined}
        <Transcript lines={lines} />
        <TypeLine call={call} enabled={phase === "live"} />
        <Speed timings={timings} theme={theme} />
        <Keep call={call} />
      </aside>
    </div>
  )
}
