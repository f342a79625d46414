/** @file Voices of requests with whole inputs: encoded once, on the recorded checkpoint. Those of calls: `call-prompts.test.ts`. */
import { afterAll, beforeAll, expect, test } from "vitest"
import { openGoldenSet } from "../../test/parity/golden-set.ts"
import { loadEmbedParts, loadPromptParts } from "../../test/parity/prompts.ts"
import { loadSpeech, loadText } from "../../test/parity/speech.ts"
import type { ClipEncoder } from "../inference/index.ts"
import { createOrtNodeExecutor } from "../runtime/index.node.ts"
import { f32 } from "../tensor/index.ts"
import { runSteps } from "../util/index.ts"
import { omniChat } from "./chat.ts"
import type { OmniModel } from "./model.ts"
import type { AnswerEvent, ChatMessage } from "./types.ts"
import { spokenPrompt } from "./voice-prompt.ts"
import { VoiceCache } from "./voices.ts"

const TINY = new URL("../../test/fixtures/tiny-a", import.meta.url).pathname
const executor = createOrtNodeExecutor({ device: "cpu", threads: 1 })
let model: OmniModel
let encoded = 0
beforeAll(async () => {
  await using set = await openGoldenSet(TINY)
  const perception = await loadEmbedParts(set, executor)
  const { encoder, mel } = perception.audio!
  const counting: ClipEncoder = {
    config: encoder.config,
    init: () => encoder.init(),
    step: (...args) => encoder.step(...args),
    encode(...args) {
      encoded++
      return encoder.encode(...args)
    },
  }
  model = {
    fingerprint: "tiny",
    language: perception.model,
    prompts: await loadPromptParts(set),
    perception: { ...perception, audio: { encoder: counting, mel } },
    voice: { ...(await loadSpeech(set, executor)), ...(await loadText(set)) },
  }
}, 60_000)
afterAll(() => executor[Symbol.asyncDispose]())

const voiceOf = (pitch: number) => ({
  pcm: Float32Array.from({ length: 24_000 }, (_, i) => 0.3 * Math.sin((i * pitch) / 16_000)),
  sampleRateHz: 16_000,
})

test("a voice is encoded once for many requests, and only where it is all there is to hear", async () => {
  const voices = new VoiceCache()
  const ask = async (pitch: number, more: readonly ChatMessage[] = []) => {
    const messages = spokenPrompt([...more, { role: "user", content: "Hi." }], voiceOf(pitch))
    const said: AnswerEvent[] = []
    const options = { messages, speak: true, maxNewTokens: 4, temperature: 0 }
    for await (const event of omniChat(model, options, () => 0, voices)) if (event) said.push(event)
    return said
  }
  const first = await ask(300)
  expect(first.some(({ type }) => type === "audio-delta")).toBe(true)
  expect(await ask(300)).toEqual(first)
  expect(await ask(300)).toEqual(first)
  expect(encoded).toBe(1)
  expect(await ask(700)).not.toEqual(first)
  expect([encoded, voices.encoded]).toEqual([2, 2])
  // A question's sound is nobody's voice: it is not kept, and the voice is encoded together with it.
  const heard: ChatMessage[] = [
    { role: "user", content: [{ type: "audio", audio: voiceOf(900) }] },
    { role: "assistant", content: "Yes." },
  ]
  await ask(300, heard)
  await ask(300, heard)
  expect([encoded, voices.encoded]).toEqual([4, 2])
})

test("requests at once share the work, and what fails is tried again", async () => {
  const voices = new VoiceCache()
  const before = encoded
  const ask = async (signal = { stops: false }) => {
    const options = { messages: spokenPrompt([{ role: "user", content: "Hi." }], voiceOf(1100)), speak: true }
    let text = ""
    for await (const event of omniChat(model, { ...options, maxNewTokens: 3, temperature: 0 }, () => 0, voices)) {
      if (signal.stops) return undefined
      if (event?.type === "text-delta") text += event.text
    }
    return text
  }
  // The first one leaves while the others wait for its work.
  const [left, one, other] = await Promise.all([ask({ stops: true }), ask(), ask()])
  expect([left, one]).toEqual([undefined, other])
  expect([encoded - before, voices.encoded]).toEqual([1, 1])

  const { encoder } = model.perception.audio!
  let failures = 1
  const failing: ClipEncoder = {
    config: encoder.config,
    init: () => encoder.init(),
    step: (...args) => encoder.step(...args),
    async *encode(...args) {
      yield
      if (failures-- > 0) throw new Error("out of luck")
      return yield* encoder.encode(...args)
    },
  }
  const { audio } = new VoiceCache().remembering({
    ...model.perception,
    audio: { ...model.perception.audio!, encoder: failing },
  })
  const clip = f32([1, 80, 200], new Float32Array(80 * 200))
  const encode = () => runSteps(audio!.encoder.encode(clip, [200]))
  const ends = await Promise.allSettled([encode(), encode()])
  expect(ends.map(({ status }) => status).sort()).toEqual(["fulfilled", "rejected"])
})

test("the sound of a question alone is nobody's voice", async () => {
  const voices = new VoiceCache()
  const messages: ChatMessage[] = [{ role: "user", content: [{ type: "audio", audio: voiceOf(500) }] }]
  for await (const _ of omniChat(model, { messages, speak: true, maxNewTokens: 3, temperature: 0 }, () => 0, voices));
  expect(voices.encoded).toBe(0)
})
