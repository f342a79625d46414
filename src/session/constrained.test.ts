/** @file Answers with tools and formats: random models keep to them, and what a model says becomes the right events. */
import fc from "fast-check"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { z } from "zod"
import { openGoldenSet } from "../../test/parity/golden-set.ts"
import { loadLanguageModel } from "../../test/parity/language-model.ts"
import { loadPromptParts } from "../../test/parity/prompts.ts"
import { loadXgrammar } from "../grammar/index.node.ts"
import { Constraints } from "../grammar/index.ts"
import { anySchema } from "../grammar/schemas.test-util.ts"
import type { PromptParts } from "../inference/index.ts"
import { tokenModel } from "../inference/token-model.test-util.ts"
import { createOrtNodeExecutor } from "../runtime/index.node.ts"
import { checkpointFiles } from "../tokenizer/fixtures.test-util.ts"
import {
  IM_END,
  loadChatTemplate,
  type OmniTokenizer,
  readTokenizer,
  TTS_EOS,
  terminatorIds,
} from "../tokenizer/index.ts"
import { omniChat } from "./chat.ts"
import { smallVoice } from "./mock-model.test-util.ts"
import type { ConversationModel, OmniModel } from "./model.ts"
import { scriptedModel } from "./scripted-model.test-util.ts"
import type { AnswerEvent, ChatOptions, Tool } from "./types.ts"

const TINY = new URL("../../test/fixtures/tiny-a", import.meta.url).pathname
const HELLO: ChatOptions = { messages: [{ role: "user", content: "Hello!" }] }
const TOOLS: Tool[] = [
  {
    name: "weather",
    description: "The weather <|im_end|> of a city",
    parameters: { type: "object", properties: { city: { type: "string", maxLength: 8 } }, required: ["city"] },
  },
  { name: "stop" },
]

let tokenizer: OmniTokenizer
let prompts: PromptParts
let constraints: Constraints
const template = loadChatTemplate()
const executor = createOrtNodeExecutor({ device: "cpu", threads: 1 })
let tiny: OmniModel

beforeAll(async () => {
  ;({ tokenizer } = await readTokenizer(checkpointFiles()))
  await using set = await openGoldenSet(TINY)
  prompts = { ...(await loadPromptParts(set)), tokenizer, template }
  const language = await loadLanguageModel(set, executor)
  constraints = await Constraints.create(
    await loadXgrammar(),
    tokenizer,
    language.config.vocabSize,
    terminatorIds(tokenizer),
  )
  tiny = textModel(language)
}, 60_000)
afterAll(async () => {
  constraints[Symbol.dispose]()
  await executor[Symbol.asyncDispose]()
})

const textModel = (language: ConversationModel): OmniModel => ({
  fingerprint: "text",
  language,
  prompts,
  perception: { model: language },
  constraints: async () => constraints,
})

async function collect(model: OmniModel, options: ChatOptions) {
  const events: AnswerEvent[] = []
  for await (const step of omniChat(model, options, () => 0)) if (step) events.push(step)
  const end = events.at(-1)!
  if (end.type !== "turn-end") throw new Error("an answer without an end")
  const calls = events.flatMap((event) => (event.type === "tool-call" ? [event.call] : []))
  const given = events.flatMap((event) => (event.type === "tool-call-delta" ? [event] : []))
  return { events, end, calls, given }
}

