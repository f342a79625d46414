/**
 * @file An engine without a model for tests of the page: it measures what it hears and sees, finds turns by loudness, and
 * answers with words and a tone that are made faster than they play.
 */
import { setTimeout as sleep } from "node:timers/promises"
import { type CallParts, type Engine, type EngineCall, IDLE } from "../../src/engine/index.ts"
import type { RgbImage } from "../../src/image/index.ts"
import { type AnswerEvent, type CallOptions, type ChatOptions, textUsage } from "../../src/session/index.ts"

export const ANSWER_WORDS = ["This ", "is ", "an ", "answer ", "of ", "several ", "seconds, ", "slowly ", "said."]
/** What is answered when Markdown is asked for: all that models write, and what nobody should. */
export const MARKDOWN = [
  "## 三种方法 / Three ways\n\n",
  "Use **bold**, *slanted* or `code` words, or see [the guide](https://example.com/guide).\n",
  "**注意：**中文和标点也要**加粗。**对吧？\n\n",
  "1. First, measure.\n2. Then change *one* thing:\n   - small\n   - and **tested**\n\n",
  "- [x] read\n- [ ] written\n\n",
  "| Part | Rows | What it is for, in a few more words than fit |\n|:--|--:|:-:|\n",
  "| `encoder` | 24 | hears |\n| `decoder` | 1,024 | writes, and is a little longer than the others |\n\n",
  "```ts\nexport const greet = (name: string): string => 'Hello, ' + name + '! This line is long enough to scroll.'\n",
  "// a comment **without** bold\n```\n\n",
  "> Quoted, with a <script>alert(1)</script> that is only text\n> ![and a picture](https://example.com/seen.png) nobody fetches.\n\n",
  "---\n\nDone.",
]
const PIECE_MS = 800
/** Length of a whole answer. */
export const ANSWER_MS = ANSWER_WORDS.length * PIECE_MS

export type Heard = {
  calls: CallOptions[]
  closed: number
  samples: number
  loudSamples: number
  /** Pictures, and their colour in the middle of either half. */
  frames: { width: number; height: number; left: readonly number[]; right: readonly number[] }[]
  texts: string[]
  answers: number
  /** Milliseconds heard of interrupted answers. */
  cuts: number[]
  /** Questions with whole inputs. */
  chats: ChatOptions[]
  /** Questions wait as long as this is set. */
  busy: boolean
}

export const nothingHeard = (): Heard => ({
  ...{
    calls: [],
    closed: 0,
    samples: 0,
    loudSamples: 0,
    frames: [],
    texts: [],
    answers: 0,
    cuts: [],
    chats: [],
    busy: false,
  },
})

const SPEECH_LEVEL = 0.02
const END_MS = 400

/** A tone whose parts join without a click. */
function tone(startMs: number, lengthMs: number): Float32Array {
  const first = startMs * 24
  return Float32Array.from(
    { length: lengthMs * 24 },
    (_, i) => 0.3 * Math.sin((2 * Math.PI * 330 * (first + i)) / 24_000),
  )
}

/** Red, green and blue halfway down. */
function colourAt({ width, height, data }: RgbImage, share: number): number[] {
  const at = 3 * (Math.floor(height / 2) * width + Math.floor(share * width))
  return [...data.subarray(at, at + 3)]
}

type Answers = AsyncGenerator<AnswerEvent, void, void>

async function* answer(stopped: () => boolean, speak: boolean, words = ANSWER_WORDS): Answers {
  let text = ""
  let audioMs = 0
  await sleep(60)
  for (const word of words) {
    if (stopped()) break
    text += word
    yield { type: "text-delta", text: word }
    if (speak) yield { type: "audio-delta", pcm: tone(audioMs, PIECE_MS), text: word }
    if (speak) audioMs += PIECE_MS
    await sleep(80)
  }
  const timings = {
    prefillMs: 20,
    firstTextMs: 60,
    firstAudioMs: 60,
    totalMs: 60 + audioMs / 10,
    decodeMs: 10,
    speechMs: 10,
  }
  const finishReason = stopped() ? "interrupted" : "stop"
  yield {
    type: "turn-end",
    finishReason,
    text,
    audioMs,
    promptTokens: 9,
    completionTokens: 9,
    usage: textUsage(9, 9),
    timings,
  }
}

export function pageEngine(heard: Heard): Engine {
  const call = (options: CallOptions, { onEvent }: CallParts = {}): EngineCall => {
    heard.calls.push(options)
    let stop = false
    let speaking = false
    let quietMs = 0
    let ms = 0
    let cutAnswer = -1
    return {
      async push({ pcm, frame, text }) {
        if (text !== undefined) heard.texts.push(text)
        if (frame) {
          const { width, height } = frame
          heard.frames.push({ width, height, left: colourAt(frame, 0.25), right: colourAt(frame, 0.75) })
        }
        if (!pcm) return
        ms += (pcm.length * 1000) / (options.sampleRateHz ?? 16_000)
        heard.samples += pcm.length
        const loud = Math.sqrt(pcm.reduce((sum, sample) => sum + sample * sample, 0) / pcm.length) > SPEECH_LEVEL
        if (loud) heard.loudSamples += pcm.length
        quietMs = loud ? 0 : quietMs + (pcm.length * 1000) / (options.sampleRateHz ?? 16_000)
        if (!options.turns) return
        if (loud && !speaking) {
          speaking = true
          onEvent?.({ type: "speech-start", atMs: ms, startMs: ms })
        } else if (speaking && quietMs > END_MS) {
          speaking = false
          onEvent?.({ type: "speech-end", atMs: ms, endMs: ms - quietMs })
        }
      },
      async append({ role, text }) {
        heard.texts.push(`${role}: ${text}`)
      },
      respond(respond, signal) {
        stop = false
        heard.answers++
        return answer(() => stop || signal?.aborted === true, respond?.speak !== false)
      },
      async interrupt({ heardMs } = {}) {
        stop = true
        if (heardMs !== undefined) {
          // Stopped where it was sent, then cut where it was played: the last word counts.
          if (cutAnswer === heard.answers) heard.cuts.pop()
          heard.cuts.push(heardMs)
          cutAnswer = heard.answers
        }
        const text = ANSWER_WORDS.slice(0, Math.ceil((heardMs ?? ANSWER_MS) / PIECE_MS)).join("")
        return { text, heardMs: heardMs ?? ANSWER_MS }
      },
      async keep() {},
      async clear() {},
      snapshot: async () => ({ version: 1, model: "page", bytes: new Uint8Array() }),
      async close() {
        heard.closed++
      },
      async [Symbol.asyncDispose]() {},
    }
  }
  return {
    info: {} as Engine["info"],
    async *chat(options, signal) {
      heard.chats.push(options)
      const content = options.messages.at(-1)?.content ?? ""
      const count = (type: string) =>
        typeof content === "string" ? 0 : content.filter((part) => part.type === type).length
      const asked = typeof content === "string" ? content : ""
      const counted = `I got ${count("image")} pictures and ${count("audio")} sounds.`.split(/(?<= )/)
      const words = asked.includes("Markdown") ? MARKDOWN : counted
      while (heard.busy && signal?.aborted !== true) await sleep(10)
      yield* answer(() => signal?.aborted === true, options.speak === true, words)
    },
    call: async (options, parts) => call(options, parts),
    stats: async () => ({ ...IDLE, activeTasks: 0, openCalls: 0, answering: 0, memoryBytes: 0 }),
  }
}
