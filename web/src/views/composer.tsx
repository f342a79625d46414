/** @file Where a chat message is written, with its files: chosen, dropped or pasted. */
import { type FormEvent, type KeyboardEvent, useEffect, useRef } from "react"
import type { Attachment } from "../chat/attachments.ts"
import { useMessages } from "../i18n/index.ts"
import { Icon } from "./icons.tsx"

/** @param props.small a picture of it, to be looked at and not to be played */
export function AttachmentView({ attachment, small }: { attachment: Attachment; small?: boolean }) {
  const { kind, url, name } = attachment
  if (kind === "image") return <img src={url} alt={name} />
  if (kind === "video" && small) return <video src={url} muted playsInline preload="auto" aria-label={name} />
  // biome-ignore lint/a11y/useMediaCaption: the person's own file; nobody has written captions for it.
  if (kind === "audio") return <audio src={url} controls aria-label={name} />
  // biome-ignore lint/a11y/useMediaCaption: the person's own file; nobody has written captions for it.
  return <video src={url} controls playsInline aria-label={name} />
}

type Props = {
  text: string
  attachments: readonly Attachment[]
  busy: boolean
  reading: boolean
  aloud: boolean
  onText: (text: string) => void
  onFiles: (files: Iterable<File>) => void
  onRemove: (attachment: Attachment) => void
  onAloud: (aloud: boolean) => void
  onSend: () => void
  onStop: () => void
}

export function Composer(props: Props) {
  const words = useMessages()
  const file = useRef<HTMLInputElement | null>(null)
  const writing = useRef<HTMLTextAreaElement | null>(null)
  // Not where that would open a keyboard on the screen.
  useEffect(() => {
    if (matchMedia("(pointer: fine)").matches) writing.current?.focus({ preventScroll: true })
  }, [])
  const { text, attachments, busy, reading, aloud } = props
  const empty = text.trim() === "" && attachments.length === 0
  const submit = (event: FormEvent) => {
    event.preventDefault()
    props.onSend()
  }
  const onKeyDown = (event: KeyboardEvent<HTMLTextAreaElement>) => {
    // While an input method composes a word, Enter chooses it.
    if (event.key !== "Enter" || event.shiftKey || event.nativeEvent.isComposing) return
    event.preventDefault()
    props.onSend()
  }
  return (
    <form className="composer" onSubmit={submit}>
      {attachments.length > 0 || reading ? (
        <ul className="attachments">
          {attachments.map((one) => (
            <li key={one.id} className="attachment" data-kind={one.kind}>
              <AttachmentView attachment={one} small />
              <span className="attachment-name">{one.name}</span>
              <button
                type="button"
                className="round small"
                aria-label={words.removeFile(one.name)}
                onClick={() => props.onRemove(one)}
              >
                <Icon name="close" />
              </button>
            </li>
          ))}
          {reading ? <li className="quiet">{words.reading}</li> : undefined}
        </ul>
      ) : undefined}
      <div className="composer-row">
        <button type="button" className="round plain" aria-label={words.attach} onClick={() => file.current?.click()}>
          <Icon name="clip" />
        </button>
        <input
          ref={file}
          type="file"
          multiple
          hidden
          accept="image/*,audio/*,video/*"
          aria-label={words.attach}
          onChange={(event) => {
            props.onFiles([...(event.target.files ?? [])])
            event.target.value = ""
          }}
        />
        <textarea
          ref={writing}
          rows={1}
          value={text}
          aria-label={words.chatPlaceholder}
          placeholder={words.chatPlaceholder}
          onChange={(event) => props.onText(event.target.value)}
          onKeyDown={onKeyDown}
          onPaste={(event) => {
            const files = [...event.clipboardData.files]
            if (files.length === 0) return
            event.preventDefault()
            props.onFiles(files)
          }}
        />
        {busy ? (
          <button type="button" className="round" aria-label={words.stop} onClick={props.onStop}>
            <Icon name="stop" />
          </button>
        ) : (
          <button type="submit" className="round" aria-label={words.send} disabled={empty || reading}>
            <Icon name="send" />
          </button>
        )}
      </div>
      <label className="check">
        <input type="checkbox" checked={aloud} onChange={(event) => props.onAloud(event.target.checked)} />
        <span>{words.readAloud}</span>
      </label>
    </form>
  )
}
