/** @file Whole chats in words: on the recorded checkpoint as it is, and with a model that says what the test wants. */
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest"
import { openGoldenSet } from "../../test/parity/golden-set.ts"
import { loadLanguageModel } from "../../test/parity/language-model.ts"
import { loadPromptParts } from "../../test/parity/prompts.ts"
import type { PromptParts } from "../inference/index.ts"
import { tokenModel } from "../inference/token-model.test-util.ts"
import { createOrtNodeExecutor } from "../runtime/index.node.ts"
import { checkpointFiles } from "../tokenizer/fixtures.test-util.ts"
import { IM_END, loadChatTemplate, type OmniTokenizer, readTokenizer, TTS_EOS } from "../tokenizer/index.ts"
import { InputError } from "../util/index.ts"
import { checkChat, omniChat } from "./chat.ts"
import type { ConversationModel, OmniModel } from "./model.ts"
import type { AnswerEvent, ChatOptions } from "./types.ts"
import { textUsage } from "./usage.ts"

const TINY = new URL("../../test/fixtures/tiny-a", import.meta.url).pathname
const HELLO: ChatOptions = { messages: [{ role: "user", content: "Hello!" }] }

type End = Extract<AnswerEvent, { type: "turn-end" }>

/** All events of one answer, steps without one included; a clock that ticks once for each look. */
async function collect(parts: OmniModel, options: ChatOptions) {
  let clock = 0
  const steps: (AnswerEvent | undefined)[] = []
  for await (const step of omniChat(parts, options, () => clock++)) steps.push(step)
  const events = steps.filter((step) => step !== undefined)
  const deltas = events.filter((event) => event.type === "text-delta").map((event) => event.text)
  return { steps, events, deltas, end: events.at(-1) as End }
}

/** A model that reads text alone. */
const textModel = (language: ConversationModel): OmniModel => ({
  fingerprint: "text",
  language,
  prompts: { ...prompts, tokenizer, template },
  perception: { model: language },
})

let tokenizer: OmniTokenizer
let prompts: PromptParts
const template = loadChatTemplate()
beforeAll(async () => {
  ;({ tokenizer } = await readTokenizer(checkpointFiles()))
  await using set = await openGoldenSet(TINY)
  prompts = await loadPromptParts(set)
})

describe("on the recorded checkpoint", () => {
  const executor = createOrtNodeExecutor({ device: "cpu", threads: 1 })
  let parts: OmniModel
  beforeAll(async () => {
    await using set = await openGoldenSet(TINY)
    parts = textModel(await loadLanguageModel(set, executor))
  })
  afterAll(async () => executor[Symbol.asyncDispose]())

  test("an answer is deltas, then one end that sums them up", async () => {
    const { events, deltas, end } = await collect(parts, { ...HELLO, maxNewTokens: 40, minNewTokens: 40 })
    expect(events.slice(0, -1).every((event) => event.type === "text-delta")).toBe(true)
    expect(end.type).toBe("turn-end")
    expect(end.text).toBe(deltas.join(""))
    expect(end.text.length).toBeGreaterThan(0)
    expect(end.finishReason).toBe("length")
    expect(end.completionTokens).toBe(40)
    expect(end.promptTokens).toBe(tokenizer.encode(template([{ role: "user", content: "Hello!" }])).length)
    expect(end.usage).toEqual(textUsage(end.promptTokens, 40))
    expect(end.timings.prefillMs).toBeGreaterThan(0)
    expect(end.timings.decodeMs).toBeGreaterThan(0)
  })

  test("the same seed gives the same answer, another seed another one", async () => {
    const run = async (seed?: number) => {
      const options = { ...HELLO, maxNewTokens: 12, ...(seed === undefined ? {} : { seed }) }
      return (await collect(parts, options)).end.text
    }
    expect(await run(7)).toBe(await run(7))
    expect(await run()).toBe(await run(0))
    expect(await run(7)).not.toBe(await run(8))
  })

  test("greedy answers do not depend on the seed", async () => {
    const run = async (seed: number) =>
      (await collect(parts, { ...HELLO, temperature: 0, maxNewTokens: 6, seed })).end.text
    expect(await run(1)).toBe(await run(2))
  })

  test("a text that no context can hold is refused by its size", async () => {
    const context = parts.language.config.maxPositionEmbeddings
    const encode = vi.spyOn(parts.prompts.tokenizer, "encode")
    const content = [{ type: "text" as const, text: "x".repeat(8 * context) }]
    const messages = [1, 2, 3].map(() => ({ role: "user" as const, content }))
    const refused = `messages: expected at most ${16 * context} bytes of text for a context of ${context} positions`
    await expect(collect(parts, { messages })).rejects.toThrow(refused)
    expect(encode).not.toHaveBeenCalled()
    encode.mockRestore()
  })

  test("sound that no context can hold is refused before it is brought to the model's rate", async () => {
    const context = parts.language.config.maxPositionEmbeddings
    const pcm = new Float32Array(8000 * Math.ceil(context / 25 + 1))
    const steps = omniChat(
      parts,
      { messages: [{ role: "user", content: [{ type: "audio", audio: { pcm, sampleRateHz: 8000 } }] }] },
      () => 0,
    )
    await expect(steps.next()).rejects.toThrow(`context: expected at most ${context} positions, got `)
  })

  test("a conversation that does not fit is refused before any text", async () => {
    const context = parts.language.config.maxPositionEmbeddings
    const messages = [{ role: "user" as const, content: "x y ".repeat(context) }]
    const failure = collect(parts, { messages })
    await expect(failure).rejects.toThrow(InputError)
    await expect(failure).rejects.toThrow(`context: expected at most ${context} positions, got `)
    // Nothing was done for it.
    const embed = () => {
      throw new Error("embedded for nothing")
    }
    const strict = { ...parts, language: { ...parts.language, config: parts.language.config, embed } } as OmniModel
    const asked = collect({ ...strict, perception: { model: strict.language } } as OmniModel, { messages })
    await expect(asked).rejects.toThrow(`context: expected at most ${context} positions, got `)
  })
})

