/** @file Choosing a voice: one of the server's, five recorded seconds, a sound file, or a description. */
import { type ChangeEvent, useEffect, useRef, useState } from "react"
import { mediaFailure } from "../audio/microphone.ts"
import { CLIP_SECONDS, fileClip, recordClip } from "../audio/voice-clip.ts"
import type { CallSettings } from "../call/settings.ts"
import { useMessages } from "../i18n/index.ts"
import { addVoice, deleteVoice, fetchVoices, type Voice } from "../server/api.ts"
import { Icon } from "./icons.tsx"

type Props = { settings: CallSettings; inCall: boolean; onChange: (settings: CallSettings) => void }

export function VoiceSettings({ settings, inCall, onChange }: Props) {
  const words = useMessages()
  const [voices, setVoices] = useState<readonly Voice[]>([{ id: "default", name: "default" }])
  const [left, setLeft] = useState<number | undefined>(undefined)
  const [result, setResult] = useState("")
  const file = useRef<HTMLInputElement | null>(null)
  const abort = useRef<AbortController | undefined>(undefined)
  useEffect(() => {
    let shown = true
    // A server without voices offers its own; a call says clearly enough when the server is away.
    fetchVoices().then(
      (all) => shown && setVoices(all),
      () => undefined,
    )
    return () => {
      shown = false
      abort.current?.abort()
    }
  }, [])
  const known = voices.some(({ id }) => id === settings.voice)

  const store = async (clip: Blob | undefined) => {
    if (!clip) return setResult(words.voiceUnreadable)
    try {
      const voice = await addVoice(words.voiceName(new Date().toTimeString().slice(0, 8).replaceAll(":", ".")), clip)
      setVoices((all) => [...all, voice])
      onChange({ ...settings, voice: voice.id, voiceDescription: "" })
      setResult(words.voiceStored)
    } catch {
      setResult(words.voiceFailed)
    }
  }
  const record = async () => {
    abort.current = new AbortController()
    setResult("")
    setLeft(CLIP_SECONDS)
    try {
      await store(await recordClip(setLeft, abort.current.signal))
    } catch (error) {
      if (!abort.current.signal.aborted)
        setResult(mediaFailure(error) === "refused" ? words.noticeMicRefused : words.noticeMicMissing)
    } finally {
      setLeft(undefined)
    }
  }
  const forget = async () => {
    try {
      await deleteVoice(settings.voice)
      setVoices((all) => all.filter(({ id }) => id !== settings.voice))
      onChange({ ...settings, voice: "default" })
      setResult(words.voiceForgotten)
    } catch {
      setResult(words.voiceKept)
    }
  }
  const upload = async (event: ChangeEvent<HTMLInputElement>) => {
    const chosen = event.target.files?.[0]
    event.target.value = ""
    if (chosen) await store(await fileClip(chosen).catch(() => undefined))
  }

  return (
    <fieldset className="field-group">
      <legend>{words.voice}</legend>
      <label className="field">
        <span>{words.voiceBuiltIn}</span>
        <select value={settings.voice} onChange={(event) => onChange({ ...settings, voice: event.target.value })}>
          {known ? undefined : <option value={settings.voice}>{settings.voice}</option>}
          {voices.map(({ id, name }) => (
            <option key={id} value={id}>
              {id === "default" ? words.voiceDefault : name}
            </option>
          ))}
        </select>
      </label>
      <div className="row">
        <button type="button" className="chip" disabled={inCall || left !== undefined} onClick={() => void record()}>
          <Icon name="mic" /> {left === undefined ? words.voiceRecord : words.voiceRecording(left)}
        </button>
        <button type="button" className="chip" onClick={() => file.current?.click()}>
          <Icon name="clip" /> {words.voiceUpload}
        </button>
        {settings.voice === "default" ? undefined : (
          <button type="button" className="chip" disabled={inCall} onClick={() => void forget()}>
            <Icon name="trash" /> {words.voiceForget}
          </button>
        )}
        <input
          ref={file}
          type="file"
          accept="audio/*"
          hidden
          aria-label={words.voiceUpload}
          onChange={(event) => void upload(event)}
        />
      </div>
      <p className="hint" role="status">
        {result === "" ? words.voiceConsent : result}
      </p>
      <label className="field">
        <span>{words.voiceDescribe}</span>
        <input
          type="text"
          value={settings.voiceDescription}
          maxLength={300}
          placeholder={words.voiceDescribeExample}
          onChange={(event) => onChange({ ...settings, voiceDescription: event.target.value })}
        />
      </label>
    </fieldset>
  )
}
