/**
 * @file A call without a model: loud sound is speech, answers are the same few words, slowly enough to interrupt, and what a
 * model would know is kept as words, so that tests can compare it with what a person heard.
 */
import { setTimeout as sleep } from "node:timers/promises"
import type { CallParts, EngineCall } from "../engine/index.ts"
import { type AnswerEvent, type CallEvent, type CallOptions, type RespondOptions, textUsage } from "../session/index.ts"
import { BackendError } from "../util/index.ts"

export const WORDS = ["One ", "two ", "three ", "four."]
/** Sound per word. */
export const WORD_MS = 200

export type FakeCall = EngineCall & {
  readonly options: CallOptions
  /** What a model would know: `heard 300`, `text hi`, `frame 2x3`, `tool: 5`, `assistant: One two`. */
  readonly context: readonly string[]
  readonly isOpen: boolean
  /** From now on sound is heard, but nothing is read, until the returned function is called. */
  readonly hold: () => () => void
  /** Reports an event, as the engine would. */
  readonly report: (event: CallEvent) => void
}

export type FakeCallParts = CallParts & {
  readonly log: string[]
  readonly stepMs: () => number
  /** Aborts when the engine dies. */
  readonly alive: AbortSignal
}

type Entry = { kind: "heard" | "frame" | "text" | "user" | "tool" | "assistant"; words: string[]; ms: number }
type Snapshot = { entries: Entry[]; ms: number }

const print = ({ kind, words, ms }: Entry) => {
  if (kind === "heard") return `heard ${Math.round(ms)}`
  return kind === "frame" || kind === "text" ? `${kind} ${words[0]}` : `${kind}: ${words.join("")}`
}

/** A call of a tool, its arguments in two pieces first. */
export function* callInPieces(index: number, name: string, text: string): Generator<AnswerEvent, void, void> {
  for (const part of [text.slice(0, 5), text.slice(5)]) yield { type: "tool-call-delta", index, name, arguments: part }
  yield { type: "tool-call", call: { name, arguments: text } }
}

