import fc from "fast-check"
import { afterAll, describe, expect, test } from "vitest"
import { ttsSlot } from "../models/minicpmo/index.ts"
import { createOrtNodeExecutor } from "../runtime/index.node.ts"
import { createReferenceExecutor, type Executor } from "../runtime/index.ts"
import { f32, f32Data, type HostTensor, relativeToMaxAbs } from "../tensor/index.ts"
import { CheckpointError, InputError, runSteps } from "../util/index.ts"
import { DEFAULT_CODE_SAMPLING, drawMostLikely } from "./code-sampler.ts"
import { randomFrames, randomState, SMALL_TTS, smallDecoder, smallDecoderWeights } from "./speech.test-util.ts"
import { SpeechDecoder, type SpeechDecoderState, textChunk } from "./speech-decoder.ts"
import { audioStart, DEAD_ROW } from "./speech-mask.ts"

const TOLERANCE = 1e-5 // float32 with other summation orders; measured below 2e-6
const cpu = createOrtNodeExecutor({ device: "cpu", threads: 1 })
const reference = createReferenceExecutor()
afterAll(async () => {
  await cpu[Symbol.asyncDispose]()
})

const IDS = Array.from({ length: 40 }, (_, i) => (i * 7) % SMALL_TTS.numTextTokens)
const SPEAKER = randomState(SMALL_TTS.hiddenSize, 5)
const FRAMES = randomFrames(60, 6)
const options = { textTokens: 30, maxFrames: 25, sampling: DEFAULT_CODE_SAMPLING, draw: drawMostLikely }

function joined(parts: readonly HostTensor[]): HostTensor {
  const data = parts.flatMap((part) => [...f32Data(part)])
  return f32([data.length], data)
}

/** Prefills IDS in pieces; the first holds the start slots. */
async function prefilled(decoder: SpeechDecoder, size: number): Promise<[HostTensor, SpeechDecoderState]> {
  let state = decoder.init()
  const hidden: HostTensor[] = []
  for (let begin = 0; begin < IDS.length; ) {
    const end = Math.min(IDS.length, begin === 0 ? Math.max(3, size) : begin + size)
    const [rows, next] = await decoder.prefillText(state, IDS.slice(begin, end), begin, begin ? undefined : SPEAKER)
    hidden.push(rows.hidden)
    state = next
    begin = end
  }
  return [joined(hidden), state]
}

/** Feeds given frames and collects the logits that follow each. */
async function forced(decoder: SpeechDecoder, start: SpeechDecoderState, count: number) {
  let state = start
  const logits: HostTensor[] = []
  for (const frame of FRAMES.slice(0, count)) {
    const [rows, next] = await decoder.step(state, 30)
    logits.push(rows.logits)
    state = decoder.addFrame(next, frame)
  }
  return { logits: joined(logits), state }
}

test("the interpreter and ONNX Runtime agree, past a change of the text window", async () => {
  const results = []
  for (const executor of [reference, cpu]) {
    const decoder = await smallDecoder(executor)
    const [hidden, state] = await prefilled(decoder, 40)
    const { logits } = await forced(decoder, state, 55)
    results.push([hidden, logits] as const)
  }
  const [want, got] = results
  expect(relativeToMaxAbs(got![0], want![0])).toBeLessThan(TOLERANCE)
  expect(relativeToMaxAbs(got![1], want![1])).toBeLessThan(TOLERANCE)
})

describe.each([cpu, reference])("on $device", (executor: Executor) => {
  test.each([1, 7, 13])("text in pieces of %i equals text at once", async (size) => {
    const decoder = await smallDecoder(executor)
    const [wholeHidden, whole] = await prefilled(decoder, 40)
    const [hidden, state] = await prefilled(decoder, size)
    expect(relativeToMaxAbs(hidden, wholeHidden)).toBeLessThan(TOLERANCE)
    const want = await forced(decoder, whole, 3)
    const got = await forced(decoder, state, 3)
    expect(relativeToMaxAbs(got.logits, want.logits)).toBeLessThan(TOLERANCE)
  })

  test("text that comes between frames equals text that was there before, once it is visible", async () => {
    const decoder = await smallDecoder(executor)
    const [, whole] = await prefilled(decoder, 40)
    const want = await forced(decoder, whole, 55)
    const [, begin] = await decoder.prefillText(decoder.init(), IDS.slice(0, 20), 0, SPEAKER)
    const early = await forced(decoder, begin, 10)
    const [, late] = await decoder.prefillText(early.state, IDS.slice(20), 20)
    let state = late
    const logits: HostTensor[] = []
    for (const frame of FRAMES.slice(10, 55)) {
      const [rows, next] = await decoder.step(state, 30)
      logits.push(rows.logits)
      state = decoder.addFrame(next, frame)
    }
    expect(relativeToMaxAbs(joined([early.logits, ...logits]), want.logits)).toBeLessThan(TOLERANCE)
  })
})

