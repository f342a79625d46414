/** @file Messages that a person should see now, read out by screen readers. */
import { useMessages } from "../i18n/index.ts"
import { Icon } from "./icons.tsx"

type Props = {
  text: string | undefined
  onDismiss: () => void
  /** What helps, as a button. */
  action?: string
  onAction?: () => void
}

export function NoticeBar({ text, onDismiss, action, onAction }: Props) {
  const words = useMessages()
  return (
    <div className="notice-place" role="alert">
      {text === undefined ? undefined : (
        <div className="notice">
          <Icon name="info" />
          <p>{text}</p>
          {action === undefined ? undefined : (
            <button type="button" className="chip" onClick={onAction}>
              {action}
            </button>
          )}
          <button type="button" className="round plain" aria-label={words.dismiss} onClick={onDismiss}>
            <Icon name="close" />
          </button>
        </div>
      )}
    </div>
  )
}
