/** @file A button that puts a text into the clipboard, and says so for a moment. */
import { useEffect, useState } from "react"
import { copyText } from "../export.ts"
import { useMessages } from "../i18n/index.ts"
import { Icon } from "./icons.tsx"

const SAID_MS = 2000

export function CopyButton({ text }: { text: string }) {
  const words = useMessages()
  const [copied, setCopied] = useState(false)
  useEffect(() => {
    if (!copied) return
    const timer = setTimeout(() => setCopied(false), SAID_MS)
    return () => clearTimeout(timer)
  }, [copied])
  return (
    <button type="button" className="chip copy" onClick={() => void copyText(text).then(setCopied)}>
      <Icon name={copied ? "check" : "copy"} /> <span aria-live="polite">{copied ? words.copied : words.copy}</span>
    </button>
  )
}
