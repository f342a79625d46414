/**
 * @file Calls under any order of commands, against a list of what was said. The mock remembers ids, so the list is compared
 * with what the language model really has in its cache.
 */
import fc from "fast-check"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { openGoldenSet } from "../../test/parity/golden-set.ts"
import { loadPromptParts } from "../../test/parity/prompts.ts"
import type { PromptParts } from "../inference/index.ts"
import { createOrtNodeExecutor } from "../runtime/index.node.ts"
import { runSteps } from "../util/index.ts"
import { Call, type CallParts } from "./call.ts"
import type { LedgerData } from "./ledger.ts"
import { loudVad } from "./loud-vad.test-util.ts"
import { hashedTokens, type MockModel, mockModel, SOUND, smallVoice } from "./mock-model.test-util.ts"
import type { VoiceParts } from "./model.ts"
import { decodeData } from "./snapshot.ts"
import type { AnswerEvent, CallEvent, CallOptions } from "./types.ts"
import { VoiceCache } from "./voices.ts"

const TINY = new URL("../../test/fixtures/tiny-a", import.meta.url).pathname
const WORDS = ["one", " two", " three", ".", "!", " I", " you", "?", " and", "é", "\u{1F30D}", "7"]
const executor = createOrtNodeExecutor({ device: "cpu", threads: 1 })

let prompts: PromptParts
let voice: VoiceParts
beforeAll(async () => {
  await using set = await openGoldenSet(TINY)
  prompts = await loadPromptParts(set)
  voice = await smallVoice(executor)
})
afterAll(() => executor[Symbol.asyncDispose]())

type Saved = {
  readonly cache: { readonly length: number; readonly slots: { readonly ids: { readonly values: Float32Array } } }
  readonly ledger: LedgerData
  readonly lastToken: number | null
}

/** What a call really holds. */
function inside(call: Call): Saved & { readonly text: string } {
  const saved = decodeData(call.snapshot().bytes) as Saved
  const { tokenizer } = prompts
  const ids = [...saved.cache.slots.ids.values, ...(saved.lastToken === null ? [] : [saved.lastToken])]
  const bytes = ids.flatMap((id) => (id === SOUND ? [...new TextEncoder().encode("♪")] : [...tokenizer.bytesOf(id)]))
  return { ...saved, text: new TextDecoder().decode(Uint8Array.from(bytes)) }
}

/** What was said in each answer that is still remembered, oldest first. */
function answersIn(text: string): string[] {
  return text
    .split("<|im_start|>assistant\n")
    .slice(1)
    .map(
      (turn) =>
        turn.replace(/^<\|spk_bos\|><\|spk\|><\|spk_eos\|><\|tts_bos\|>/, "").split(/<\|tts_eos\|>|<\|im_end\|>/)[0]!,
    )
}

function check(call: Call, limit: number): void {
  const { cache, ledger, text } = inside(call)
  expect(text).not.toContain("SHORTLY")
  expect(cache.length).toBeLessThanOrEqual(limit)
  // Turns follow each other without a gap, up to the end of the cache.
  let at = ledger.system
  for (const { start, contentStart, unitEnds, answer } of ledger.turns) {
    expect(start).toBe(at)
    const ends = [contentStart, ...unitEnds, ...(answer ? [answer.start, answer.textStart, answer.end] : [])]
    expect(ends).toEqual(ends.toSorted((a, b) => a - b))
    at = ends.at(-1)!
  }
  expect(at).toBe(cache.length)
  for (const { start, end } of ledger.media) expect(0 <= start && start < end && end <= cache.length).toBe(true)
  const sounds = [...cache.slots.ids.values].filter((id) => id === SOUND).length
  expect(ledger.media.reduce((sum, { start, end }) => sum + end - start, 0)).toBe(sounds)
  // Every turn is closed before the next one opens.
  const turns = text.split("<|im_start|>").slice(1)
  for (const turn of turns.slice(0, -1))
    expect(turn).toMatch(/^(user|assistant)\n[^<]*(<(?!\|im_end)[^<]*)*<\|im_end\|>\n$/)
}