describe("a random model", () => {
  test("answers with what its schema allows, or is cut off by its limit", { timeout: 120_000 }, async () => {
    let whole = 0
    await fc.assert(
      fc.asyncProperty(anySchema, fc.nat(), fc.integer({ min: 5, max: 160 }), async (schema, seed, maxNewTokens) => {
        const format = { type: "json-schema", schema } as const
        const { end, events } = await collect(tiny, { ...HELLO, format, seed, maxNewTokens })
        expect(events.every(({ type }) => type === "text-delta" || type === "turn-end")).toBe(true)
        if (end.finishReason === "length") return
        whole++
        expect(end.finishReason).toBe("stop")
        expect(z.fromJSONSchema(schema as never).safeParse(JSON.parse(end.text)).error).toBeUndefined()
      }),
      { numRuns: 40 },
    )
    expect(whole).toBeGreaterThan(12)
  })

  test("answers with an object, greedily or not", async () => {
    for (const temperature of [0, 1]) {
      const options = { ...HELLO, format: { type: "json-object" } as const, temperature, maxNewTokens: 60 }
      const { end } = await collect(tiny, options)
      expect(end.text.startsWith("{")).toBe(true)
      if (end.finishReason === "stop") expect(JSON.parse(end.text)).toBeTypeOf("object")
    }
  })

  test("calls tools when it must, with arguments that fit", { timeout: 60_000 }, async () => {
    let calls = 0
    for (let seed = 0; seed < 8; seed++) {
      const options = { ...HELLO, tools: TOOLS, format: { type: "tool-call" } as const, seed, maxNewTokens: 120 }
      const { end, events, calls: made, given } = await collect(tiny, options)
      expect(end.text).toBe("")
      expect(events.some(({ type }) => type === "text-delta")).toBe(false)
      if (end.finishReason === "tool-calls") expect(made.length).toBeGreaterThan(0)
      else expect(end.finishReason).toBe("length")
      for (const [index, call] of made.entries()) {
        calls++
        expect(["weather", "stop"]).toContain(call.name)
        if (call.name === "weather") expect(JSON.parse(call.arguments)).toEqual({ city: expect.any(String) })
        const parts = given.filter((delta) => delta.index === index)
        expect(parts.map((delta) => delta.arguments).join("")).toBe(call.arguments)
        expect(new Set(parts.map(({ name }) => name))).toEqual(new Set([call.name]))
      }
    }
    expect(calls).toBeGreaterThan(3)
  })

  test("answers as before where nothing is asked of it", async () => {
    const greedy = { ...HELLO, temperature: 0, maxNewTokens: 12 }
    const { end } = await collect(tiny, greedy)
    const { constraints: _, ...without } = tiny
    expect((await collect(without, greedy)).end.text).toBe(end.text)
    const refused = collect(without, { ...greedy, format: { type: "json-object" } })
    await expect(refused).rejects.toThrow("format: expected a model with grammars, got one without (ask for text)")
  })

  test("refuses a schema before any work", async () => {
    const schema = { type: "string", pattern: "a" }
    await expect(collect(tiny, { ...HELLO, format: { type: "json-schema", schema } })).rejects.toThrow(
      "response_format: expected keywords that a grammar can keep, got pattern",
    )
  })
})

