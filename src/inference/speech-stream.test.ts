import { afterAll, describe, expect, test } from "vitest"
import { createOrtNodeExecutor } from "../runtime/index.node.ts"
import { ttsPrompt } from "../tokenizer/index.ts"
import { createRandom, InputError, runSteps } from "../util/index.ts"
import { DEFAULT_CODE_SAMPLING, type Draw, drawBy, drawMostLikely } from "./code-sampler.ts"
import { randomFrames, randomState, SMALL_TEXT, SMALL_TTS, smallDecoder, smallRenderer } from "./speech.test-util.ts"
import type { SpeechDecoder } from "./speech-decoder.ts"
import { LIVE_RENDERING, REFERENCE_RENDERING, SAMPLES_PER_CODE_FRAME } from "./speech-renderer.ts"
import type { SpeechPiece, SpeechState } from "./speech-state.ts"
import { CALL_FRAMES, MAX_SEGMENT_FRAMES, type SpeechOptions, SpeechStream } from "./speech-stream.ts"
import { speakWhole } from "./speech-whole.ts"

const cpu = createOrtNodeExecutor({ device: "cpu", threads: 1 })
afterAll(async () => {
  await cpu[Symbol.asyncDispose]()
})
const decoder = await smallDecoder(cpu)
const renderer = await smallRenderer(cpu)
const VOICE = randomState(SMALL_TTS.llmDim, 8)

const END = 625
/** Leaves every code possible. */
const OPEN = { temperatures: [1], topP: 1, topK: 626, repetitionPenalty: 1 }

/** Draws the end code when it could have done so in this many frames, and never before. */
function endingAfter(frames: number): Draw {
  let chances = 0
  return (probabilities) => {
    if (probabilities[END]! > 0 && chances++ / 4 >= frames) return END
    return drawMostLikely(probabilities.with(END, 0))
  }
}

function stream(change: Partial<SpeechOptions> & { readonly endAfter?: number } = {}): SpeechStream {
  const { endAfter = 120, ...options } = change
  return new SpeechStream(decoder, renderer, SMALL_TEXT, {
    sampling: OPEN,
    draw: endingAfter(endAfter),
    rendering: REFERENCE_RENDERING,
    callFrames: CALL_FRAMES,
    firstCallFrames: CALL_FRAMES,
    ...options,
  })
}

async function spoken(speech: SpeechStream, pieces: readonly string[]) {
  const delivered: SpeechPiece[] = []
  const work = speech.speak(VOICE, pieces)
  for (;;) {
    const { done, value } = await work.next()
    if (done) return { delivered, state: value }
    if (value) delivered.push(value)
  }
}

const samples = (delivered: readonly SpeechPiece[]) => delivered.reduce((sum, { pcm }) => sum + pcm.length, 0)
const PIECES = ["one tw", "o three", " four **five**", " and 6", " or seven", " eight<|tts_eos|> not this"]

test("text is delivered once, digits and asterisks as they were written; sound covers all frames", async () => {
  const { delivered, state } = await spoken(stream(), PIECES)
  expect(delivered.map(({ text }) => text).join("")).toBe("one two three four **five** and 6 or seven eight")
  expect(state.spoken).toBe("one two three four five and six or seven eight")
  expect(state.decoder.finished).toBe(true)
  expect(samples(delivered)).toBe(state.decoder.frames.length * SAMPLES_PER_CODE_FRAME)
})

test("codes are the same under the same schedule, however pieces are delivered, and for the same seed", async () => {
  const random = () => ({ draw: drawBy(createRandom(3)), sampling: DEFAULT_CODE_SAMPLING, forceNoStop: true })
  const codes = async (change: Partial<SpeechOptions>) => {
    const speech = stream(change)
    let state = await speech.init(VOICE)
    for (const piece of PIECES) [, state] = await runSteps(speech.push(state, piece))
    state = speech.close(state)
    for (let i = 0; i < 3; i++) [, state] = await runSteps(speech.next(state))
    return state.decoder.frames
  }
  const want = await codes({ ...random() })
  expect(want.length).toBeGreaterThanOrEqual(125)
  expect(await codes({ ...random(), rendering: LIVE_RENDERING })).toEqual(want)
  expect(await codes({ ...random(), rendering: { ...REFERENCE_RENDERING, delivery: "emit-early" } })).toEqual(want)
  expect(await codes({ ...random(), draw: drawBy(createRandom(4)) })).not.toEqual(want)
})