type Step =
  | { readonly do: "push"; readonly windows: readonly number[] }
  | { readonly do: "say"; readonly text: string }
  | {
      readonly do: "respond"
      readonly speak: boolean
      readonly instructions?: string | undefined
      readonly leaveAfter: number | undefined
      readonly heard: number | undefined
    }
  | { readonly do: "interrupt"; readonly heardMs: number | undefined }
  | { readonly do: "perceive"; readonly leaveAfter: number }
  | { readonly do: "append"; readonly role: "user" | "assistant" | "tool"; readonly text: string }
  | { readonly do: "clear" }
  | { readonly do: "keep" }
  | { readonly do: "restore" }

const plainText = fc
  .string({ unit: "grapheme-ascii", minLength: 1, maxLength: 8 })
  .map((text) => text.replaceAll("<", "("))
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({
    do: fc.constant("push" as const),
    windows: fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 4 }),
  }),
  fc.record({ do: fc.constant("say" as const), text: plainText }),
  fc.record({
    do: fc.constant("respond" as const),
    speak: fc.boolean(),
    instructions: fc.option(fc.constant("SHORTLY"), { nil: undefined }),
    leaveAfter: fc.option(fc.nat(40), { nil: undefined }),
    heard: fc.option(fc.double({ min: 0, max: 1.5, noNaN: true }), { nil: undefined }),
  }),
  fc.record({ do: fc.constant("interrupt" as const), heardMs: fc.option(fc.nat(900), { nil: undefined }) }),
  fc.record({ do: fc.constant("perceive" as const), leaveAfter: fc.nat(6) }),
  fc.record({
    do: fc.constant("append" as const),
    role: fc.constantFrom("user", "assistant", "tool"),
    text: plainText,
  }),
  fc.record({ do: fc.constantFrom("clear" as const, "keep" as const) }),
  fc.record({ do: fc.constant("restore" as const) }),
)

/** Stretches of quiet and loud windows. */
function soundOf(windows: readonly number[]): Float32Array {
  return Float32Array.from(windows.flatMap((count, i) => new Array<number>(count * 512).fill(i % 2 === 1 ? 0.5 : 0.01)))
}

/** Leads a call through steps; `said` is what the listener believes was said. */
class Listener {
  readonly said: string[] = []
  readonly events: CallEvent[] = []
  private readonly parts: CallParts
  private readonly options: CallOptions
  private call!: Call

  constructor(model: MockModel, options: CallOptions) {
    this.parts = { model, voices: new VoiceCache(), now: () => 0, vad: loudVad }
    this.options = options
  }

  get limit(): number {
    return this.options.contextPositions!
  }

  async open(snapshot?: ReturnType<Call["snapshot"]>): Promise<Call> {
    this.call = await runSteps(Call.open(this.parts, this.options, snapshot))
    return this.call
  }

  async take(step: Step): Promise<void> {
    const { call } = this
    switch (step.do) {
      case "push":
        this.events.push(...call.push({ pcm: soundOf(step.windows) }))
        return await this.run(call.listen())
      case "say":
        this.events.push(...call.push({ text: step.text }))
        return
      case "perceive":
        return await this.run(call.perceive(), step.leaveAfter)
      case "append":
        await runSteps(call.append({ role: step.role, text: step.text }))
        if (step.role === "assistant") this.said.push(step.text)
        return
      case "clear":
        if (call.clear()) call.rewind()
        return
      case "keep":
        return call.keep()
      case "interrupt":
        this.interrupt(step.heardMs)
        return
      case "respond":
        return await this.respond(step)
      case "restore": {
        const before = call.snapshot()
        await this.open(structuredClone(before))
        expect(this.call.snapshot()).toEqual(before)
        return
      }
    }
  }

  private async run(steps: AsyncGenerator<CallEvent | AnswerEvent | undefined, void, void>, leaveAfter?: number) {
    let count = 0
    for await (const event of steps) {
      if (event && !isAnswer(event)) this.events.push(event)
      if (count++ === leaveAfter) return
    }
  }