test("slots that are filled again replace the old ones", async () => {
  const decoder = await smallDecoder(cpu)
  const [, wrong] = await decoder.prefillText(decoder.init(), [3, 4, 5, 6], 0)
  const [, state] = await decoder.prefillText(wrong, IDS, 0, SPEAKER)
  expect(state.rows.filter((slot) => slot === DEAD_ROW)).toHaveLength(4)
  const want = await forced(decoder, (await prefilled(decoder, 40))[1], 5)
  const got = await forced(decoder, state, 5)
  expect(relativeToMaxAbs(got.logits, want.logits)).toBeLessThan(TOLERANCE)
})

test("slots that are visible but empty count as zeros, like rows of zeros in their places", async () => {
  const decoder = await smallDecoder(cpu)
  const [, short] = await decoder.prefillText(decoder.init(), IDS.slice(0, 5), 0, SPEAKER)
  const [got] = await decoder.step(short, 30) // sees ten slots at first

  const [, explicit] = await decoder.prefillText(decoder.init(), IDS.slice(0, 5), 0, SPEAKER)
  const zeros = new Float32Array(5 * SMALL_TTS.hiddenSize)
  for (let layer = 0; layer < SMALL_TTS.numHiddenLayers; layer++) {
    explicit.cache.stage(ttsSlot(layer), 5, { keys: zeros, values: zeros })
  }
  explicit.cache.advance(5)
  const [want] = await decoder.step({ ...explicit, rows: Int32Array.of(...explicit.rows, 5, 6, 7, 8, 9) }, 30)
  expect(relativeToMaxAbs(got.logits, want.logits)).toBeLessThan(TOLERANCE)
  const [, full] = await prefilled(decoder, 40)
  const [other] = await decoder.step(full, 30)
  expect(relativeToMaxAbs(other.logits, want.logits)).toBeGreaterThan(1e-3)
})

test("frames taken over see those after them", async () => {
  const decoder = await smallDecoder(cpu)
  const [, text] = await prefilled(decoder, 40)
  const [block] = await decoder.prefillAudio(text, FRAMES.slice(0, 9), 30)
  const changed = [...FRAMES.slice(0, 7), FRAMES[40]!, FRAMES[8]!]
  const [other] = await decoder.prefillAudio(text, changed, 30)
  const row = (rows: HostTensor, i: number) =>
    f32Data(rows).slice(i * SMALL_TTS.hiddenSize, (i + 1) * SMALL_TTS.hiddenSize)
  expect(row(other.hidden, 2)).not.toEqual(row(block.hidden, 2)) // a later frame changed an earlier row
})