test("one call per piece that completes a chunk; a shorter first call", async () => {
  const speech = stream({ firstCallFrames: 8 })
  let state = await speech.init(VOICE)
  const counts: number[] = []
  for (const piece of ["ab", " cd ef", " gh", " ij kl mn op", "", " qr"]) {
    ;[, state] = await runSteps(speech.push(state, piece))
    counts.push(state.decoder.frames.length)
  }
  // "ab", "##b" … are two tokens a word: 2, 6, 8, 16, 16, 18 tokens with chunks of 7.
  expect(counts).toEqual([0, 0, 8, 33, 33, 33])
})

test("a push that is abandoned in the middle can be made again", async () => {
  const speech = stream()
  let state = await speech.init(VOICE)
  ;[, state] = await runSteps(speech.push(state, "one two three four"))
  const first = speech.push(state, " five six")
  for (let i = 0; i < 9; i++) await first.next()
  await first.return([undefined, state])
  const [piece, next] = await runSteps(speech.push(state, " five six"))
  const other = stream()
  let fresh = await other.init(VOICE)
  ;[, fresh] = await runSteps(other.push(fresh, "one two three four"))
  const [want, wanted] = await runSteps(other.push(fresh, " five six"))
  expect(next.decoder.frames).toEqual(wanted.decoder.frames)
  expect(piece).toEqual(want)
})

describe("segments", () => {
  const long = [
    "this is one",
    " sentence that goes on for more than fifty tokens as every letter counts",
    " here. And",
    " more",
  ]

  test("roll over at a sentence end, with the last words and frames", async () => {
    const speech = stream({ endAfter: 55 })
    let state = await speech.init(VOICE)
    const phases: string[] = []
    for (const piece of long.slice(0, 3)) {
      ;[, state] = await runSteps(speech.push(state, piece))
      phases.push(state.phase)
    }
    expect(phases).toEqual(["listening", "listening", "closing"])
    expect([state.spoken.slice(-6), state.carry]).toEqual([" here.", " And"])
    await expect(runSteps(speech.push(state, "x"))).rejects.toThrow(
      new InputError("speech: expected text while listening, got some while closing (call next first)"),
    )
    let last: SpeechState = state
    while (state.phase !== "listening") {
      last = state
      ;[, state] = await runSteps(speech.next(state))
    }
    expect(state.decoder.frames).toEqual(last.decoder.frames.slice(-50))
    expect(state.written).toMatch(/here\. And$/) // the last five tokens, and what was left
    expect(state.written.length).toBeLessThan(14)
    expect([state.chunk, state.delivered]).toEqual([0, state.written.length])
    ;[, state] = await runSteps(speech.push(state, " more"))
    expect(state.decoder.frames.length).toBeGreaterThan(50)
  })

  test("an empty piece right after a roll-over ends the utterance (quirk of the reference)", async () => {
    const { delivered, state } = await spoken(stream({ endAfter: 55 }), [...long.slice(0, 3), "", " never"])
    expect(state.phase).toBe("done")
    expect(delivered.map(({ text }) => text).join("")).toBe(long.slice(0, 3).join(""))
  })

  test("nothing is spoken after a roll-over without more text", async () => {
    const { state } = await spoken(stream({ endAfter: 55 }), long.slice(0, 3))
    expect(state.phase).toBe("done")
    expect(state.decoder.frames).toHaveLength(50)
  })

  test("speech that never ends is given up, and no segment follows", async () => {
    const speech = stream({ forceNoStop: true })
    let state = await speech.init(VOICE)
    for (const piece of long.slice(0, 3)) [, state] = await runSteps(speech.push(state, piece))
    // As if most of it had been spoken already.
    const frames = randomFrames(MAX_SEGMENT_FRAMES - CALL_FRAMES, 1)
    const rendering = { ...state.rendering, nextFrame: frames.length - REFERENCE_RENDERING.fadeFrames }
    state = { ...state, rendering, decoder: { ...state.decoder, frames, audioRows: frames.length } }
    const counts: number[] = []
    while (state.phase !== "done") {
      ;[, state] = await runSteps(speech.next(state))
      counts.push(state.decoder.frames.length)
    }
    // The limit itself is still allowed; the last step only flushes.
    expect(counts).toEqual([MAX_SEGMENT_FRAMES, MAX_SEGMENT_FRAMES + CALL_FRAMES, MAX_SEGMENT_FRAMES + CALL_FRAMES])
  })
})

