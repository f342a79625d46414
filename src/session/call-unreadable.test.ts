/** @file Input that cannot be read is refused once, and is not in the way of what comes after it. */
import { beforeAll, describe, expect, test, vi } from "vitest"
import { openGoldenSet } from "../../test/parity/golden-set.ts"
import { loadPromptParts } from "../../test/parity/prompts.ts"
import type { PromptParts, VisionEncoder } from "../inference/index.ts"
import { InputError, runSteps } from "../util/index.ts"
import { Call } from "./call.ts"
import { hashedTokens, type MockModel, mockModel } from "./mock-model.test-util.ts"
import type { AnswerEvent, CallEvent, CallOptions } from "./types.ts"
import { VoiceCache } from "./voices.ts"

const TINY = new URL("../../test/fixtures/tiny-a", import.meta.url).pathname
let prompts: PromptParts
beforeAll(async () => {
  await using set = await openGoldenSet(TINY)
  prompts = await loadPromptParts(set)
})

const TOO_LONG = "no ".repeat(2000)
const NARROW = { width: 1, height: 20_000, data: new Uint8Array(60_000) }
const FRAME = { width: 4, height: 4, data: new Uint8Array(48) }
const second = () => new Float32Array(16_000).fill(0.1)

/** Eyes that refuse narrow pictures by their size, and any other when they look at it. */
const vision = {
  checkSize: ({ height }: { height: number }) => {
    if (height > 1000) throw new InputError("image: too narrow")
  },
  processSteps: () => {
    throw new InputError("image: not to be seen")
  },
} as unknown as VisionEncoder

async function open(options: CallOptions = {}, eyes?: VisionEncoder): Promise<[Call, MockModel]> {
  const model = mockModel(prompts, hashedTokens(prompts.tokenizer, ["yes"]))
  const seeing = { ...model, perception: { ...model.perception, ...(eyes ? { vision: eyes } : {}) } }
  const parts = { model: seeing, voices: new VoiceCache(), now: () => 0 }
  return [await runSteps(Call.open(parts, { temperature: 0, contextPositions: 512, ...options })), model]
}

async function all(steps: AsyncGenerator<AnswerEvent | CallEvent | undefined, void, void>): Promise<void> {
  for await (const _ of steps);
}
const ask = (call: Call) => all(call.respond({ speak: false, maxNewTokens: 2 }))
const questionOf = (model: MockModel) => prompts.tokenizer.decode(model.seen.at(-1)!.filter((id) => id >= 0))

describe("what cannot be read", () => {
  test("is refused by its size where no context can hold it, before its tokens are counted", async () => {
    const [call, model] = await open()
    const encode = vi.spyOn(prompts.tokenizer, "encode")
    const much = "no ".repeat(4000)
    const refused = "expected at most 8192 bytes of text for a context of 512 positions, got more (shorten it)"
    expect(() => call.push({ pcm: second(), text: much })).toThrow(`call.push: text: ${refused}`)
    expect(() => call.push({ text: "字".repeat(3000) })).toThrow(`call.push: text: ${refused}`)
    await expect(runSteps(call.append({ role: "tool", text: much }))).rejects.toThrow(`call.append: ${refused}`)
    await expect(all(call.respond({ instructions: much }))).rejects.toThrow(`respond.instructions: ${refused}`)
    await expect(open({ instructions: "no ".repeat(100_000) })).rejects.toThrow("instructions: expected at most")
    expect(Math.max(0, ...encode.mock.calls.map(([text]) => text.length))).toBeLessThan(8192)
    encode.mockRestore()
    call.push({ text: "first" })
    await ask(call)
    expect(questionOf(model)).toMatch(/user\nfirst<\|im_end\|>/)
  })

  test("is refused once by what reads it, and what lies around it is kept", async () => {
    const [call, model] = await open()
    for (const text of ["first", TOO_LONG, " second"]) call.push({ text })
    await expect(all(call.perceive())).rejects.toThrow("context: expected at most")
    await ask(call)
    expect(questionOf(model)).toMatch(/user\nfirst second<\|im_end\|>/)
  })

  test("is refused once by the answer that it was meant for", async () => {
    const [call, model] = await open()
    for (const text of [TOO_LONG, "first"]) call.push({ text })
    call.keep()
    await expect(ask(call)).rejects.toThrow("context: expected at most")
    call.push({ text: " second" })
    await ask(call)
    expect(questionOf(model)).toMatch(/user\nfirst second<\|im_end\|>/)
  })

  test("may be a picture", async () => {
    const [call] = await open({ mode: "omni" }, vision)
    call.push({ pcm: second(), frame: FRAME })
    await expect(all(call.perceive())).rejects.toThrow("not to be seen")
    call.push({ pcm: second() })
    await all(call.perceive())
    await ask(call)
  })
})

test("a last frame that the context cannot hold in full resolution is left as it was seen before", async () => {
  const [call, model] = await open({ mode: "omni" }, vision)
  call.push({ pcm: second(), frame: FRAME })
  await expect(all(call.perceive())).rejects.toThrow("not to be seen")
  call.push({ text: "what?" })
  await ask(call)
  expect(questionOf(model)).toMatch(/user\nwhat\?<\|im_end\|>/)
})

describe("input that the model has no use for is refused before it is taken", () => {
  test("a picture of a size that it cannot see", async () => {
    const [call] = await open({ mode: "omni" }, vision)
    const before = call.snapshot()
    expect(() => call.push({ pcm: second(), frame: NARROW })).toThrow("too narrow")
    expect(call.snapshot()).toEqual(before)
  })

  test("a picture for a model without eyes", async () => {
    const [call] = await open()
    const before = call.snapshot()
    expect(() => call.push({ pcm: second(), frame: FRAME })).toThrow("expected a model that sees")
    expect(call.snapshot()).toEqual(before)
  })
})
