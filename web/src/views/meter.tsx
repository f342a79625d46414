/** @file Level meters and the disc that breathes with both voices. They read levels once per frame, beside React. */
import { useEffect, useRef } from "react"
import type { Levels } from "../audio/levels.ts"
import type { CallStatus } from "../call/call-state.ts"

/** Calls back once per frame while the view is shown. */
export function useFrames(draw: () => void): void {
  const latest = useRef(draw)
  latest.current = draw
  useEffect(() => {
    let frame = 0
    const next = () => {
      latest.current()
      frame = requestAnimationFrame(next)
    }
    frame = requestAnimationFrame(next)
    return () => cancelAnimationFrame(frame)
  }, [])
}

export function LevelMeter({ label, levels, side }: { label: string; levels: Levels; side: keyof Levels }) {
  const meter = useRef<HTMLMeterElement | null>(null)
  const bar = useRef<HTMLDivElement | null>(null)
  const shown = useRef(0)
  useFrames(() => {
    shown.current = Math.max(levels[side], shown.current * 0.9)
    const percent = Math.round(100 * shown.current)
    if (meter.current === null || meter.current.value === percent) return
    meter.current.value = percent
    bar.current?.style.setProperty("--level", String(shown.current))
  })
  return (
    <div className="level">
      <span aria-hidden="true">{label}</span>
      <meter ref={meter} className="unseen" min={0} max={100} value={0} aria-label={label} />
      <div ref={bar} className="level-bar" aria-hidden="true" />
    </div>
  )
}

/** Decoration: grows with whoever speaks. */
export function Disc({ levels, status }: { levels: Levels; status: CallStatus }) {
  const element = useRef<HTMLDivElement | null>(null)
  const shown = useRef({ mic: 0, out: 0 })
  useFrames(() => {
    for (const side of ["mic", "out"] as const) {
      shown.current[side] += 0.25 * (levels[side] - shown.current[side])
      element.current?.style.setProperty(`--${side}`, shown.current[side].toFixed(3))
    }
  })
  return (
    <div ref={element} className="disc" data-status={status} aria-hidden="true">
      <div className="disc-glow" />
      <div className="disc-ring" />
      <div className="disc-core" />
    </div>
  )
}