test("without any text nothing is said; text that does not fill a chunk is said at the end", async () => {
  expect(await spoken(stream(), [])).toMatchObject({ delivered: [], state: { phase: "done" } })
  const { delivered } = await spoken(stream({ endAfter: 20 }), ["Hi"])
  expect(delivered[0]!.text).toBe("Hi")
})

test("a whole answer: chunks of text with a call after each, then calls alone", async () => {
  const calls: number[] = []
  const options = { ...SMALL_TEXT, sampling: OPEN, draw: endingAfter(60) }
  const frames = await runSteps(speakWhole(decoder, VOICE, "It is 3 o'clock.", options, (count) => calls.push(count)))
  expect(frames).toHaveLength(110)
  expect(calls).toEqual([25, 25, 25, 25, 11]) // 15 chances to end in each
})

test("a whole answer is what stands between the last mark of its beginning and the first of its end", async () => {
  const said = (answer: string) => {
    const options = { ...SMALL_TEXT, sampling: OPEN, draw: endingAfter(20) }
    return runSteps(speakWhole(decoder, VOICE, answer, options))
  }
  const marked = await said("no<|tts_bos|>never<|tts_bos|>It is 3.<|tts_eos|>not<|tts_eos|> this")
  expect(marked).toEqual(await said("It is 3."))
  expect(marked).not.toEqual(await said("no"))
})

describe("a last word that tokenizes to fewer tokens than the decoder was given", () => {
  /** What the decoder hears: ids of each prefill, and the text tokens of each call. */
  async function heard(pieces: readonly string[], change: Partial<SpeechOptions> = {}) {
    const prefills: (readonly number[])[] = []
    const calls: number[] = []
    const listening: SpeechDecoder = Object.create(decoder, {
      prefillText: {
        value: (...call: Parameters<SpeechDecoder["prefillText"]>) => {
          prefills.push(call[1])
          return decoder.prefillText(...call)
        },
      },
      generate: {
        value: (...call: Parameters<SpeechDecoder["generate"]>) => {
          calls.push(call[1].textTokens)
          return decoder.generate(...call)
        },
      },
    })
    const options = { ...stream().options, draw: endingAfter(18), ...change }
    await spoken(new SpeechStream(listening, renderer, SMALL_TEXT, options), pieces)
    return { prefills, calls }
  }
  // "aaaaaaa" has seven tokens, and "aaaaaaaж" is one that is unknown.
  const SHRINKING = ["", "aaaaaaa", "ж"]

  test("nothing is left to give it, so it goes on with what it had", async () => {
    const { prefills, calls } = await heard(SHRINKING)
    expect(prefills).toHaveLength(1)
    expect(calls).toEqual([7, 7])
    expect((await heard(SHRINKING, { speaksAll: true })).calls).toEqual([7, 1])
  })

  test("a new segment starts from the slots as they were given", async () => {
    const { startIds } = SMALL_TEXT.layout
    const long = ["", ...new Array<string>(8).fill(" aaaaaaa")]
    const endless = { draw: endingAfter(150) }
    const { ids } = ttsPrompt(SMALL_TEXT.tokenizer, SMALL_TEXT.layout, long.join(""))
    const { prefills } = await heard([...long, "ж. b", " c"], endless)
    // Up to its end the text has 51 tokens, and 8 chunks of 7 were given.
    const last = startIds.length + 51
    expect(prefills[8]).toEqual([...startIds, ...ids.slice(last - 5, last)])
  })
})
