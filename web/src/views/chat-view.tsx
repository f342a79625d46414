/** @file The chat: messages, and a place to write, drop and paste. */
import { type DragEvent, useState } from "react"
import type { CallSettings } from "../call/settings.ts"
import { type Attachment, AttachmentError, dropAttachment, readAttachment } from "../chat/attachments.ts"
import type { ChatController, ChatLine } from "../chat/chat-controller.ts"
import { chatText, fileName, saveFile } from "../export.ts"
import { useMessages } from "../i18n/index.ts"
import { useStore } from "../store.ts"
import { AttachmentView, Composer } from "./composer.tsx"
import { CopyButton } from "./copy-button.tsx"
import { Icon } from "./icons.tsx"
import { Markdown } from "./markdown.tsx"
import { useFollow } from "./transcript.tsx"

/** @param props.onRetry given for a message whose answer can be asked for again */
function Message({ line, onRetry }: { line: ChatLine; onRetry: (() => void) | undefined }) {
  const words = useMessages()
  const { role, text, attachments, state } = line
  return (
    <article className="message" data-role={role} aria-busy={state === "open"}>
      <h3 className="unseen">{role === "user" ? words.you : words.modelSays}</h3>
      {attachments.length > 0 ? (
        <div className="message-files">
          {attachments.map((one) => (
            <AttachmentView key={one.id} attachment={one} />
          ))}
        </div>
      ) : undefined}
      {text === "" && state === "open" ? <p className="waiting">{words.statusThinking}</p> : undefined}
      {text === "" ? undefined : role === "user" ? (
        <p className="message-text">{text}</p>
      ) : (
        <Markdown text={text} open={state === "open"} />
      )}
      <MessageFoot line={line} onRetry={onRetry} />
    </article>
  )
}

function MessageFoot({ line, onRetry }: { line: ChatLine; onRetry: (() => void) | undefined }) {
  const words = useMessages()
  const { role, text, state } = line
  if (role === "user" || state === "open") return undefined
  return (
    <div className="message-foot">
      {state === "done" ? undefined : <span className="tag">{words[state]}</span>}
      {text === "" ? undefined : <CopyButton text={text} />}
      {onRetry && state === "failed" ? (
        <button type="button" className="chip copy" onClick={onRetry}>
          <Icon name="retry" /> {words.retry}
        </button>
      ) : undefined}
    </div>
  )
}

type Props = {
  chat: ChatController
  settings: CallSettings
  aloud: boolean
  onAloud: (aloud: boolean) => void
  onProblem: (text: string | undefined) => void
}

export function ChatView({ chat, settings, aloud, onAloud, onProblem }: Props) {
  const words = useMessages()
  const { lines, busy, firstTextMs, spokenMs } = useStore(chat.state)
  const [text, setText] = useState("")
  const [attachments, setAttachments] = useState<readonly Attachment[]>([])
  const [reading, setReading] = useState(0)
  const [over, setOver] = useState(false)
  const follow = useFollow<HTMLDivElement>(lines)

  const addFiles = async (files: Iterable<File>) => {
    for (const file of files) {
      setReading((count) => count + 1)
      try {
        const attachment = await readAttachment(file)
        setAttachments((all) => [...all, attachment])
      } catch (error) {
        const kind = error instanceof AttachmentError ? error.kind : "unreadable"
        const tell = {
          "too-large": words.fileTooLarge,
          unreadable: words.fileUnreadable,
          "unknown-kind": words.fileUnknown,
        }
        onProblem(tell[kind](file.name))
      } finally {
        setReading((count) => count - 1)
      }
    }
  }
  const send = () => {
    if (busy || reading > 0) return
    onProblem(undefined)
    void chat.send(text, attachments, settings, aloud)
    setText("")
    setAttachments([])
  }
  const retry = () => {
    // The button goes away, and would take the keyboard's place on the page with it.
    follow.ref.current?.focus({ preventScroll: true })
    void chat.retry(settings, aloud)
  }
  const remove = (attachment: Attachment) => {
    dropAttachment(attachment)
    setAttachments((all) => all.filter((one) => one !== attachment))
  }
  const drag = (inside: boolean) => (event: DragEvent) => {
    event.preventDefault()
    setOver(inside)
  }
  const drop = (event: DragEvent) => {
    event.preventDefault()
    setOver(false)
    void addFiles([...event.dataTransfer.files])
  }
  const saveWav = () => saveFile(fileName("wav"), new Blob([chat.wav()], { type: "audio/wav" }))
  const saveText = () => saveFile(fileName("txt"), new Blob([chatText(lines, words)], { type: "text/plain" }))

  return (
    <section
      className="chat"
      aria-label={words.viewChat}
      data-over={over}
      onDragEnter={drag(true)}
      onDragOver={drag(true)}
      onDragLeave={drag(false)}
      onDrop={drop}
    >
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: keyboards must be able to scroll it. */}
      <div className="chat-log" role="log" aria-label={words.chatLog} tabIndex={0} {...follow}>
        <div className="chat-column">
          {lines.length === 0 ? (
            <div className="welcome">
              <h2>{words.chatWelcome}</h2>
              <p className="quiet">{words.chatHint}</p>
            </div>
          ) : undefined}
          {lines.map((line, i) => (
            <Message key={line.id} line={line} onRetry={i === lines.length - 1 ? retry : undefined} />
          ))}
        </div>
      </div>
      <div className="chat-column chat-foot">
        {lines.length === 0 ? undefined : (
          <div className="row chat-tools">
            <button type="button" className="chip" onClick={() => void chat.clear()}>
              <Icon name="chat" /> {words.newChat}
            </button>
            <button type="button" className="chip" onClick={saveText}>
              <Icon name="save" /> {words.exportText}
            </button>
            {spokenMs > 0 ? (
              <button type="button" className="chip" onClick={saveWav}>
                <Icon name="sound" /> {words.exportWav}
              </button>
            ) : undefined}
            <span className="hint">{firstTextMs === undefined ? "" : words.firstText(firstTextMs)}</span>
          </div>
        )}
        <Composer
          text={text}
          attachments={attachments}
          busy={busy}
          reading={reading > 0}
          aloud={aloud}
          onText={setText}
          onFiles={(files) => void addFiles(files)}
          onRemove={remove}
          onAloud={onAloud}
          onSend={send}
          onStop={() => void chat.stop()}
        />
      </div>
      <div className="drop-veil" aria-hidden="true">
        {words.dropHere}
      </div>
    </section>
  )
}
