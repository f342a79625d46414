/** @file An engine without a model: loud sound is speech, answers are the same few words, slowly enough to interrupt. */
import { setTimeout as sleep } from "node:timers/promises"
import type { CallParts, Engine, EngineCall } from "../engine/index.ts"
import { type AnswerEvent, type CallOptions, textUsage } from "../session/index.ts"

export const WORDS = ["One ", "two ", "three ", "four."]

/** @param log gets the commands that calls received */
export function echoEngine(log: string[] = [], stepMs = 2): Engine {
  async function* answer(stopped: () => boolean, speak: boolean): AsyncGenerator<AnswerEvent, void, void> {
    let text = ""
    for (const word of WORDS) {
      await sleep(stepMs)
      if (stopped()) break
      text += word
      yield { type: "text-delta", text: word }
      if (speak) yield { type: "audio-delta", pcm: new Float32Array(4800).fill(0.1), text: word }
    }
    const audioMs = speak ? (text.split(" ").length - 1) * 200 : 0
    const timings = { prefillMs: 1, firstTextMs: 2, totalMs: 10, decodeMs: 5, speechMs: 4 }
    const finishReason = stopped() ? "interrupted" : "stop"
    yield {
      type: "turn-end",
      finishReason,
      text,
      audioMs,
      promptTokens: 7,
      completionTokens: 4,
      usage: textUsage(7, 4),
      timings,
    }
  }
  const call = (options: CallOptions, { onEvent }: CallParts = {}): EngineCall => {
    let stop = false
    let speaking = false
    let ms = 0
    return {
      async push({ pcm, frame, text }) {
        log.push(pcm ? "pcm" : frame ? "frame" : `text ${text}`)
        if (!pcm) return
        ms += (pcm.length * 1000) / (options.sampleRateHz ?? 16_000)
        const loud = pcm.some((sample) => Math.abs(sample) > 0.1)
        if (!options.turns || loud === speaking) return
        speaking = loud
        onEvent?.(loud ? { type: "speech-start", atMs: ms, startMs: ms } : { type: "speech-end", atMs: ms, endMs: ms })
      },
      async append({ role, text }) {
        log.push(`append ${role} ${text}`)
      },
      respond(respond, signal) {
        stop = false
        return answer(() => stop || signal?.aborted === true, respond?.speak !== false)
      },
      async interrupt({ heardMs = 0 } = {}) {
        log.push(`interrupt ${heardMs}`)
        stop = true
        return { text: WORDS.slice(0, Math.ceil(heardMs / 200)).join(""), heardMs }
      },
      async clear() {
        log.push("clear")
      },
      snapshot: () => Promise.reject(new Error("no snapshots here")),
      async close() {
        log.push("close")
      },
      async [Symbol.asyncDispose]() {},
    }
  }
  return {
    info: {} as Engine["info"],
    chat: ({ speak = false }, signal) => answer(() => signal?.aborted === true, speak),
    call: async (options, parts) => call(options, parts),
    stats: async () => ({ activeTasks: 0, openCalls: 0, memoryBytes: 0 }),
  }
}