describe("states", () => {
  test("a call that is abandoned or fails leaves its state as it was", async () => {
    let failing = 0
    const flaky: Executor = {
      ...cpu,
      run: async (...args) => {
        if (failing > 0 && --failing === 0) throw new Error("out of luck")
        return await cpu.run(...args)
      },
    }
    const decoder = await smallDecoder(flaky)
    const [, state] = await prefilled(decoder, 40)
    const [, want] = await runSteps(decoder.generate(state, options))
    expect(want.frames.length).toBeGreaterThanOrEqual(10)

    const steps = decoder.generate(state, options)
    for (let i = 0; i < 4; i++) await steps.next()
    await steps.return([0, state])
    failing = 6
    await expect(runSteps(decoder.generate(state, options))).rejects.toThrow("out of luck")
    const [drawn, again] = await runSteps(decoder.generate(state, options))
    expect(again.frames).toEqual(want.frames)
    expect(drawn).toBe(want.frames.length + (want.finished ? 1 : 0))
  })

  test("codes do not depend on how calls are cut, except for the ban on ending", async () => {
    const decoder = await smallDecoder(cpu)
    const [, state] = await prefilled(decoder, 40)
    const [, whole] = await runSteps(decoder.generate(state, { ...options, maxFrames: 24, forceNoStop: true }))
    const sizes = fc.oneof(
      fc.constantFrom([1], [7], [24]),
      fc.array(fc.integer({ min: 1, max: 24 }), { minLength: 1, maxLength: 4 }),
    )
    await fc.assert(
      fc.asyncProperty(sizes, async (calls) => {
        let cut = state
        for (let i = 0; cut.frames.length < 24; i++) {
          const maxFrames = Math.min(calls[i % calls.length]!, 24 - cut.frames.length)
          ;[, cut] = await runSteps(decoder.generate(cut, { ...options, maxFrames, forceNoStop: true }))
        }
        expect(cut.frames).toEqual(whole.frames)
      }),
      { numRuns: 10 },
    )
  })

  test("the end code ends an utterance after the ban, and its frame is left out", async () => {
    const decoder = await smallDecoder(cpu)
    const [, state] = await prefilled(decoder, 40)
    const draw = (probabilities: Float32Array) => (probabilities[625]! > 0 ? 625 : drawMostLikely(probabilities))
    const sampling = { temperatures: [5], topP: 1, topK: 626, repetitionPenalty: 1 }
    const [drawn, ended] = await runSteps(decoder.generate(state, { ...options, sampling, draw, minFrames: 3 }))
    expect([drawn, ended.frames.length, ended.finished]).toEqual([4, 3, true])
    await expect(decoder.step(ended, 30)).rejects.toThrow(
      new InputError("speech step: expected an utterance whose last frame is its next input, got one that has ended"),
    )
  })
})

test("text chunks cover all slots once", () => {
  const last = Math.ceil(SMALL_TTS.textReservedLen / SMALL_TTS.textChunkSize)
  const chunks = Array.from({ length: last }, (_, i) => textChunk(i, SMALL_TTS))
  expect(chunks[0]).toEqual([0, 3 + 7])
  expect(chunks.at(-1)![1]).toBe(audioStart(SMALL_TTS))
  for (const [i, [begin]] of chunks.entries()) if (i > 0) expect(begin).toBe(chunks[i - 1]![1])
  expect(textChunk(last, SMALL_TTS)).toEqual([audioStart(SMALL_TTS), audioStart(SMALL_TTS)])
})

test("errors say what was expected", async () => {
  const decoder = await smallDecoder(cpu)
  const start = decoder.init()
  const [, state] = await prefilled(decoder, 40)
  await expect(decoder.speaker(new Float32Array(3))).rejects.toThrow(
    new InputError("speaker state: expected 10 values, got 3 (one state of the language model)"),
  )
  await expect(decoder.prefillText(start, [1], 233)).rejects.toThrow(
    "speech text: expected slots in [0, 233), got 233 to 234",
  )
  await expect(decoder.prefillText(start, [1, 2], 0, SPEAKER)).rejects.toThrow(
    "speech text: expected slots from 0 on for a speaker embedding, got 0 to 2",
  )
  await expect(decoder.prefillText(start, [-1], 0)).rejects.toThrow(/speech text: expected ids in \[0, \d+\), got -1/)
  await expect(decoder.prefillAudio(state, [], 5)).rejects.toThrow(
    "speech audio: expected frames before any other audio, got 0 frames after 0",
  )
  await expect(
    decoder.prefillAudio(
      state,
      [
        [1, 2, 3, 999],
        [0, 0, 0, 0],
      ],
      5,
    ),
  ).rejects.toThrow("speech frame: expected 4 codes in [0, 625], got 1, 2, 3, 999")
  const [, open] = await decoder.step(state, 30)
  await expect(decoder.step(open, 30)).rejects.toThrow("got 0 frames after 1 inputs")
  state.cache.truncate(3)
  await expect(decoder.step(state, 30)).rejects.toThrow(
    "speech: expected a state whose rows are still cached, got one that was given up",
  )
  const weights = smallDecoderWeights()
  const narrow = { ...SMALL_TTS, intermediateSize: 21 }
  await expect(SpeechDecoder.load(narrow, cpu, weights)).rejects.toThrow(
    new CheckpointError("tts.model.layers.0.mlp.gate_proj.weight: expected f32 [21, 12], got f32 [20, 12]"),
  )
})