describe("with a model that says what it is told", () => {
  /** Says these ids, whatever it is asked. */
  const saying = (ids: readonly number[]): OmniModel => {
    const promptTokens = tokenizer.encode(template([{ role: "user", content: "Hello!" }])).length
    const { model, createCache } = tokenModel(tokenizer.size, (seen) =>
      Array.from({ length: tokenizer.size }, (_, id) => (id === ids[seen.length - promptTokens] ? 9 : 0)),
    )
    return textModel({ ...model, createCache } as ConversationModel)
  }
  const greedy = { ...HELLO, temperature: 0, repetitionPenalty: 1 }
  const idsOf = (text: string) => tokenizer.encode(text)

  test("text ends at the terminator, which is not shown", async () => {
    const { deltas, end } = await collect(saying([...idsOf("Hi there"), tokenizer.idOf(IM_END), 5]), greedy)
    expect(deltas.join("")).toBe("Hi there")
    expect(end).toMatchObject({ text: "Hi there", finishReason: "stop" })
    expect(end.completionTokens).toBe(idsOf("Hi there").length + 1)
  })

  test("token 0 is text like any other", async () => {
    const ids = [...idsOf("Oh"), 0, tokenizer.idOf(IM_END)]
    const { deltas, end } = await collect(saying(ids), greedy)
    expect(deltas.join("")).toBe(`Oh${tokenizer.decode([0])}`)
    expect(end.text).toBe(`Oh${tokenizer.decode([0])}`)
    expect(tokenizer.decode([0])).not.toBe("")
  })

  test("the end of speech is not shown", async () => {
    const ids = [...idsOf("a"), tokenizer.idOf(TTS_EOS), ...idsOf("b"), tokenizer.idOf(IM_END)]
    expect((await collect(saying(ids), greedy)).end.text).toBe("ab")
  })

  test("characters of several tokens appear whole; what stays broken is marked at the end", async () => {
    const ids = idsOf("\u{1F30D}")
    expect(ids.length).toBeGreaterThan(1)
    const whole = await collect(saying([...ids, tokenizer.idOf(IM_END)]), greedy)
    expect(whole.deltas).toEqual(["\u{1F30D}"])
    const broken = await collect(saying(ids), { ...greedy, maxNewTokens: ids.length - 1 })
    expect(broken.deltas).toEqual(["\uFFFD"])
    expect(broken.end).toMatchObject({ text: "\uFFFD", finishReason: "length" })
  })

  test("every step yields", async () => {
    const { steps } = await collect(saying([...idsOf("a"), tokenizer.idOf(IM_END)]), greedy)
    // Prefill, the first token's text, one step of decode, the terminator, the end.
    expect(steps.map((step) => step?.type)).toEqual([undefined, "text-delta", undefined, undefined, "turn-end"])
  })

  test("stop texts end the answer and are not shown, wherever tokens are cut", async () => {
    const ids = [...idsOf("one STOP two"), tokenizer.idOf(IM_END)]
    const { end, deltas } = await collect(saying(ids), { ...greedy, stop: ["STOP"] })
    expect(end).toMatchObject({ text: "one ", finishReason: "stop" })
    expect(deltas.join("")).toBe("one ")
  })

  test("text from outside never acts as special strings", async () => {
    const tricky = { ...greedy, messages: [{ role: "user" as const, content: "<|im_end|>" }] }
    const plain = { ...greedy, messages: [{ role: "user" as const, content: "" }] }
    const size = async (options: ChatOptions) =>
      (await collect(saying([tokenizer.idOf(IM_END)]), options)).end.promptTokens
    expect(await size(tricky)).toBeGreaterThan((await size(plain)) + 1)
  })
})

describe("requests", () => {
  const user = { role: "user" as const, content: "a" }

  test("that are good pass", () => {
    checkChat({ messages: [{ role: "system", content: "" }, user, { role: "assistant", content: "b" }, user] })
    checkChat({ messages: [user], maxNewTokens: 1, seed: 0, topK: 0, temperature: 0 })
  })

  test.each([
    [{ messages: [] }, "messages: expected at least one, got none"],
    [
      { messages: [user, { role: "assistant" as const, content: "b" }] },
      "messages: expected the last one from the user, got assistant",
    ],
    [{ messages: [user], maxNewTokens: 0 }, "maxNewTokens: expected a whole number ≥ 1, got 0"],
    [{ messages: [user], maxNewTokens: 1.5 }, "maxNewTokens: expected a whole number ≥ 1, got 1.5"],
    [{ messages: [user], seed: -1 }, "seed: expected a whole number ≥ 0, got -1"],
    [{ messages: [user], seed: 2 ** 53 }, "seed: expected a whole number ≥ 0, got 9007199254740992"],
    [{ messages: [user], temperature: -1 }, "temperature: expected a number ≥ 0, got -1"],
    [{ messages: [user], topP: 2 }, "topP: expected a number in (0, 1], got 2"],
  ] as [ChatOptions, string][])("that are wrong are refused: %j", async (options, message) => {
    expect(() => checkChat(options)).toThrow(InputError)
    expect(() => checkChat(options)).toThrow(message)
    const model = { prompts: { tokenizer, template } } as OmniModel // never reached
    await expect(collect(model, options)).rejects.toThrow(message)
  })
})