  private async respond({ speak, leaveAfter, heard, instructions }: Extract<Step, { do: "respond" }>): Promise<void> {
    let text = ""
    let samples = 0
    let isEnded = false
    let count = 0
    const before = answersIn(inside(this.call).text).length
    for await (const event of this.call.respond({
      speak,
      maxNewTokens: 12,
      ...(instructions ? { instructions } : {}),
    })) {
      if (event?.type === "text-delta") text += event.text
      if (event?.type === "audio-delta") samples += event.pcm.length
      if (event?.type === "turn-end") {
        isEnded = true
        expect(event.text).toBe(text)
        expect(event.audioMs).toBeCloseTo(samples / 24)
      } else if (event && !isAnswer(event)) this.events.push(event)
      if (count++ === leaveAfter) break
    }
    // One that was left before it was opened has said nothing, and is not there.
    const opened = isEnded || answersIn(inside(this.call).text).length > before || text !== ""
    if (opened) this.said.push(text)
    if (!opened) return
    if (!isEnded) {
      // Left early: what stays is what was delivered, and nothing of an answer whose sound had not begun.
      const stays = answersIn(inside(this.call).text).at(-1)!
      if (speak && samples === 0) expect(stays).toBe("")
      expect(tidy(this.call.interrupt().text)).toBe(tidy(stays))
      this.said[this.said.length - 1] = stays
    }
    if (isEnded && heard === undefined) return
    const heardMs = this.interrupt(heard === undefined ? undefined : (heard * samples) / 24)
    expect(heardMs).toBeCloseTo((Math.min(heard ?? 1, 1) * samples) / 24)
  }

  /** The listener knows what was said from the answer alone. */
  private interrupt(time: number | undefined): number {
    const answers = answersIn(inside(this.call).text)
    const { text, heardMs } = this.call.interrupt(time)
    const after = answersIn(inside(this.call).text)
    // At most one answer changed, and it is now what the listener is told.
    const at = answers.findIndex((one, i) => one !== after[i])
    if (at >= 0) {
      expect(at === 0 ? tidy(text).endsWith(tidy(after[at]!)) : tidy(text) === tidy(after[at]!)).toBe(true)
      this.said[this.said.length - (answers.length - at)] = text
    }
    return heardMs
  }

  check(): void {
    check(this.call, this.limit)
    const remembered = answersIn(inside(this.call).text)
    const said = this.said.slice(this.said.length - remembered.length).map(tidy)
    expect(remembered.slice(1).map(tidy)).toEqual(said.slice(1))
    // Of the oldest answer the beginning may be forgotten.
    if (remembered.length > 0) expect(said[0]!.endsWith(tidy(remembered[0]!))).toBe(true)
  }
}

/** A character that was cut in the middle is shown as U+FFFD, or not at all. */
const tidy = (text: string) => text.replaceAll("\uFFFD", "").replaceAll("\0", "")

const ANSWERS = new Set<string>(["text-delta", "audio-delta", "tool-call", "tool-call-delta", "turn-end"])
const isAnswer = (event: CallEvent | AnswerEvent): event is AnswerEvent => ANSWERS.has(event.type)

const OPTIONS: CallOptions = { temperature: 0, repetitionPenalty: 1, contextPositions: 400 }

describe.each([
  ["without turns", {}],
  ["with turns, hearing all", { turns: { silenceMs: 200 }, perceive: "always" }],
  ["with turns, hearing speech", { turns: { silenceMs: 200 }, perceive: "speech" }],
] as [string, CallOptions][])("a call %s", (_, options) => {
  test("keeps what was said, whatever is done in whatever order", { timeout: 110_000 }, async () => {
    const next = hashedTokens(prompts.tokenizer, WORDS)
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 25 }), async (steps) => {
        const model = mockModel(prompts, next, { voice })
        const listener = new Listener(model, { ...OPTIONS, ...options })
        await listener.open()
        for (const one of steps) {
          await listener.take(one)
          listener.check()
        }
        await listener.take({ do: "say", text: "and?" })
        await listener.take({ do: "respond", speak: false, leaveAfter: undefined, heard: undefined })
        listener.check()
      }),
      { numRuns: Number(process.env.RUNS ?? 25) },
    )
  })
})

