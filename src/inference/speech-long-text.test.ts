/** @file All text of long answers reaches the speech decoder, whatever it is written in; a decoder without networks stands in. */
import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { f32 } from "../tensor/index.ts"
import { speakable } from "../tokenizer/index.ts"
import type { Steps } from "../util/index.ts"
import { DEFAULT_CODE_SAMPLING, drawMostLikely } from "./code-sampler.ts"
import { SMALL_TEXT, SMALL_TTS } from "./speech.test-util.ts"
import { cutWithin, lastBreak } from "./speech-cut.ts"
import type { SpeechDecoder } from "./speech-decoder.ts"
import { audioStart, textStart, visibleTextSlots } from "./speech-mask.ts"
import { LIVE_RENDERING, SAMPLES_PER_CODE_FRAME } from "./speech-renderer.ts"
import type { SpeechState } from "./speech-state.ts"
import { CALL_FRAMES, type SpeechOptions, SpeechStream } from "./speech-stream.ts"

type Slots = { filled: Set<number> }

/** Draws frames until `ends` says so or all text has been seen, and remembers which slots were filled. */
function countingDecoder(ends: () => boolean): SpeechDecoder {
  const decoder = {
    config: SMALL_TTS,
    speaker: async () => ({ speaker: new Float32Array(1) }),
    init: () => ({ filled: new Set(), frames: [], finished: false }),
    prefillText: async (state: Slots, ids: number[], begin: number) => {
      const filled = new Set(state.filled)
      for (const i of ids.keys()) filled.add(begin + i)
      return [undefined, { ...state, filled }]
    },
    prefillAudio: async (state: Slots, frames: number[][]) => [undefined, { ...state, frames }],
    async *generate(
      state: { frames: number[][] },
      { textTokens, maxFrames }: { textTokens: number; maxFrames: number },
    ): Steps<unknown> {
      const frames = [...state.frames, ...Array.from({ length: maxFrames }, () => [1, 1, 1, 1])]
      const seen = visibleTextSlots(audioStart(SMALL_TTS) + frames.length, textTokens, SMALL_TTS)
      return [maxFrames, { ...state, frames, finished: ends() || seen > textStart(SMALL_TTS) + textTokens }]
    },
  }
  return decoder as unknown as SpeechDecoder
}

const SILENT = {
  codec: { decode: async (frames: readonly unknown[]) => f32([1, frames.length], new Float32Array(frames.length)) },
  vocoder: {
    render: async (mel: { shape: readonly number[] }) => new Float32Array(mel.shape[1]! * SAMPLES_PER_CODE_FRAME),
  },
} as unknown as ConstructorParameters<typeof SpeechStream>[1]

/** What every segment of an answer was given to say. */
async function segments(pieces: readonly string[], ends: () => boolean, change: Partial<SpeechOptions> = {}) {
  const stream = new SpeechStream(countingDecoder(ends), SILENT, SMALL_TEXT, {
    sampling: DEFAULT_CODE_SAMPLING,
    draw: drawMostLikely,
    rendering: LIVE_RENDERING,
    callFrames: CALL_FRAMES,
    firstCallFrames: CALL_FRAMES,
    fallbackLanguage: "english",
    speaksAll: true,
    ...change,
  })
  const said: string[] = []
  /** What segments had heard, or will not, by their latest delivery: all that was written but what is left for later ones. */
  const heardBy: string[] = []
  let written = ""
  let earlier = 0
  let heard = 0
  let delivered = ""
  let state = await stream.init(new Float32Array(1))
  const run = async (steps: ReturnType<SpeechStream["push"]>) => {
    for (;;) {
      const { done, value } = await steps.next()
      if (!done) continue
      const [piece] = value
      delivered += piece?.text ?? ""
      if (piece) heardBy[earlier + piece.segment] = written.slice(0, written.length - piece.unheard.length)
      end(state, value[1])
      state = value[1]
      return
    }
  }
  /** A segment is over when its sound is: everything that it should say stood in its slots. */
  const end = (before: SpeechState, after: SpeechState) => {
    if (after.phase !== "flushing" || before.phase === "flushing") return
    const { filled } = after.decoder as unknown as Slots
    const tokens = SMALL_TEXT.tokenizer.encode(after.spoken).length
    const missing = Array.from({ length: textStart(SMALL_TTS) + tokens }, (_, slot) => slot).filter(
      (slot) => !filled.has(slot),
    )
    expect(missing).toEqual([])
    expect(tokens).toBeLessThan(SMALL_TTS.textReservedLen)
    said.push(after.spoken.slice(after.seeded))
  }
  const settle = async () => {
    while (state.phase !== "listening" && state.phase !== "done") await run(stream.next(state))
  }
  for (const piece of ["", ...pieces]) {
    // Speech that is over is followed by another utterance, as in a spoken answer.
    if (state.phase === "done") {
      earlier = said.length
      state = await stream.init(new Float32Array(1))
      await run(stream.push(state, ""))
    }
    written += speakable(piece, "english")
    if (piece !== "" || heard === 0) await run(stream.push(state, piece))
    heard++
    await settle()
  }
  state = stream.close(state)
  await settle()
  for (const [i, text] of heardBy.entries()) expect(words(text)).toBe(words(said.slice(0, i + 1).join("")))
  return { said, delivered }
}

