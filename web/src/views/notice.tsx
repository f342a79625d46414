/** @file Messages that a person should see now, read out by screen readers. */
import { useMessages } from "../i18n/index.ts"
import { Icon } from "./icons.tsx"

export function NoticeBar({ text, onDismiss }: { text: string | undefined; onDismiss: () => void }) {
  const words = useMessages()
  return (
    <div className="notice-place" role="alert">
      {text === undefined ? undefined : (
        <div className="notice">
          <Icon name="info" />
          <p>{text}</p>
          <button type="button" className="round plain" aria-label={words.dismiss} onClick={onDismiss}>
            <Icon name="close" />
          </button>
        </div>
      )}
    </div>
  )
}
