/** @file What was said, turn by turn. */
import { type ReactNode, useEffect, useRef } from "react"
import type { Line } from "../call/call-state.ts"
import { useMessages } from "../i18n/index.ts"

/** Keeps a scrolled list at its end, unless the person scrolled up. */
export function useFollow<T extends HTMLElement>(content: unknown) {
  const element = useRef<T | null>(null)
  const following = useRef<boolean>(true)
  // biome-ignore lint/correctness/useExhaustiveDependencies: new content is the reason to scroll.
  useEffect(() => {
    const { current } = element
    if (!current) return
    const toEnd = () => {
      if (following.current) current.scrollTop = current.scrollHeight
    }
    toEnd()
    // Pictures that load, and words that are drawn later, make it longer still.
    const growing = new ResizeObserver(toEnd)
    if (current.lastElementChild) growing.observe(current.lastElementChild)
    return () => growing.disconnect()
  }, [content])
  const onScroll = () => {
    const { current } = element
    if (current) following.current = current.scrollHeight - current.scrollTop - current.clientHeight < 48
  }
  return { ref: element, onScroll }
}

export function Transcript({ lines, tools }: { lines: readonly Line[]; tools: ReactNode }) {
  const words = useMessages()
  const follow = useFollow<HTMLDivElement>(lines)
  return (
    <section className="panel transcript" aria-labelledby="transcript-title">
      <header className="panel-head">
        <h2 id="transcript-title">{words.transcript}</h2>
        {tools}
      </header>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: keyboards must be able to scroll it. */}
      <div className="transcript-lines" role="log" tabIndex={0} aria-labelledby="transcript-title" {...follow}>
        {lines.length === 0 ? <p className="quiet">{words.transcriptEmpty}</p> : undefined}
        {lines.map(({ id, role, text, state }) => (
          <p key={id} className="line" data-role={role} aria-busy={state === "open"}>
            <span className="line-name">{role === "user" ? words.you : words.modelSays}</span>
            <span className="line-text" data-state={state}>
              {text === undefined || text === "" ? <em>{state === "open" ? "…" : words.spokenTurn}</em> : text}
              {state === "cut" ? <span className="tag">{words.cutShort}</span> : undefined}
            </span>
          </p>
        ))}
      </div>
    </section>
  )
}