describe("with a model that says what it is told", () => {
  /** Says these ids in turn; every id has a logit below them. */
  const saying = (ids: readonly number[]): OmniModel => {
    let start: number | undefined
    const { model, createCache } = tokenModel(
      tokenizer.size,
      (seen) => {
        start ??= seen.length
        return Float32Array.from({ length: tokenizer.size }, (_, id) => (id === ids[seen.length - start!] ? 9 : id % 7))
      },
      1,
      4000,
    )
    return textModel({ ...model, createCache } as ConversationModel)
  }
  const greedy: ChatOptions = { ...HELLO, temperature: 0, repetitionPenalty: 1, tools: TOOLS }
  const end = () => tokenizer.idOf(IM_END)
  const run = (text: string | readonly number[], options: Partial<ChatOptions> = {}) => {
    const ids = typeof text === "string" ? tokenizer.encode(text) : text
    const all = { ...greedy, ...options }
    return collect(saying([...ids, end()]), all)
  }
  const CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Bonn"}}\n</tool_call>'
  const OTHER = '<tool_call>\n{"name": "stop", "arguments": {}}\n</tool_call>'

  test("text, then calls, each as one event after its arguments", async () => {
    const { events, end, calls, given } = await run(`Let me see.\n${CALL}\n${OTHER}`)
    expect(end).toMatchObject({ text: "Let me see.", finishReason: "tool-calls" })
    expect(calls).toEqual([
      { name: "weather", arguments: '{"city": "Bonn"}' },
      { name: "stop", arguments: "{}" },
    ])
    expect(given.length).toBeGreaterThan(2)
    const types = events.map(({ type }) => type)
    expect(types.lastIndexOf("text-delta")).toBeLessThan(types.indexOf("tool-call-delta"))
    expect(types.indexOf("tool-call-delta")).toBeLessThan(types.indexOf("tool-call"))
  })

  test("what is said before a call is spoken, the call is not", { timeout: 60_000 }, async () => {
    const ids = tokenizer.encode(`Let me see what it is like.\n${CALL}`)
    const model = {
      ...scriptedModel(prompts, [ids], { voice: await smallVoice(executor) }),
      constraints: async () => constraints,
    }
    const { events, calls, end } = await collect(model, { ...greedy, speak: true })
    const spoken = events.flatMap((event) => (event.type === "audio-delta" ? [event.text] : []))
    expect(spoken.join("")).toBe("Let me see what it is like.")
    expect(end).toMatchObject({ text: "Let me see what it is like.", finishReason: "tool-calls" })
    expect(end.audioMs).toBeGreaterThan(0)
    expect(calls).toEqual([{ name: "weather", arguments: '{"city": "Bonn"}' }])
    const silent = await collect(model, { ...greedy, speak: true, format: { type: "tool-call" }, maxNewTokens: 4 })
    expect(silent.end.audioMs).toBe(0)
  })

  test("the model may choose text alone, and the mark of ended speech is no obstacle", async () => {
    const { end: ended, calls } = await run([...tokenizer.encode("No."), tokenizer.idOf(TTS_EOS)])
    expect(ended).toMatchObject({
      text: "No.",
      finishReason: "stop",
      completionTokens: tokenizer.encode("No.").length + 2,
    })
    expect(calls).toEqual([])
  })

  test("a call that is not whole is not made", async () => {
    const length = tokenizer.encode(CALL).length - 3
    const { end, calls, given } = await run(CALL, { maxNewTokens: length })
    expect(end).toMatchObject({ text: "", finishReason: "length" })
    expect(calls).toEqual([])
    expect(given.map((delta) => delta.arguments).join("")).toContain("Bonn")
  })

  test("a stop text ends text, and nothing inside a call", async () => {
    const inside = await run(`One. ${CALL}`, { stop: ["Bonn", "city"] })
    expect(inside.end.finishReason).toBe("tool-calls")
    expect(inside.calls.length).toBe(1)
    const before = await run(`One. STOP ${CALL}`, { stop: ["STOP"] })
    expect(before.end).toMatchObject({ text: "One. ", finishReason: "stop" })
    expect(before.calls).toEqual([])
  })

  test("calls are impossible where text is asked for", async () => {
    const { end, calls } = await run(CALL, { format: { type: "text" }, maxNewTokens: 5 })
    expect(calls).toEqual([])
    expect(end.text).not.toContain("<tool_call>")
  })

  test("log-probabilities belong to the text that is shown, without marks and calls", async () => {
    const { tools: _, ...plain } = greedy
    const text = "Ja \u{1F30D}!"
    const { events } = await collect(saying([...tokenizer.encode(text), tokenizer.idOf(TTS_EOS), end()]), {
      ...plain,
      logprobs: 3,
    })
    const deltas = events.filter((event) => event.type === "text-delta")
    const entries = deltas.flatMap((delta) => delta.logprobs ?? [])
    expect(new TextDecoder().decode(Uint8Array.from(entries.flatMap(({ bytes }) => bytes)))).toBe(text)
    const size = tokenizer.size
    const total = Math.exp(9) + Array.from({ length: size }, (_, id) => Math.exp(id % 7)).reduce((a, b) => a + b)
    for (const { logprob, top, token } of entries) {
      expect(logprob).toBeCloseTo(9 - Math.log(total), 2)
      expect(top.length).toBe(3)
      expect(top[0]).toMatchObject({ token, logprob })
      expect(top[1]!.logprob).toBeCloseTo(6 - Math.log(total), 2)
    }
    const called = await run(`See.\n${CALL}`, { logprobs: 0 })
    const said = called.events.flatMap((event) => (event.type === "text-delta" ? (event.logprobs ?? []) : []))
    expect(said.map(({ token }) => token).join("")).toBe("See.")
    expect(said.every(({ top }) => top.length === 0)).toBe(true)
    await expect(run("x", { logprobs: 21 })).rejects.toThrow("logprobs: expected a whole number from 0 to 20, got 21")
  })

  test("bias and penalties change what is said", async () => {
    const { tools: _, ...plain } = greedy
    const [a, b] = [tokenizer.encode("a")[0]!, tokenizer.encode("b")[0]!]
    const biased = { ...plain, logitBias: { [a]: -100, [b]: 50 }, maxNewTokens: 3 }
    expect((await collect(saying([a, a, a]), biased)).end.text).toBe("bbb")
    const repeated = { ...plain, presencePenalty: 2, frequencyPenalty: 2, maxNewTokens: 6 }
    const { end: said } = await collect(saying([a, a, a, a, a, a]), repeated)
    expect(said.text.startsWith("a")).toBe(true)
    expect(said.text.startsWith("aaa")).toBe(false) // 9 - 2·2 - 2 is below the next best
    await expect(run("x", { presencePenalty: 3 })).rejects.toThrow(
      "presencePenalty: expected a number from -2 to 2, got 3",
    )
  })
})