test("a small context never stops a call, however long its answers are", { timeout: 60_000 }, async () => {
  const words = hashedTokens(prompts.tokenizer, WORDS, 1e9)
  const some = fc.oneof(
    fc.record({ seconds: fc.integer({ min: 1, max: 4 }) }),
    fc.record({ text: plainText }),
    fc.record({ append: fc.constantFrom("user" as const, "assistant" as const), words: fc.nat(60) }),
    fc.record({ answer: fc.constantFrom(1, 40, 1000), heardMs: fc.option(fc.nat(900), { nil: undefined }) }),
    fc.record({ answer: fc.constantFrom(40, 1000) }),
  )
  const limits = fc.constantFrom(256, 257, 300, 512)
  await fc.assert(
    fc.asyncProperty(limits, fc.array(some, { minLength: 2, maxLength: 12 }), async (contextPositions, steps) => {
      const parts = { model: mockModel(prompts, words), voices: new VoiceCache(), now: () => 0 }
      const call = await runSteps(Call.open(parts, { ...OPTIONS, contextPositions }))
      for (const one of steps) {
        if ("seconds" in one) call.push({ pcm: new Float32Array(one.seconds * 16_000) })
        else if ("text" in one) call.push({ text: one.text })
        else if ("append" in one) await runSteps(call.append({ role: one.append, text: "one".repeat(one.words) }))
        else for await (const _ of call.respond({ speak: false, maxNewTokens: one.answer }));
        if ("heardMs" in one) call.interrupt(one.heardMs)
        for await (const _ of call.perceive());
        check(call, contextPositions)
      }
    }),
    { numRuns: Number(process.env.RUNS ?? 25) },
  )
})

test("an answer that is left at any of its steps ends once, and the next question follows it", async () => {
  const next = hashedTokens(prompts.tokenizer, WORDS, 4)
  const silent = { speak: false, leaveAfter: undefined, heard: undefined }
  for (let leaveAfter = 0; leaveAfter < 60; leaveAfter++) {
    const listener = new Listener(mockModel(prompts, next, { voice }), { ...OPTIONS, seed: 1 })
    await listener.open()
    const steps: Step[] = [
      { do: "say", text: "hi" },
      { do: "respond", speak: true, leaveAfter, heard: undefined },
      { do: "say", text: "and?" },
      { do: "respond", ...silent },
    ]
    for (const one of steps) {
      await listener.take(one)
      listener.check()
    }
  }
})

test("instructions of one answer are read with its question, and gone after it", async () => {
  const remembered = async (...all: (string | undefined)[]) => {
    const model = mockModel(prompts, hashedTokens(prompts.tokenizer, ["one"], 1e9))
    const call = await runSteps(Call.open({ model, voices: new VoiceCache(), now: () => 0 }, OPTIONS))
    for (const instructions of all) {
      call.push({ text: "hi" })
      const options = { speak: false, maxNewTokens: 3, ...(instructions ? { instructions } : {}) }
      for await (const _ of call.respond(options));
      const question = prompts.tokenizer.decode(model.seen.at(-1)!).split("<|im_start|>user\n").at(-1)
      expect(question).toContain(`hi${instructions ? `\n${instructions}` : ""}<|im_end|>`)
    }
    return inside(call)
  }
  expect((await remembered("SHORTLY", undefined, "SHORTLY")).text).toBe(
    (await remembered(undefined, undefined, undefined)).text,
  )
})

test("a message with long sound is added whole or not at all", async () => {
  const parts = {
    model: mockModel(prompts, hashedTokens(prompts.tokenizer, WORDS)),
    voices: new VoiceCache(),
    now: () => 0,
  }
  const sound = { pcm: new Float32Array(80_000).fill(0.1), sampleRateHz: 16_000 }
  for (let leaveAfter = 0; ; leaveAfter++) {
    const call = await runSteps(Call.open(parts, OPTIONS))
    for await (const _ of call.respond({ speak: false, maxNewTokens: 3 }));
    const before = inside(call).text
    const steps = call.append({ role: "user", text: "hi", sound })
    let done = false
    for (let i = 0; i <= leaveAfter && !done; i++) done = (await steps.next()).done === true
    call.keep()
    await steps.return()
    check(call, OPTIONS.contextPositions!)
    if (done) return expect(inside(call).text).toMatch(/♪.*hi$/)
    expect(inside(call).text).toBe(before)
  }
})
