/** @file The controls of a call. */
import { type KeyboardEvent, type PointerEvent, useEffect } from "react"
import type { CallController } from "../call/call-controller.ts"
import { answerSounds, type CallMode } from "../call/call-state.ts"
import { useMessages } from "../i18n/index.ts"
import { useStore } from "../store.ts"
import { Icon } from "./icons.tsx"

const inControl = (target: EventTarget | null) =>
  target instanceof Element && target.closest("button, input, textarea, select, a, [role=log], dialog") !== null

/** Space talks while it is held, Escape interrupts; neither while a control has the focus. */
function useCallKeys(call: CallController, push: boolean): void {
  useEffect(() => {
    const down = (event: globalThis.KeyboardEvent) => {
      if (event.key === "Escape" && document.querySelector("dialog[open]") === null)
        call.dispatch({ type: "interrupt" })
      if (event.key !== " " || event.repeat || !push || inControl(event.target)) return
      event.preventDefault()
      call.dispatch({ type: "talk-down" })
    }
    const up = (event: globalThis.KeyboardEvent) => {
      if (event.key === " ") call.dispatch({ type: "talk-up", atMs: performance.now() })
    }
    const away = () => call.dispatch({ type: "talk-up", atMs: performance.now() })
    window.addEventListener("keydown", down)
    window.addEventListener("keyup", up)
    window.addEventListener("blur", away)
    return () => {
      window.removeEventListener("keydown", down)
      window.removeEventListener("keyup", up)
      window.removeEventListener("blur", away)
    }
  }, [call, push])
}

function TalkButton({ call, talking }: { call: CallController; talking: boolean }) {
  const words = useMessages()
  const down = () => call.dispatch({ type: "talk-down" })
  const up = () => call.dispatch({ type: "talk-up", atMs: performance.now() })
  const isTalkKey = ({ key }: KeyboardEvent) => key === " " || key === "Enter"
  return (
    <button
      type="button"
      className="button talk"
      aria-pressed={talking}
      onPointerDown={(event: PointerEvent<HTMLButtonElement>) => {
        event.currentTarget.setPointerCapture(event.pointerId)
        down()
      }}
      onPointerUp={up}
      onPointerCancel={up}
      onContextMenu={(event) => event.preventDefault()}
      onKeyDown={(event) => {
        if (!isTalkKey(event) || event.repeat) return
        event.preventDefault()
        down()
      }}
      onKeyUp={(event) => isTalkKey(event) && up()}
      onBlur={up}
    >
      <Icon name="mic" /> {words.holdToTalk}
    </button>
  )
}

export function Dock({ call, mode }: { call: CallController; mode: CallMode }) {
  const words = useMessages()
  const state = useStore(call.state)
  const { phase, muted, talking, settings, answer } = state
  const push = settings.turns === "push"
  useCallKeys(call, push && phase === "live")
  if (phase === "idle") {
    return (
      <div className="dock">
        <button type="button" className="button primary" onClick={() => call.dial(mode)}>
          <Icon name={mode === "video" ? "video" : "phone"} /> {mode === "video" ? words.startVideo : words.startVoice}
        </button>
      </div>
    )
  }
  const live = phase === "live"
  const busy = live && (answerSounds(state) || answer?.running === true)
  return (
    <div className="dock">
      {push ? (
        live && <TalkButton call={call} talking={talking} />
      ) : (
        <button
          type="button"
          className="button"
          aria-pressed={muted}
          onClick={() => call.dispatch({ type: "mute", on: !muted })}
        >
          <Icon name={muted ? "micOff" : "mic"} /> {muted ? words.unmute : words.mute}
        </button>
      )}
      <button type="button" className="button" disabled={!busy} onClick={() => call.dispatch({ type: "interrupt" })}>
        <Icon name="stop" /> {words.interrupt}
      </button>
      <button type="button" className="button danger" onClick={() => call.hangUp()}>
        <Icon name="hangUp" /> {words.hangUp}
      </button>
    </div>
  )
}
