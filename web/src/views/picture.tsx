/** @file The picture of a video call: the person's own, and what the model sees of it. */
import { useEffect, useRef } from "react"
import type { CallController } from "../call/call-controller.ts"
import { useMessages } from "../i18n/index.ts"
import { useStore } from "../store.ts"
import { Icon } from "./icons.tsx"

export function Picture({ call }: { call: CallController }) {
  const words = useMessages()
  const { stream, kind, facing, hd } = useStore(call.videoState)
  const video = useRef<HTMLVideoElement | null>(null)
  useEffect(() => {
    if (video.current) video.current.srcObject = stream ?? null
  }, [stream])
  const source = (wanted: "camera" | "screen") => void call.video.start({ kind: wanted })
  return (
    <div className="picture">
      <div className="picture-frame" data-mirrored={kind === "camera" && facing === "user"}>
        {stream ? (
          <video ref={video} autoPlay muted playsInline aria-label={words.preview} />
        ) : (
          <p className="quiet">{words.cameraOff}</p>
        )}
      </div>
      <div className="picture-bar">
        <button
          type="button"
          className="chip"
          aria-pressed={!!stream && kind === "camera"}
          onClick={() => source("camera")}
        >
          <Icon name="video" /> {words.camera}
        </button>
        <button
          type="button"
          className="chip"
          aria-pressed={!!stream && kind === "screen"}
          onClick={() => source("screen")}
        >
          <Icon name="screen" /> {words.screen}
        </button>
        <button
          type="button"
          className="chip"
          disabled={!stream || kind !== "camera"}
          onClick={() => void call.video.start({ facing: facing === "user" ? "environment" : "user" })}
        >
          <Icon name="swap" /> {words.switchCamera}
        </button>
        <button
          type="button"
          className="chip"
          aria-pressed={hd}
          title={words.hdHint}
          onClick={() => call.video.setHd(!hd)}
        >
          {words.hd}
        </button>
        {stream ? (
          <button type="button" className="chip" onClick={() => call.video.stop()}>
            <Icon name="close" /> {words.stopCamera}
          </button>
        ) : undefined}
      </div>
    </div>
  )
}

export function Seen({ call }: { call: CallController }) {
  const words = useMessages()
  const { seen } = useStore(call.videoState)
  return (
    <section className="panel" aria-labelledby="seen-title">
      <h2 id="seen-title">
        <Icon name="eye" /> {words.whatModelSees}
      </h2>
      {seen ? (
        <figure className="seen">
          <img src={seen.url} width={seen.width} height={seen.height} alt={words.whatModelSees} />
          <figcaption>{words.seenSize(seen.width, seen.height)}</figcaption>
        </figure>
      ) : (
        <p className="quiet">{words.nothingSeen}</p>
      )}
    </section>
  )
}