export function fakeCall(options: CallOptions, parts: FakeCallParts): FakeCall {
  const { log, onEvent, alive, stepMs } = parts
  const saved = parts.snapshot && (JSON.parse(new TextDecoder().decode(parts.snapshot.bytes)) as Snapshot)
  let entries: Entry[] = saved?.entries ?? []
  let kept: Entry[] = []
  let ms = saved?.ms ?? 0
  let speaking = false
  let held: Promise<void> | undefined
  let open = true
  /** So many entries stay when input is cleared. */
  let settled = entries.length
  let answering: { stop: boolean } | undefined
  let last: Promise<unknown> = Promise.resolve()

  const check = () => {
    if (alive.aborted) throw new BackendError("engine: expected a live engine, got: killed")
    if (!open) throw new Error("internal: a command after the call's end")
  }
  const know = (entry: Entry) => {
    const list = answering ? kept : entries
    const before = list.at(-1)
    const joins = entry.kind === "heard" && before?.kind === "heard" && entries.length + kept.length > settled
    if (joins) before.ms += entry.ms
    else list.push(entry)
  }
  const inTurn = <T>(work: () => Promise<T>): Promise<T> => {
    const result = last.then(work, work)
    last = result.catch(() => undefined)
    return result
  }

  async function* answer(
    { speak = true, maxNewTokens = 1000, format }: RespondOptions,
    signal?: AbortSignal,
  ): AsyncGenerator<AnswerEvent, void, void> {
    const mine = { stop: false as boolean }
    let ended: () => void = () => undefined
    const turn = last
    last = new Promise<void>((resolve) => {
      ended = resolve
    })
    await turn
    check()
    answering = mine
    settled = entries.length + 1
    const entry: Entry = { kind: "assistant", words: [], ms: 0 }
    const asked = entries.at(-1)
    const tool = (format?.type === "tool-call" && format.name) || options.tools?.[0]?.name
    entries.push(entry)
    let finishReason: Extract<AnswerEvent, { type: "turn-end" }>["finishReason"] = "stop"
    try {
      const wantsTool =
        tool !== undefined && (asked?.kind === "text" || asked?.kind === "user") && asked.words[0]!.includes("weather")
      if (wantsTool && format?.type !== "text") {
        finishReason = "tool-calls"
        for (const [index, city] of (asked.words[0]!.includes("two") ? ["Paris", "Rome"] : ["Paris"]).entries())
          yield* callInPieces(index, tool, JSON.stringify({ city }))
      } else {
        for (const word of WORDS) {
          await sleep(stepMs())
          if (alive.aborted) throw new BackendError("engine: expected it to run on, got: killed")
          signal?.throwIfAborted()
          if (mine.stop) finishReason = "interrupted"
          else if (entry.words.length >= maxNewTokens) finishReason = "length"
          if (finishReason !== "stop") break
          yield { type: "text-delta", text: word }
          entry.words.push(word) // it was taken
          if (!speak) continue
          yield { type: "audio-delta", pcm: new Float32Array(WORD_MS * 24).fill(0.1), text: word }
          entry.ms += WORD_MS
        }
      }
      const timings = { prefillMs: 1, firstTextMs: 2, totalMs: 10, decodeMs: 5, speechMs: 4 }
      const completion = entry.words.length
      yield {
        ...{ type: "turn-end", finishReason, text: entry.words.join(""), audioMs: entry.ms },
        ...{ promptTokens: 7, completionTokens: completion, usage: textUsage(7, completion), timings },
      }
    } finally {
      if (answering === mine) {
        answering = undefined
        entries.push(...kept.splice(0))
      }
      ended()
    }
  }

  return {
    options,
    get context() {
      return entries.map(print)
    },
    hold() {
      let release: () => void = () => undefined
      held = new Promise<void>((resolve) => {
        release = resolve
      })
      return release
    },
    report: (event) => onEvent?.(event),
    get isOpen() {
      return open
    },
    async push({ pictures = [], pcm, frame, text }) {
      check()
      log.push(pcm ? "pcm" : frame ? "frame" : `text ${text}`)
      for (const { width, height } of frame ? [...pictures, frame] : pictures)
        know({ kind: "frame", words: [`${width}x${height}`], ms: 0 })
      if (text !== undefined) know({ kind: "text", words: [text], ms: 0 })
      if (!pcm) return await held
      const lengthMs = (pcm.length * 1000) / (options.sampleRateHz ?? 16_000)
      ms += lengthMs
      know({ kind: "heard", words: [], ms: lengthMs })
      const loud = pcm.some((sample) => Math.abs(sample) > 0.1)
      if (options.turns && loud !== speaking) {
        speaking = loud
        const [atMs, startMs] = [ms, ms - lengthMs]
        onEvent?.(loud ? { type: "speech-start", atMs, startMs } : { type: "speech-end", atMs, endMs: ms })
      }
      await held
      if (alive.aborted) throw new BackendError("engine: expected it to run on, got: killed")
    },
    append: ({ role, text, sound }) =>
      inTurn(async () => {
        check()
        log.push(`append ${role} ${text}`)
        if (sound) know({ kind: "heard", words: [], ms: (sound.pcm.length * 1000) / sound.sampleRateHz })
        if (text !== "" || !sound) know({ kind: role, words: [text], ms: 0 })
        settled = entries.length
      }),
    respond: (respond = {}, signal) => answer(respond, signal),
    interrupt({ heardMs } = {}) {
      if (answering) answering.stop = true
      return inTurn(async () => {
        await held
        check()
        log.push(`interrupt ${heardMs ?? "all"}`)
        const entry = entries.findLast(({ kind }) => kind === "assistant")
        if (!entry) return { text: "", heardMs: 0 }
        if (heardMs !== undefined && entry.ms > 0) {
          entry.words = entry.words.slice(0, Math.ceil(heardMs / WORD_MS))
          entry.ms = Math.min(entry.ms, heardMs)
        }
        return { text: entry.words.join(""), heardMs: heardMs ?? entry.ms }
      })
    },
    async keep() {
      check()
      settled = entries.length + kept.length
    },
    async clear() {
      check()
      log.push("clear")
      kept = kept.slice(0, Math.max(0, settled - entries.length))
      if (!answering) entries = entries.slice(0, settled)
    },
    snapshot: () =>
      inTurn(async () => {
        check()
        const bytes = new TextEncoder().encode(JSON.stringify({ entries, ms } satisfies Snapshot))
        return { version: 1 as const, model: "fake", bytes }
      }),
    async close() {
      if (!open) return
      open = false
      if (answering) answering.stop = true
      log.push("close")
    },
    async [Symbol.asyncDispose]() {
      await this.close()
    },
  }
}
