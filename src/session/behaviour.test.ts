/** @file What each option of the live behaviour changes, alone, against what the official code does. */
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { openGoldenSet } from "../../test/parity/golden-set.ts"
import { loadPromptParts } from "../../test/parity/prompts.ts"
import type { PromptParts } from "../inference/index.ts"
import { createOrtNodeExecutor } from "../runtime/index.node.ts"
import { type OmniTokenizer, TTS_EOS } from "../tokenizer/index.ts"
import { runSteps } from "../util/index.ts"
import { writeAnswer } from "./answer.ts"
import { BEHAVIOURS, type BehaviourOptions } from "./behaviour.ts"
import { Call } from "./call.ts"
import { omniChat } from "./chat.ts"
import { Conversation } from "./conversation.ts"
import { type MockModel, smallVoice } from "./mock-model.test-util.ts"
import type { VoiceParts } from "./model.ts"
import { readable, scriptedModel } from "./scripted-model.test-util.ts"
import type { AnswerEvent, AnswerOptions, Behaviour, CallOptions } from "./types.ts"
import { VoiceCache } from "./voices.ts"

const TINY = new URL("../../test/fixtures/tiny-a", import.meta.url).pathname
const executor = createOrtNodeExecutor({ device: "cpu", threads: 1 })
let prompts: PromptParts
let tokenizer: OmniTokenizer
let voice: VoiceParts
/** Every call of it ends the utterance. */
let brief: VoiceParts
beforeAll(async () => {
  await using set = await openGoldenSet(TINY)
  prompts = await loadPromptParts(set)
  tokenizer = prompts.tokenizer
  voice = await smallVoice(executor)
  brief = await smallVoice(executor, 1)
})
afterAll(() => executor[Symbol.asyncDispose]())

const { reference, live } = BEHAVIOURS
const idsOfText = (text: string) => tokenizer.encode(text)

/** One spoken answer of a model under a behaviour, and how many tokens were written when each event came. */
async function speak(model: MockModel, behaviour: BehaviourOptions, options: AnswerOptions = {}) {
  const conversation = new Conversation(model)
  await runSteps(conversation.read([{ role: "user", content: ["hi"] }]))
  const { piece, hidden, speaker, record } = await runSteps(conversation.open())
  const events: { event: AnswerEvent; written: number }[] = []
  const steps = writeAnswer(
    model,
    {
      cache: conversation.cache,
      promptIds: piece.ids,
      hidden,
      ...(model.voice ? { speaker } : {}),
      options: { temperature: 0, repetitionPenalty: 1, maxNewTokens: 80, ...options },
      behaviour,
      prompt: { positions: 0, audio: 0, image: 0, cached: 0 },
      startMs: 0,
      now: () => 0,
    },
    record,
  )
  for await (const event of steps) if (event) events.push({ event, written: record.ids.length })
  conversation.close(behaviour.keepsLastToken)
  const end = events.at(-1)!.event
  if (end.type !== "turn-end") throw new Error("an answer without an end")
  const firstSound = events.find(({ event }) => event.type === "audio-delta")
  return { events, end, firstSound, record }
}

const SENTENCE = "the cat sat on the mat and the dog sat on the cat and all of them sat and sat on"

test("ids that no token has are never said, except where the official code says them", async () => {
  const model = scriptedModel(prompts, [idsOfText(SENTENCE)])
  const spare = tokenizer.size
  const language: MockModel["language"] = {
    ...model.language,
    config: { ...model.language.config, vocabSize: spare + 1 },
    // The likeliest of all.
    lastLogits: async (hidden) => {
      const { logits, normed } = await model.language.lastLogits(hidden)
      return { logits: Float32Array.of(...logits, 10), normed }
    },
  }
  const said = async (behaviour: BehaviourOptions) =>
    (await speak({ ...model, language }, behaviour, { maxNewTokens: 3 })).record.ids
  expect(await said(reference)).toEqual([spare, spare, spare])
  expect(await said(live)).toEqual(idsOfText(SENTENCE).slice(0, 3))
})

