/** @file The picture of a video call: the person's own, and in its corner what the model sees of it. */
import { useEffect, useRef, useState } from "react"
import { canShareScreen } from "../audio/microphone.ts"
import type { CallController } from "../call/call-controller.ts"
import { useMessages } from "../i18n/index.ts"
import { useStore } from "../store.ts"
import { Icon, type IconName } from "./icons.tsx"

export function Picture({ call }: { call: CallController }) {
  const words = useMessages()
  const { stream, kind, facing } = useStore(call.videoState)
  const video = useRef<HTMLVideoElement | null>(null)
  useEffect(() => {
    if (video.current) video.current.srcObject = stream ?? null
  }, [stream])
  return (
    <div className="picture" data-mirrored={kind === "camera" && facing === "user"}>
      {stream ? (
        <video ref={video} autoPlay muted playsInline aria-label={words.preview} />
      ) : (
        <p className="picture-off">
          <Icon name="video" /> {words.cameraOff}
        </p>
      )}
      <Seen call={call} />
      <PictureBar call={call} />
    </div>
  )
}

function PictureButton(props: {
  icon: IconName
  label: string
  onClick: () => void
  pressed?: boolean
  hint?: string
}) {
  const { icon, label, onClick, pressed, hint } = props
  return (
    <button type="button" className="chip" aria-pressed={pressed} title={hint ?? label} onClick={onClick}>
      <Icon name={icon} /> <span>{label}</span>
    </button>
  )
}

/** What the model is shown: the same buttons before and during a call. */
function PictureBar({ call }: { call: CallController }) {
  const words = useMessages()
  const { stream, kind, facing, hd } = useStore(call.videoState)
  const on = (wanted: "camera" | "screen") => stream !== undefined && kind === wanted
  const toggle = (wanted: "camera" | "screen") => () =>
    on(wanted) ? call.video.stop() : void call.video.start({ kind: wanted })
  const swap = () => void call.video.start({ facing: facing === "user" ? "environment" : "user" })
  const setHd = () => call.video.setHd(!hd)
  return (
    <div className="picture-bar">
      <PictureButton icon="video" label={words.camera} pressed={on("camera")} onClick={toggle("camera")} />
      {canShareScreen() ? (
        <PictureButton icon="screen" label={words.screen} pressed={on("screen")} onClick={toggle("screen")} />
      ) : undefined}
      {on("camera") ? <PictureButton icon="swap" label={words.switchCamera} onClick={swap} /> : undefined}
      <PictureButton icon="hd" label={words.hd} hint={words.hdHint} pressed={hd} onClick={setHd} />
    </div>
  )
}

/** The latest picture that was sent, small or large. */
function Seen({ call }: { call: CallController }) {
  const words = useMessages()
  const { seen } = useStore(call.videoState)
  const [large, setLarge] = useState(false)
  if (!seen) return undefined
  return (
    <figure className="seen" data-large={large}>
      <button type="button" aria-label={words.enlarge} aria-pressed={large} onClick={() => setLarge(!large)}>
        <img src={seen.url} width={seen.width} height={seen.height} alt={words.whatModelSees} />
      </button>
      <figcaption>
        <span>
          <Icon name="eye" /> {words.whatModelSees}
        </span>
        <span className="seen-size">{words.seenSize(seen.width, seen.height)}</span>
      </figcaption>
    </figure>
  )
}
