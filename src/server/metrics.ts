/** @file What the server measures, for Prometheus. A registry per server, so that several in one process do not mix. */
import { Counter, Gauge, Histogram, Registry } from "prom-client"
import type { EngineStats } from "../engine/index.ts"
import type { AnswerEvent } from "../session/index.ts"

/** Levels that are read when somebody asks. */
export type Levels = {
  readonly sessions: () => number
  readonly sessionsWaiting: () => number
  readonly behindSeconds: () => number
  readonly running: () => number
  readonly waiting: () => number
  readonly ready: () => boolean
  readonly engineStarts: () => number
  readonly engineHangs: () => number
  readonly stats: () => Promise<EngineStats | undefined>
}

export type Metrics = ReturnType<typeof createMetrics>

export function createMetrics(levels: Levels) {
  const registers = [new Registry()] as const
  const [registry] = registers
  const gauge = (name: string, help: string, read: () => number) =>
    new Gauge({
      name,
      help,
      registers: [...registers],
      collect() {
        this.set(read())
      },
    })
  gauge("omni_realtime_sessions", "Open Realtime sessions", levels.sessions)
  gauge("omni_requests_running", "Requests that the engine works on", levels.running)
  gauge("omni_requests_waiting", "Requests in the queue", levels.waiting)
  gauge("omni_realtime_waiting", "Realtime connections in the queue", levels.sessionsWaiting)
  gauge("omni_realtime_behind_seconds", "Sound that the slowest session waits to be heard", levels.behindSeconds)
  gauge("omni_ready", "1 when the engine takes work", () => (levels.ready() ? 1 : 0))
  gauge("omni_engine_starts", "How often the engine was started", levels.engineStarts)
  gauge("omni_engine_hangs", "How often the engine was ended because it hung", levels.engineHangs)
  gauge("omni_server_memory_bytes", "Resident memory of the server process", () => process.memoryUsage.rss())
  const memory = new Gauge({
    name: "omni_engine_memory_bytes",
    help: "Resident memory of the engine",
    registers: [...registers],
  })
  const tasks = new Gauge({
    name: "omni_engine_tasks",
    help: "Pieces of work that take turns in the engine",
    registers: [...registers],
  })
  const calls = new Gauge({ name: "omni_engine_calls", help: "Open calls in the engine", registers: [...registers] })
  const busy = new Gauge({
    name: "omni_engine_busy",
    help: "Share of the last ten seconds in which the engine computed",
    registers: [...registers],
  })
  const step = new Gauge({
    name: "omni_engine_step_seconds",
    help: "Length of the engine's steps that one in twenty exceeds",
    registers: [...registers],
  })
  const requests = new Counter({
    name: "omni_requests_total",
    help: "Requests by route and status",
    labelNames: ["route", "status"],
    registers: [...registers],
  })
  const cuts = new Counter({
    name: "omni_realtime_cut_total",
    help: "Realtime connections that the server ended, by reason",
    labelNames: ["reason"],
    registers: [...registers],
  })
  const promptTokens = new Counter({
    name: "omni_prompt_tokens_total",
    help: "Positions read",
    registers: [...registers],
  })
  const completionTokens = new Counter({
    name: "omni_completion_tokens_total",
    help: "Tokens written",
    registers: [...registers],
  })
  const seconds = (name: string, help: string) =>
    new Histogram({ name, help, buckets: [0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 16, 32, 64], registers: [...registers] })
  const duration = seconds("omni_request_seconds", "Time of a request")
  const firstText = seconds("omni_first_text_seconds", "Time from question to first text")
  const firstSound = seconds("omni_first_sound_seconds", "Time from question to first sound")
  const soundFactor = new Histogram({
    name: "omni_speech_real_time_factor",
    help: "Time of an answer divided by the length of its sound: below 1 keeps up",
    buckets: [0.1, 0.25, 0.5, 0.75, 1, 1.5, 2, 4, 8],
    registers: [...registers],
  })
  return {
    request(route: string, status: number, ms: number): void {
      requests.inc({ route, status })
      duration.observe(ms / 1000)
    },
    cut(reason: string): void {
      cuts.inc({ reason })
    },
    answer(event: Extract<AnswerEvent, { type: "turn-end" }>): void {
      const { timings, audioMs } = event
      promptTokens.inc(event.promptTokens)
      completionTokens.inc(event.completionTokens)
      if (timings.firstTextMs !== undefined) firstText.observe(timings.firstTextMs / 1000)
      if (timings.firstAudioMs !== undefined) firstSound.observe(timings.firstAudioMs / 1000)
      if (audioMs > 0) soundFactor.observe(timings.totalMs / audioMs)
    },
    contentType: registry.contentType,
    async print(): Promise<string> {
      const stats = await levels.stats()
      if (stats) {
        memory.set(stats.memoryBytes)
        tasks.set(stats.activeTasks)
        calls.set(stats.openCalls)
        busy.set(stats.busy)
        step.set(stats.stepMs.p95 / 1000)
      }
      return registry.metrics()
    },
  }
}
