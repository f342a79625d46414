/**
 * @file An engine without a model for tests of the HTTP side: it answers with what it was asked, word by word, and keeps
 * every question. What it does is chosen by the last message's text.
 */
import { setTimeout as sleep } from "node:timers/promises"
import type { Engine } from "../engine/index.ts"
import { type AnswerEvent, type ChatOptions, textUsage } from "../session/index.ts"
import { BackendError } from "../util/index.ts"
import { echoEngine } from "./realtime-engine.test-util.ts"

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

export type FakeEngine = Engine & { readonly questions: ChatOptions[]; running: number; mostRunning: number }

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

/** `slow`: 20 ms per word. `silent`: nothing until cancelled. `crash`: the engine dies after one word. `broken`: our mistake. */
export function fakeEngine(): FakeEngine {
  const engine: FakeEngine = {
    ...echoEngine(),
    info: INFO,
    questions: [],
    running: 0,
    mostRunning: 0,
    async *chat(options, signal): AsyncGenerator<AnswerEvent, void, void> {
      engine.questions.push(options)
      engine.running++
      engine.mostRunning = Math.max(engine.mostRunning, engine.running)
      try {
        yield* answer(options, signal)
      } finally {
        engine.running--
      }
    },
  }
  return engine
}

async function* answer(options: ChatOptions, signal?: AbortSignal): AsyncGenerator<AnswerEvent, void, void> {
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
    for (const city of asked.includes("two") ? ["Paris", "Rome"] : ["Paris"])
      yield { type: "tool-call", call: { name, arguments: JSON.stringify({ city }) } }
  }
  let audioMs = 0
  for (const word of text.match(/\s*\S+/g) ?? []) {
    if (asked.includes("slow")) await sleep(20, undefined, { signal })
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

/** A source whose engine is always there. */
export const steady = (engine: Engine) => ({ engine, ready: true, starts: 1 })