describe("a spoken answer", () => {
  test("is heard after fewer words, since finished sound is not held back", async () => {
    const of = async (delivery: BehaviourOptions["rendering"]["delivery"]) => {
      const model = scriptedModel(prompts, [idsOfText(SENTENCE)], { voice })
      return await speak(model, { ...reference, rendering: { ...reference.rendering, delivery } })
    }
    const [held, prompt] = [await of("hold"), await of("prompt")]
    expect(prompt.firstSound!.written).toBeLessThan(held.firstSound!.written)
    expect(prompt.end.audioMs).toBe(held.end.audioMs) // the same sound, cut elsewhere
  })

  test("is heard after fewer frames still where the first call is short", async () => {
    const first = async (firstCallFrames: number) => {
      const model = scriptedModel(prompts, [idsOfText(SENTENCE)], { voice })
      const { firstSound } = await speak(model, { ...live, firstCallFrames })
      return firstSound!.event.type === "audio-delta" ? firstSound!.event.pcm.length / 512 : 0
    }
    expect(await first(live.firstCallFrames)).toBe(25 - 2 - 4)
    expect(await first(12)).toBe(12 - 2 - 4)
  })

  /** The text as the voice got it. */
  const spoken = async (ids: readonly number[], change: Partial<BehaviourOptions>) => {
    const heard: string[] = []
    const encode = (text: string) => {
      heard.push(text)
      return voice.tokenizer.encode(text)
    }
    const patient = await smallVoice(executor, 200)
    const model = scriptedModel(prompts, [ids], { voice: { ...patient, tokenizer: { ...patient.tokenizer, encode } } })
    await speak(model, { ...live, ...change })
    return heard.at(-1)!
  }

  test("has its first digits spoken as words", async () => {
    const ids = idsOfText("I 7 or 7")
    expect(await spoken(ids, { firstPieceVerbatim: true })).toContain("7")
    expect(await spoken(ids, { firstPieceVerbatim: false })).not.toContain("7")
    expect(await spoken(ids, { firstPieceVerbatim: false })).toContain("seven")
  })

  test("has its numbers read in the language of the conversation, and whole", async () => {
    // Three tokens a piece: one digit each, so the number is cut.
    const digits = [..."4207"].flatMap(idsOfText)
    expect(digits.length).toBe(4)
    expect(await spoken(digits, { numbers: "official" })).toBe("四二零七")
    expect(await spoken(digits, { numbers: "conversation" })).toBe("four two zero seven")
    const late = [...digits, ...idsOfText(" is 5 in English.")]
    expect(await spoken(late, { numbers: "conversation" })).toBe("four two zero seven is five in English.")
  })

  test("goes on when its speech ends early: the rest is another utterance", async () => {
    const of = async (outlivesSpeech: boolean) => {
      const model = scriptedModel(prompts, [idsOfText(SENTENCE)], {
        voice: brief,
      })
      return await speak(model, { ...live, outlivesSpeech })
    }
    const [official, going] = [await of(false), await of(true)]
    expect(official.end.finishReason).toBe("interrupted")
    expect(SENTENCE.startsWith(official.end.text)).toBe(true)
    expect(official.end.text.length).toBeLessThan(SENTENCE.length)
    expect(going.end).toMatchObject({ finishReason: "stop", text: SENTENCE })
    expect(going.end.audioMs).toBeGreaterThan(official.end.audioMs)
    const texts = going.events.flatMap(({ event }) => (event.type === "audio-delta" ? [event.text] : []))
    expect(texts.join("")).toBe(SENTENCE)
  })
})

describe("an answer's text", () => {
  test("keeps token 0 and shows no marks", async () => {
    const of = async (officialText: boolean) => {
      const model = scriptedModel(prompts, [[...idsOfText("Oh"), 0, ...idsOfText(" no"), tokenizer.idOf(TTS_EOS)]])
      return (await speak(model, { ...live, officialText })).end.text
    }
    expect(await of(true)).toBe("Oh no")
    expect(await of(false)).toBe(`Oh${tokenizer.decode([0])} no`)
  })

  test("behind the end-of-speech mark is lost in the official stream, and shown but not said by its chat", async () => {
    const ids = [...idsOfText("Oh no"), tokenizer.idOf(TTS_EOS), ...idsOfText("and more")]
    const inCall = await speak(scriptedModel(prompts, [ids]), { ...reference, pieceTokens: ids.length })
    expect(inCall.end.text).toBe("Oh no")
    const inChat = async (said: readonly number[]) => {
      const model = scriptedModel(prompts, [said], { voice })
      const messages = [{ role: "user", content: "hi" }] as const
      const options = { messages, speak: true, behaviour: "reference", temperature: 0, repetitionPenalty: 1 } as const
      const events: AnswerEvent[] = []
      for await (const event of omniChat(model, options, () => 0)) if (event) events.push(event)
      const sound = events.flatMap((event) => (event.type === "audio-delta" ? [...event.pcm] : []))
      const end = events.at(-1)!
      return { sound, text: end.type === "turn-end" ? end.text : "" }
    }
    const [whole, before] = [await inChat(ids), await inChat(idsOfText("Oh no"))]
    expect(whole.text).toBe("Oh noand more")
    expect(before.sound.length).toBeGreaterThan(0)
    expect(whole.sound).toEqual(before.sound)
  })

  test("is penalized for repetition over its whole length", async () => {
    const [a, b] = [idsOfText("a")[0]!, idsOfText("b")[0]!]
    const of = async (penaltyScope: BehaviourOptions["penaltyScope"]) => {
      const model = scriptedModel(prompts, [new Array<number>(12).fill(a)])
      // `a` has 9, `b` gets 7.5: one repetition makes `a` 6.
      const options = { repetitionPenalty: 1.5, logitBias: { [b]: 7.5 }, maxNewTokens: 12 }
      return (await speak(model, { ...live, penaltyScope }, options)).end.text
    }
    const count = (text: string) => [...text].filter((char) => char === "a").length
    expect(count(await of("answer"))).toBeLessThan(count(await of("piece")))
  })
})

