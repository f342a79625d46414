/** @file The real model over recorded speech: segments, silence, noise, and any chunking. */
import { readFileSync } from "node:fs"
import fc from "fast-check"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { concatPcm, readWavMono, resample } from "../audio/index.ts"
import type { OnnxModel } from "../runtime/index.ts"
import { createRandom } from "../util/index.ts"
import { openSilero } from "./index.node.ts"
import { createTurnDetector } from "./turn-detector.ts"
import { createVad, type Vad } from "./vad.ts"

const AUDIO = new URL("../../test/fixtures/tiny-a/assets/audio/", import.meta.url)
const silence = (lengthMs: number) => new Float32Array(lengthMs * 16)
function noise(lengthMs: number, amplitude: number): Float32Array {
  const random = createRandom(7)
  return silence(lengthMs).map(() => amplitude * (2 * random() - 1))
}
function recording(name: string): Float32Array {
  const { pcm, sampleRateHz } = readWavMono(readFileSync(new URL(`${name}.wav`, AUDIO)), name)
  return resample(pcm, sampleRateHz, 16_000)
}

let model: OnnxModel
let vad: Vad
beforeAll(async () => {
  model = await openSilero()
  vad = createVad(model)
})
afterAll(() => model[Symbol.asyncDispose]())

const probabilitiesOf = async (pcm: Float32Array) => (await vad.step(vad.init(), pcm))[0]

/** Turns as [start, end] in milliseconds. */
async function turnsOf(pcm: Float32Array): Promise<[number, number][]> {
  const detector = createTurnDetector({ preRollMs: 0 })
  const [events, state] = detector.step(detector.init(), await probabilitiesOf(pcm))
  const turns: [number, number][] = []
  for (const event of [...events, ...detector.finish(state)[0]]) {
    if (event.type === "speech-start") turns.push([event.startSample / 16, Number.NaN])
    if (event.type === "speech-end") turns.at(-1)![1] = event.endSample / 16
  }
  return turns
}

describe("speech", () => {
  test("is one turn where a sentence is, within 100 ms", async () => {
    const [turn, ...more] = await turnsOf(concatPcm([silence(1000), recording("speech_en"), silence(1000)]))
    expect(more).toEqual([])
    expect(Math.abs(turn![0] - 1080)).toBeLessThanOrEqual(100)
    expect(Math.abs(turn![1] - 4130)).toBeLessThanOrEqual(150)
  })

  test("with long pauses is two turns, with short ones one", async () => {
    const sentence = recording("speech_en")
    const joined = (pauseMs: number) => concatPcm([sentence, silence(pauseMs), sentence, silence(1000)])
    expect(await turnsOf(joined(100))).toHaveLength(1)
    const two = await turnsOf(joined(900))
    expect(two).toHaveLength(2)
    const distanceMs = two[1]![0] - two[0]![0]
    expect(Math.abs(distanceMs - (sentence.length / 16 + 900))).toBeLessThanOrEqual(64)
  })

  test("is found at 24 kHz once resampled, quiet, and in light noise", async () => {
    expect(await turnsOf(recording("speech_24k"))).toHaveLength(1)
    const sentence = recording("speech_en")
    expect(await turnsOf(sentence.map((sample) => sample * 0.05))).toHaveLength(1)
    const noisy = noise(sentence.length / 16, 0.01)
    expect(await turnsOf(sentence.map((sample, i) => sample + (noisy[i] ?? 0)))).toHaveLength(1)
  })
})

test.each([
  ["silence", () => silence(3000)],
  ["faint noise", () => noise(3000, 0.001)],
  ["noise", () => noise(3000, 0.1)],
  ["loud noise", () => noise(3000, 0.9)],
  ["a tone", () => silence(3000).map((_, i) => 0.3 * Math.sin((2 * Math.PI * 440 * i) / 16_000))],
  ["a chirp", () => recording("chirp_3700ms")],
  ["a constant", () => silence(3000).fill(1)],
])("%s is no speech", async (_, make) => {
  expect(await turnsOf(make())).toEqual([])
})

describe("streaming", () => {
  const pcm = recording("speech_en").subarray(0, 16_000)

  async function chunked(sizes: () => number): Promise<[Float32Array, Float32Array]> {
    const found: Float32Array[] = []
    let state = vad.init()
    for (let at = 0; at < pcm.length; ) {
      const size = sizes()
      const [probabilities, next] = await vad.step(state, pcm.subarray(at, at + size))
      found.push(probabilities)
      state = structuredClone(next)
      at += size
    }
    return [concatPcm(found), state.hidden]
  }

  test.each([1, 97, 512, 3200, 16_000])("in chunks of %i equals whole", async (size) => {
    const [whole, last] = await vad.step(vad.init(), pcm)
    expect(await chunked(() => size)).toEqual([whole, last.hidden])
  })

  test("in chunks of any sizes equals whole", async () => {
    const [whole, last] = await vad.step(vad.init(), pcm)
    const sizes = fc.array(fc.integer({ min: 1, max: 4000 }), { minLength: 1, maxLength: 20 })
    await fc.assert(
      fc.asyncProperty(sizes, async (list) => {
        let i = 0
        expect(await chunked(() => list[i++ % list.length]!)).toEqual([whole, last.hidden])
      }),
      { numRuns: 20 },
    )
  })

  test("a step leaves the state that it was given", async () => {
    const [, state] = await vad.step(vad.init(), pcm.subarray(0, 5000))
    const before = structuredClone(state)
    const [first] = await vad.step(state, pcm.subarray(5000))
    expect(state).toEqual(before)
    expect((await vad.step(state, pcm.subarray(5000)))[0]).toEqual(first)
  })

  test("later sound does not change what was found", async () => {
    const whole = await probabilitiesOf(pcm)
    expect(await probabilitiesOf(pcm.subarray(0, 8000))).toEqual(whole.subarray(0, 15))
  })
})

test.each([Number.NaN, Number.POSITIVE_INFINITY])("refuses %d among the samples", async (value) => {
  const failure = vad.step(vad.init(), Float32Array.of(0, value))
  await expect(failure).rejects.toThrow(`vad: expected finite samples, got ${value} at sample 1`)
})

test("says which model file is missing", async () => {
  await expect(openSilero("/nowhere/vad.onnx")).rejects.toThrow(
    /^\/nowhere\/vad\.onnx: expected the Silero model, got: ENOENT.*\(check the path\)$/,
  )
})
