/**
 * @file The one engine without a model for tests of the server: questions are answered with what was asked, word by word, as
 * the last message's text chooses; calls are those of fake-call.test-util.ts. It can die and come back.
 */
import { setTimeout as sleep } from "node:timers/promises"
import { type Engine, IDLE } from "../engine/index.ts"
import { type AnswerEvent, type ChatOptions, textUsage } from "../session/index.ts"
import { BackendError } from "../util/index.ts"
import type { EngineSource } from "./context.ts"
import { callInPieces, type FakeCall, fakeCall } from "./fake-call.test-util.ts"

const INFO: Engine["info"] = {
  name: "fake",
  device: "cpu",
  quantize: "none",
  layers: 1,
  hiddenSize: 8,
  vocabSize: 32,
  loadMs: 1,
  sees: true,
  hears: true,
  speaks: true,
  untrained: false,
}

export type FakeEngine = Omit<Engine, "chat"> &
  EngineSource & {
    chat: Engine["chat"]
    readonly questions: ChatOptions[]
    /** Open and closed ones, in the order of their opening. */
    readonly calls: readonly FakeCall[]
    /** Commands that calls received. */
    readonly log: string[]
    running: number
    mostRunning: number
    /** Pause before each word of a call's answer. */
    stepMs: number
    /** Everything fails from now on, as when the engine's process is gone. */
    die(): void
    /** Another engine takes its place. */
    revive(): void
    /** Lets answers go on that are `held`, the coming ones as well. */
    release(): void
  }

/** The text of the last message; sound and pictures as their sizes. */
export function spokenText({ messages }: ChatOptions): string {
  const { content } = messages.at(-1)!
  if (typeof content === "string") return content
  const words = content.map((part) => {
    if (part.type === "text") return part.text
    return part.type === "image"
      ? `[image ${part.image.width}x${part.image.height}]`
      : `[sound ${part.audio.pcm.length}]`
  })
  return words.join(" ")
}

/**
 * `slow`: 20 ms per word. `held`: after one word nothing until released. `silent`: nothing until cancelled. `crash`: the engine
 * dies after one word. `broken`: our mistake.
 */
export function fakeEngine(stepMs = 2): FakeEngine {
  let life = new AbortController()
  const released = new AbortController()
  const calls: FakeCall[] = []
  const check = () => {
    if (life.signal.aborted) throw new BackendError("engine: expected a live engine, got: killed")
  }
  const engine: FakeEngine = {
    info: INFO,
    ...{ questions: [], calls, log: [], running: 0, mostRunning: 0, stepMs },
    starts: 1,
    hangs: 0,
    get engine() {
      return engine
    },
    get ready() {
      return !life.signal.aborted
    },
    async *chat(options, signal): AsyncGenerator<AnswerEvent, void, void> {
      check()
      engine.questions.push(options)
      engine.running++
      engine.mostRunning = Math.max(engine.mostRunning, engine.running)
      try {
        yield* answer(options, released.signal, signal)
      } finally {
        engine.running--
      }
    },
    async call(options, parts = {}) {
      check()
      const { log } = engine
      const made = fakeCall(options, { ...parts, log, stepMs: () => engine.stepMs, alive: life.signal })
      calls.push(made)
      return made
    },
    async stats() {
      check()
      const openCalls = calls.filter(({ isOpen }) => isOpen).length
      return { ...IDLE, activeTasks: engine.running, openCalls, answering: 0, memoryBytes: 1 }
    },
    async whenReady(signal) {
      while (life.signal.aborted) await sleep(2, undefined, { signal })
    },
    die: () => life.abort(),
    revive() {
      life = new AbortController()
    },
    release: () => released.abort(),
  }
  return engine
}

async function* answer(
  options: ChatOptions,
  released: AbortSignal,
  signal?: AbortSignal,
): AsyncGenerator<AnswerEvent, void, void> {
  signal?.throwIfAborted()
  const asked = spokenText(options)
  if (asked.includes("silent")) await sleep(60_000, undefined, { signal })
  if (asked.includes("broken")) throw new Error("internal: a secret of the engine")
  const { format, tools = [], maxNewTokens = 1000 } = options
  let text = `You said: ${asked}`
  if (format?.type === "json-schema" || format?.type === "json-object") text = '{"city": "Paris", "n": 3}'
  let finishReason: Extract<AnswerEvent, { type: "turn-end" }>["finishReason"] = "stop"
  let said = ""
  let count = 0
  const calls = format?.type === "tool-call" || (tools.length > 0 && asked.includes("weather"))
  if (calls) {
    text = ""
    finishReason = "tool-calls"
    const name = (format?.type === "tool-call" && format.name) || tools[0]!.name
    for (const [index, city] of (asked.includes("two") ? ["Paris", "Rome"] : ["Paris"]).entries())
      yield* callInPieces(index, name, JSON.stringify({ city }))
  }
  let audioMs = 0
  for (const word of text.match(/\s*\S+/g) ?? []) {
    if (asked.includes("slow")) await sleep(20, undefined, { signal })
    if (count === 1 && asked.includes("held")) await aborted(signal ? AbortSignal.any([released, signal]) : released)
    signal?.throwIfAborted()
    if (count >= maxNewTokens) {
      finishReason = "length"
      break
    }
    count++
    said += word
    const bytes = [...Buffer.from(word)]
    const logprob = { token: word, bytes, logprob: -0.5 }
    const top = options.logprobs ? [logprob] : []
    yield {
      type: "text-delta",
      text: word,
      ...(options.logprobs === undefined ? {} : { logprobs: [{ ...logprob, top }] }),
    }
    if (options.speak) {
      yield { type: "audio-delta", pcm: new Float32Array(2400).fill(0.25), text: word }
      audioMs += 100
    }
    if (asked.includes("crash")) throw new BackendError("engine: expected it to run on, got: killed")
  }
  const timings = {
    prefillMs: 1,
    firstTextMs: 2,
    totalMs: 10,
    decodeMs: 5,
    speechMs: 4,
    ...(audioMs > 0 ? { firstAudioMs: 3 } : {}),
  }
  yield {
    type: "turn-end",
    finishReason,
    text: said,
    audioMs,
    promptTokens: 7,
    completionTokens: count,
    usage: textUsage(7, count),
    timings,
  }
}

const aborted = (signal: AbortSignal) =>
  new Promise<void>((resolve) => {
    if (signal.aborted) resolve()
    else signal.addEventListener("abort", () => resolve(), { once: true })
  })