const never = () => false
const text = (unit: string, count: number) =>
  Array.from({ length: count }, (_, i) => unit.replace("#", "abcdefg"[i % 7]!))
const audible = (joined: string) => joined.replace(/[^\p{L}\p{N}]+/gu, "")

/** Letters alone, and no numbers, which are read in one language or another. */
function words(value: string): string {
  const letters = speakable(value, "english").replace(/[^\p{L}]+/gu, "")
  return letters.replaceAll(/one|two|three|一|二|三/g, "")
}

describe("text without sentence ends is spoken to its end", () => {
  const cases: readonly (readonly [string, readonly string[]])[] = [
    ["sentences", text(" w# and w.", 200)],
    ["clauses", text(" w#,", 400)],
    ["lines", text("\n- w#", 400)],
    ["words", text(" w#", 500)],
    ["Hindi", text(" नमस्ते#", 300)],
    ["Arabic", text(" سلام،#", 300)],
    ["Thai", text("สวัสดี", 300)],
    ["Chinese", text("你好世界", 200)],
    ["one word", text("abc", 300)],
    ["one piece", [text(" word#", 300).join("")]],
    ["marks alone", ["a", ...text("-----------------------------------", 20), "b"]],
    ["a rest after the last end", [...text(" w#", 60), " end. And"]],
  ]
  test.each(cases)("%s", async (_, pieces) => {
    const { said, delivered } = await segments(pieces, never)
    expect(audible(said.join(""))).toBe(audible(pieces.join("")))
    expect(delivered).toBe(pieces.join(""))
  })

  test("the official code stops where the slots are full", async () => {
    const pieces = text(" w#", 500)
    const stops = segments(pieces, never, { speaksAll: false })
    await expect(stops).rejects.toThrow() // the slots do not have all of it
  })
})

test("random texts, in random pieces, with speech that ends when it likes", async () => {
  const letters = fc.constantFrom(
    ...[
      "a",
      "the",
      "word",
      "é",
      "ß",
      " ",
      " ",
      " ",
      ".",
      ",",
      "\n",
      "!",
      "3",
      "12",
      "—",
      "*",
      "(",
      "你",
      "好",
      "。",
      "、",
    ],
    ...["न", "।", "ع", "،", "ส", "ひ", "ア", "가", "Ж", "😀", "·", "🇫🇷", "…", ":", "x.y", "--------"],
  )
  const answer = fc.tuple(
    fc.array(fc.array(letters, { minLength: 1, maxLength: 9 }), { minLength: 1, maxLength: 160 }),
    fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 8 }),
  )
  await fc.assert(
    fc.asyncProperty(answer, async ([parts, gaps]) => {
      const pieces = parts.map((part) => part.join(""))
      let calls = 0
      let next = 0
      const ends = () => ++calls % gaps[next % gaps.length]! === 0 && next++ >= 0
      const { said } = await segments(pieces, ends)
      expect(words(said.join(""))).toBe(words(pieces.join("")))
    }),
    { numRuns: 60, seed: 5 },
  )
}, 60_000)

describe("places to cut", () => {
  test.each([
    ["it is. And", "sentence", 6],
    ["about 3.", "sentence", undefined],
    ["on example.com", "sentence", undefined],
    ["यह है। और", "sentence", 6],
    ["one, two", "sentence", undefined],
    ["one, two", "clause", 4],
    ["1,234", "clause", undefined],
    ["نعم، لا", "clause", 4],
    ["a\nb", "sentence", 2],
    ["one two", "word", 3],
    ["word", "word", undefined],
    ["你好", "word", 2],
  ] as const)("%j, %s", (piece, kind, at) => {
    expect(lastBreak(piece, kind)).toBe(at)
  })

  test("a beginning is cut between words, or else between characters, never within one", () => {
    const within = (most: number) => (beginning: string) => beginning.length <= most
    expect(cutWithin("one two three", 0, within(9))).toBe(7)
    expect(cutWithin("one two three", 7, within(9))).toBe(9)
    expect(cutWithin("a😀b", 0, within(2))).toBe(1)
    expect(cutWithin("abc", 0, within(0))).toBe(0)
    expect(cutWithin("abc", 0, within(3))).toBe(3)
  })
})
