/** @file The controls of a call: round buttons with their names below, as people know them from telephones. */
import { type KeyboardEvent, type PointerEvent, useEffect, useRef } from "react"
import type { CallController } from "../call/call-controller.ts"
import { answerSounds, type CallMode } from "../call/call-state.ts"
import { useMessages } from "../i18n/index.ts"
import { useStore } from "../store.ts"
import { Icon, type IconName } from "./icons.tsx"

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

type CallButtonProps = {
  icon: IconName
  label: string
  onClick: () => void
  pressed?: boolean
  disabled?: boolean
  danger?: boolean
}

function CallButton({ icon, label, onClick, pressed, disabled, danger }: CallButtonProps) {
  return (
    <button
      type="button"
      className="call-button"
      aria-pressed={pressed}
      disabled={disabled}
      data-danger={danger}
      onClick={onClick}
    >
      <span className="call-button-disc">
        <Icon name={icon} />
      </span>
      {label}
    </button>
  )
}

function TalkButton({ call, talking }: { call: CallController; talking: boolean }) {
  const words = useMessages()
  const down = () => call.dispatch({ type: "talk-down" })
  const up = () => call.dispatch({ type: "talk-up", atMs: performance.now() })
  const isTalkKey = ({ key }: KeyboardEvent) => key === " " || key === "Enter"
  return (
    <button
      type="button"
      className="call-button talk"
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
      <span className="call-button-disc">
        <Icon name="mic" />
      </span>
      {words.holdToTalk}
    </button>
  )
}

/** A button that goes away takes the focus with it: keyboards go on with the first of the new ones. */
function useKeptFocus(idle: boolean) {
  const dock = useRef<HTMLDivElement | null>(null)
  const was = useRef(idle)
  useEffect(() => {
    if (was.current === idle) return
    was.current = idle
    if (document.activeElement === document.body)
      dock.current?.querySelector<HTMLButtonElement>("button:enabled")?.focus()
  }, [idle])
  return dock
}

export function Dock({ call, mode }: { call: CallController; mode: CallMode }) {
  const words = useMessages()
  const state = useStore(call.state)
  const { phase, muted, talking, settings, answer } = state
  const push = settings.turns === "push"
  const idle = phase === "idle"
  const dock = useKeptFocus(idle)
  useCallKeys(call, push && phase === "live")
  if (idle) {
    return (
      <div className="dock" ref={dock}>
        <button type="button" className="button primary" onClick={() => call.dial(mode)}>
          <Icon name={mode === "video" ? "video" : "phone"} /> {mode === "video" ? words.startVideo : words.startVoice}
        </button>
      </div>
    )
  }
  const busy = phase === "live" && (answerSounds(state) || answer?.running === true)
  return (
    <div className="dock" ref={dock}>
      {push ? undefined : (
        <CallButton
          icon={muted ? "micOff" : "mic"}
          label={muted ? words.unmute : words.mute}
          pressed={muted}
          onClick={() => call.dispatch({ type: "mute", on: !muted })}
        />
      )}
      <CallButton
        icon="stop"
        label={words.interrupt}
        disabled={!busy}
        onClick={() => call.dispatch({ type: "interrupt" })}
      />
      {push && phase === "live" ? <TalkButton call={call} talking={talking} /> : undefined}
      <CallButton icon="hangUp" label={words.hangUp} danger onClick={() => call.hangUp()} />
    </div>
  )
}
