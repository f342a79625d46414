/** @file The engine in this thread, on the recorded checkpoint, with every message cloned as on its way to a worker. */
import { readFileSync } from "node:fs"
import { setImmediate } from "node:timers/promises"
import { readWavMono, resample } from "../audio/index.ts"
import { CHECKPOINT } from "../convert/folders.test-util.node.ts"
import type { AnswerEvent, CallOptions, RespondOptions } from "../session/index.ts"
import { EngineClient } from "./client.ts"
import type { EngineCall } from "./engine.ts"
import { EngineHost } from "./host.ts"
import { loadModel } from "./load.node.ts"
import type { EngineEvent } from "./messages.ts"

export async function loadTinyEngine(): Promise<EngineClient> {
  const listeners: ((event: EngineEvent) => void)[] = []
  const host = new EngineHost({
    load: loadModel,
    post: (event) => {
      const copy = structuredClone(event)
      for (const listener of listeners) listener(copy)
    },
    breathe: () => setImmediate(),
  })
  const engine = new EngineClient({
    post: (command) => void host.handle(structuredClone(command)),
    onEvent: (listener) => void listeners.push(listener),
    onExit: () => {},
    close: async () => {},
  })
  await engine.load({ model: CHECKPOINT, device: "cpu", quantize: "none", threads: 1, cacheFolder: "cache" })
  return engine
}

export const GREEDY: CallOptions = { temperature: 0, repetitionPenalty: 1, maxNewTokens: 9 }

/** A tone that changes, so many samples at 16 kHz. */
export const tone = (samples: number, pitch = 1) =>
  Float32Array.from({ length: samples }, (_, i) => 0.3 * Math.sin((i * pitch) / 30))

export async function answer(call: EngineCall, options: RespondOptions = { speak: false }) {
  const events: AnswerEvent[] = []
  for await (const event of call.respond(options)) events.push(event)
  return events
}

export const textOf = (events: readonly AnswerEvent[]) =>
  events.flatMap((event) => (event.type === "text-delta" ? [event.text] : [])).join("")

export function endOf(events: readonly AnswerEvent[]) {
  const end = events.at(-1)
  if (end?.type !== "turn-end") throw new Error("an answer without an end")
  return end
}

/** A sentence of 3.4 seconds at 16 kHz. */
export function recordedSentence(): Float32Array {
  const file = new URL("../../test/fixtures/tiny-a/assets/audio/speech_en.wav", import.meta.url)
  const { pcm, sampleRateHz } = readWavMono(readFileSync(file), "speech_en.wav")
  return resample(pcm, sampleRateHz, 16_000)
}