/** A call of a mock, driven by hand. */
async function call(model: MockModel, options: CallOptions) {
  const opened = await runSteps(
    Call.open({ model, voices: new VoiceCache(), now: () => 0 }, { temperature: 0, ...options }),
  )
  const respond = async (leaveAfter = Number.POSITIVE_INFINITY) => {
    let text = ""
    let end: Extract<AnswerEvent, { type: "turn-end" }> | undefined
    for await (const event of opened.respond({ speak: false })) {
      if (event?.type === "text-delta") text += event.text
      if (event?.type === "turn-end") end = event
      if (text.length >= leaveAfter) break
    }
    return { text, end }
  }
  return { call: opened, respond }
}

describe.each(["reference", "live"] as const)("a call, %s", (behaviour: Behaviour) => {
  const isLive = behaviour === "live"

  test("reads the second that had begun when the turn ended, the official server only with a frame", async () => {
    const of = async (lastFrameSlices: number) => {
      const it = await call(scriptedModel(prompts, [idsOfText("ok")]), { behaviour, lastFrameSlices })
      it.call.push({ pcm: new Float32Array(24_000) })
      return (await it.respond()).end!.usage.promptAudioTokens
    }
    expect(await of(6)).toBe(isLive ? 25 + 12 : 25)
  })

  test("remembers the last token of an answer that was cut off, which the official stream forgets", async () => {
    const model = scriptedModel(prompts, [idsOfText("one two three four five")])
    const it = await call(model, { behaviour })
    it.call.push({ text: "hi" })
    const { text } = await it.respond(8)
    const remembered = async () => {
      it.call.push({ text: "?" })
      await it.respond()
      const [, answer] = readable(prompts, lastSeen(model)).split("<|tts_bos|>")
      return answer!.split("<|tts_eos|>")[0]!
    }
    const kept = await remembered()
    if (isLive) expect(kept).toBe(text)
    else expect(text.startsWith(kept) && kept.length < text.length).toBe(true)
  })

  test("does not remember the stop text that ended an answer", async () => {
    const model = scriptedModel(prompts, [idsOfText("one two STOP three")])
    const it = await call(model, { behaviour })
    it.call.push({ text: "hi" })
    let text = ""
    for await (const event of it.call.respond({ speak: false, stop: ["STOP"] }))
      if (event?.type === "turn-end") text = event.text
    expect(text).toBe("one two ")
    it.call.push({ text: "?" })
    await it.respond()
    const [, answer] = readable(prompts, lastSeen(model)).split("<|tts_bos|>")
    if (isLive) expect("one two ".startsWith(answer!.split("<|im_end|>")[0]!)).toBe(true)
    else expect(answer).toContain("STO")
  })

  test("speaks first without closing the system prompt once more", async () => {
    const model = scriptedModel(prompts, [idsOfText("Hello!")])
    const it = await call(model, { behaviour })
    await it.respond()
    const [system] = readable(prompts, lastSeen(model)).split("<|im_start|>assistant")
    expect(system!.endsWith("<|im_end|>\n<|im_end|>\n")).toBe(!isLive)
  })

  test("asks for logits only where a token is chosen", async () => {
    const model = scriptedModel(prompts, [idsOfText("one two")])
    const it = await call(model, { behaviour })
    for (let second = 0; second < 5; second++) it.call.push({ pcm: new Float32Array(16_000) })
    for await (const _ of it.call.perceive());
    expect(model.counts.passes).toBeGreaterThan(3)
    expect(model.counts.logits).toBe(0)
    const { end } = await it.respond()
    expect(model.counts.logits).toBe(end!.completionTokens)
  })
})

/** The latest sequence that a model chose a token for. */
const lastSeen = (model: MockModel) => model.seen.at(-1)!

test("the behaviours differ in what is listed above, and nowhere else", () => {
  const differing = (Object.keys(live) as (keyof BehaviourOptions)[]).filter(
    (name) => JSON.stringify(live[name]) !== JSON.stringify(reference[name]),
  )
  expect(new Set(differing)).toEqual(
    new Set([
      "penaltyScope",
      "officialText",
      "cutsAtSpeechEnd",
      "firstPieceVerbatim",
      "numbers",
      "outlivesSpeech",
      "speaksAll", // src/inference/speech-long-text.test.ts
      "reclosesTurns",
      "keepsLastToken",
      "readsTail",
      "rendering", // src/inference/speech-renderer.test.ts
    ]),
  )
})
