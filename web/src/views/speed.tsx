/** @file How fast answers come: two figures and a small plot of the first sound. */
import { useEffect, useMemo, useRef, useSyncExternalStore } from "react"
import uPlot from "uplot"
import "uplot/dist/uPlot.min.css"
import type { Timing } from "../call/call-state.ts"
import { useMessages } from "../i18n/index.ts"

const HEIGHT = 96

function Plot({ values, label, theme }: { values: readonly number[]; label: string; theme: string }) {
  const element = useRef<HTMLDivElement | null>(null)
  // biome-ignore lint/correctness/useExhaustiveDependencies: the theme changes the colours that are read from the page.
  useEffect(() => {
    const host = element.current
    if (!host) return
    const style = getComputedStyle(host)
    const [ink, line, accent] = ["--muted", "--border", "--accent"].map((name) => {
      host.style.color = `var(${name})`
      return style.color
    }) as [string, string, string]
    host.style.color = ""
    const axis = {
      stroke: ink,
      grid: { stroke: line, width: 1 },
      ticks: { show: false },
      font: "11px system-ui",
      gap: 4,
    }
    const plot = new uPlot(
      {
        width: Math.max(120, host.clientWidth),
        height: HEIGHT,
        cursor: { show: false },
        legend: { show: false },
        padding: [8, 8, 8, 0],
        scales: { x: { time: false }, y: { range: (_plot, _low, high) => [0, Math.max(500, high * 1.1)] } },
        axes: [
          { ...axis, show: false },
          { ...axis, size: 40, values: (_plot, ticks) => ticks.map((tick) => `${tick}`) },
        ],
        series: [{}, { stroke: accent, width: 2, points: { show: true, size: 6, fill: accent, stroke: accent } }],
      },
      [values.map((_, i) => i + 1), [...values]],
      host,
    )
    const resize = new ResizeObserver(() => plot.setSize({ width: Math.max(120, host.clientWidth), height: HEIGHT }))
    resize.observe(host)
    return () => {
      resize.disconnect()
      plot.destroy()
    }
  }, [values, theme])
  return <div ref={element} className="plot" role="img" aria-label={label} />
}

/** Colours that follow the device change without the page being drawn anew. */
function useDark(): boolean {
  const query = useMemo(() => matchMedia("(prefers-color-scheme: dark)"), [])
  return useSyncExternalStore(
    (changed) => {
      query.addEventListener("change", changed)
      return () => query.removeEventListener("change", changed)
    },
    () => query.matches,
  )
}

export function Speed({ timings, theme }: { timings: readonly Timing[]; theme: string }) {
  const words = useMessages()
  const dark = useDark()
  const sounds = timings.flatMap(({ firstSoundMs }) => (firstSoundMs === undefined ? [] : [firstSoundMs])).slice(-30)
  const last = sounds.at(-1)
  const factor = timings.findLast(({ realTimeFactor }) => realTimeFactor !== undefined)?.realTimeFactor
  return (
    <section className="panel" aria-labelledby="speed-title">
      <h2 id="speed-title">{words.speed}</h2>
      <dl className="figures">
        <div title={words.firstSoundHint}>
          <dt>{words.firstSound}</dt>
          <dd data-test="first-sound">{last === undefined ? words.noFigure : words.milliseconds(last)}</dd>
        </div>
        <div title={words.realTimeFactorHint}>
          <dt>{words.realTimeFactor}</dt>
          <dd data-test="real-time-factor">{factor === undefined ? words.noFigure : factor.toFixed(2)}</dd>
        </div>
      </dl>
      {sounds.length > 1 ? (
        <Plot values={sounds} theme={`${theme} ${dark}`} label={words.latencyPlot(sounds.length)} />
      ) : undefined}
    </section>
  )
}
