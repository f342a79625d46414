/** @file Several calls on one queue: nobody starves another, and what is stopped stops within one step. */
import { setImmediate } from "node:timers/promises"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { openGoldenSet } from "../../test/parity/golden-set.ts"
import { loadPromptParts } from "../../test/parity/prompts.ts"
import type { PromptParts } from "../inference/index.ts"
import { createOrtNodeExecutor } from "../runtime/index.node.ts"
import { type AnswerEvent, Call, type CallEvent, type CallOptions, VoiceCache } from "../session/index.ts"
import { loudVad } from "../session/loud-vad.test-util.ts"
import { hashedTokens, type MockModel, mockModel } from "../session/mock-model.test-util.ts"
import { runSteps } from "../util/index.ts"
import { CallHost } from "./call-host.ts"
import type { CallAction } from "./messages.ts"
import { StepQueue } from "./step-queue.ts"

const TINY = new URL("../../test/fixtures/tiny-a", import.meta.url).pathname
const executor = createOrtNodeExecutor({ device: "cpu", threads: 1 })
let prompts: PromptParts
beforeAll(async () => {
  await using set = await openGoldenSet(TINY)
  prompts = await loadPromptParts(set)
})
afterAll(() => executor[Symbol.asyncDispose]())

const never = new AbortController().signal
const OPTIONS: CallOptions = { temperature: 0, repetitionPenalty: 1 }
const second = (level = 0.01) => new Float32Array(16_000).fill(level)

/** A call that talks without end, and what came of it. */
async function host(queue: StepQueue, options: CallOptions = {}) {
  const model: MockModel = mockModel(prompts, hashedTokens(prompts.tokenizer, ["one", " two"], 1e9), {
    stepsPerPass: 5,
  })
  const parts = { model, voices: new VoiceCache(), now: () => 0, vad: loudVad }
  const call = await runSteps(Call.open(parts, { ...OPTIONS, ...options }))
  const events: CallEvent[] = []
  const answers: AnswerEvent[] = []
  const hosted = new CallHost(call, queue, (event) => events.push(event))
  const push = (pcm: Float32Array) => hosted.act({ type: "push", input: { pcm } }, () => {}, never)
  const respond = (maxNewTokens: number) =>
    hosted.act({ type: "respond", options: { speak: false, maxNewTokens } }, (event) => answers.push(event), never)
  return { hosted, model, events, answers, push, respond }
}

describe("calls on one queue", () => {
  test("a long answer of one does not keep another from hearing", async () => {
    const queue = new StepQueue(() => setImmediate())
    const talker = await host(queue)
    const hearer = await host(queue)
    const talking = talker.respond(2000)
    while (talker.answers.length < 3) await setImmediate()
    const before = talker.model.counts.passes
    for (let i = 0; i < 6; i++) await hearer.push(second())
    const meanwhile = talker.model.counts.passes - before
    expect(hearer.events.filter(({ type }) => type === "perceived").length).toBe(6)
    // Six units of a few steps each (encoder, five of the pass): the talker had one step for each of them, and went on.
    expect(meanwhile).toBeGreaterThan(6)
    expect(meanwhile).toBeLessThan(6 * 12)
    await talker.hosted.act({ type: "interrupt" }, () => {}, never)
    await expect(talking).rejects.toThrow("interrupted")
  })

  test("a question behind many small pushes waits for a step of others for each of its own, not for each push", async () => {
    const queue = new StepQueue(() => setImmediate())
    const talker = await host(queue)
    const hearer = await host(queue, { turns: {}, perceive: "always" })
    const talking = talker.respond(2000)
    while (talker.answers.length < 3) await setImmediate()
    const reading = hearer.push(new Float32Array(32_000).fill(0.01))
    while (hearer.model.counts.encoded === 0) await setImmediate()
    const pushes = Array.from({ length: 100 }, () => hearer.push(new Float32Array(640)))
    const before = talker.model.counts.passes
    await hearer.respond(1)
    expect(talker.model.counts.passes - before).toBeLessThan(50)
    await Promise.all([reading, ...pushes])
    await talker.hosted.act({ type: "interrupt" }, () => {}, never)
    await expect(talking).rejects.toThrow("interrupted")
  })

  test("several answers come along together", async () => {
    const queue = new StepQueue(() => setImmediate())
    const all = await Promise.all([host(queue), host(queue), host(queue)])
    const running = Promise.all(all.map(({ respond }) => respond(60)))
    let apart = 0
    while (all.some(({ answers }) => answers.length < 60)) {
      await setImmediate()
      const counts = all.map(({ answers }) => answers.length)
      apart = Math.max(apart, Math.max(...counts) - Math.min(...counts))
    }
    await running
    expect(apart).toBeLessThanOrEqual(2)
  })

  test("an interrupted answer takes no step more than the one that runs", async () => {
    const queue = new StepQueue(() => setImmediate())
    const { hosted, model, answers, respond } = await host(queue)
    for (let round = 0; round < 20; round++) {
      const talking = expect(respond(500)).rejects.toThrow("interrupted")
      const before = answers.length
      while (answers.length < before + 1 + (round % 5)) await setImmediate()
      const passes = model.counts.passes
      await hosted.act({ type: "interrupt" }, () => {}, never)
      expect(model.counts.passes - passes).toBeLessThanOrEqual(1)
      await talking
    }
  })

  test("an answer that is stopped while its question is read leaves the one before as it was", async () => {
    const queue = new StepQueue(() => setImmediate())
    const { hosted, answers, respond } = await host(queue)
    await respond(10)
    const end = answers.at(-1)
    expect(end).toMatchObject({ type: "turn-end" })
    const interrupt = (heardMs?: number) =>
      hosted.act({ type: "interrupt", ...(heardMs === undefined ? {} : { heardMs }) }, () => {}, never)
    for (const steps of [0, 2, 4]) {
      await hosted.act({ type: "append", message: { role: "user", text: "next" } }, () => {}, never)
      await hosted.act({ type: "push", input: { pcm: second().subarray(0, 15_000) } }, () => {}, never)
      const stopped = expect(respond(10)).rejects.toThrow("interrupted")
      for (let i = 0; i < steps; i++) await setImmediate()
      expect(await interrupt(0)).toEqual({ text: "", heardMs: 0 })
      await stopped
    }
    expect(answers.at(-1)).toBe(end)
    expect(await interrupt()).toEqual({ text: end!.type === "turn-end" && end!.text, heardMs: 0 })
  })

  test("speech is reported while an answer is made, before the answer's next step but one", async () => {
    const queue = new StepQueue(() => setImmediate())
    const { hosted, model, events, answers, push, respond } = await host(queue, { turns: {} })
    const talking = respond(1000)
    while (answers.length < 3) await setImmediate()
    const passes = model.counts.passes
    await push(second(0.5))
    expect(events.map(({ type }) => type)).toEqual(["speech-start"])
    expect(model.counts.passes - passes).toBeLessThanOrEqual(3)
    await hosted.act({ type: "interrupt" }, () => {}, never)
    await expect(talking).rejects.toThrow("interrupted")
  })

  test.each([
    ["without turns", {}],
    ["with turns", { turns: {}, perceive: "always" }],
  ] as [string, CallOptions][])("a long recording in one push is heard whole, %s", async (_, options) => {
    const queue = new StepQueue(() => setImmediate())
    const { hosted, events, push } = await host(queue, options)
    const pushes = [push(new Float32Array(150 * 16_000).fill(0.5)), push(second(0.5)), push(second(0.5))]
    await Promise.all(pushes)
    const heardMs = events.reduce((sum, event) => sum + (event.type === "perceived" ? event.audioMs : 0), 0)
    expect(events.filter(({ type }) => type === "input-dropped")).toEqual([])
    expect(heardMs).toBe(152_000)
    await hosted.act({ type: "hang-up" }, () => {}, never)
  })

  test("what was pushed during an answer and cannot be read is told as an event, and is gone", async () => {
    const queue = new StepQueue(() => setImmediate())
    const { hosted, events, answers, push, respond } = await host(queue, { contextPositions: 256 })
    const talking = respond(20)
    await hosted.act({ type: "push", input: { text: "no ".repeat(1000) } }, () => {}, never)
    await hosted.act({ type: "push", input: { text: "and yes" } }, () => {}, never)
    await talking
    while (queue.length > 0 || events.length < 2) await setImmediate()
    expect(events).toMatchObject([
      { type: "input-dropped", reason: expect.stringContaining("context: expected") },
      { type: "perceived", units: 1 },
    ])
    await push(second())
    await respond(5)
    expect(answers.filter(({ type }) => type === "turn-end").length).toBe(2)
  })

  test.each([
    ["when nothing else is done", {}, false],
    ["while an answer is made", {}, true],
    ["in a call with turns", { turns: {}, perceive: "always" }, false],
    ["in a call with turns, while an answer is made", { turns: {}, perceive: "always" }, true],
  ] as [string, CallOptions, boolean][])(
    "what is pushed and added at once is read in that order, %s",
    async (_, options, busy) => {
      const queue = new StepQueue(() => setImmediate())
      const { hosted, model, answers, respond } = await host(queue, options)
      const talking = busy ? respond(20) : undefined
      if (busy) while (answers.length === 0) await setImmediate()
      await Promise.all([
        hosted.act({ type: "push", input: { text: "one" } }, () => {}, never),
        hosted.act({ type: "append", message: { role: "user", text: " two" } }, () => {}, never),
        hosted.act({ type: "append", message: { role: "user", text: " three" } }, () => {}, never),
        hosted.act({ type: "push", input: { text: " four" } }, () => {}, never),
        hosted.act({ type: "append", message: { role: "user", text: " five" } }, () => {}, never),
        hosted.act({ type: "push", input: { text: " six" } }, () => {}, never),
      ])
      await talking
      await respond(1)
      const read = prompts.tokenizer.decode(model.seen.at(-1)!.filter((id) => id >= 0))
      expect(read).toContain("one two three four five six")
    },
  )

  test.each(["keep", "append", "respond"] as const)(
    "what is cleared is gone, whatever is asked for at once: %s",
    async (then) => {
      const queue = new StepQueue(() => setImmediate())
      const { hosted, model, events, push, respond } = await host(queue)
      const pushing = push(new Float32Array(20 * 16_000))
      while (!events.some(({ type }) => type === "perceived")) await setImmediate()
      const act = (action: CallAction) => hosted.act(action, () => {}, never)
      const clearing = act({ type: "clear" })
      const pushed = act({ type: "push", input: { text: "yes" } })
      const next =
        then === "keep"
          ? act({ type: "keep" })
          : then === "append"
            ? act({ type: "append", message: { role: "user", text: " and" } })
            : respond(1)
      await Promise.all([clearing, pushed, next, pushing])
      if (then !== "respond") await respond(1)
      expect(model.seen.at(-1)!.filter((id) => id < 0)).toEqual([])
      expect(prompts.tokenizer.decode(model.seen.at(-1)!)).toContain("user\nyes")
    },
  )

  test("what is quick waits for no backlog, and what is said keeps its order", async () => {
    const queue = new StepQueue(() => setImmediate())
    const { hosted, events, push } = await host(queue)
    const heardMs = () => events.reduce((sum, event) => sum + (event.type === "perceived" ? event.audioMs : 0), 0)
    const pushing = push(new Float32Array(50 * 16_000))
    while (heardMs() < 2000) await setImmediate()
    const appending = hosted
      .act({ type: "append", message: { role: "user", text: "hi" } }, () => {}, never)
      .then(heardMs)
    // Behind something slow all wait: the saved state would not have it.
    const saving = hosted.act({ type: "snapshot" }, () => {}, never).then(heardMs)
    await pushing
    expect([await appending, await saving]).toEqual([50_000, 50_000])
    const more = push(new Float32Array(50 * 16_000))
    while (heardMs() < 52_000) await setImmediate()
    const stopped = hosted.act({ type: "respond", options: { speak: false } }, () => {}, never)
    const stopping = expect(stopped).rejects.toThrow("interrupted")
    while (heardMs() < 54_000) await setImmediate()
    const before = heardMs()
    await hosted.act({ type: "interrupt" }, () => {}, never)
    await stopping
    await hosted.act({ type: "snapshot" }, () => {}, never)
    expect(heardMs() - before).toBeLessThanOrEqual(6000)
    await more
    await expect.poll(heardMs).toBe(100_000)
  })

  test("an answer that waits for what is being read is stopped at once", async () => {
    const queue = new StepQueue(() => setImmediate())
    const { hosted, model, events, push } = await host(queue)
    const units = () => events.filter(({ type }) => type === "perceived").length
    const pushing = push(new Float32Array(50 * 16_000))
    for (let round = 1; round <= 10; round++) {
      const before = units()
      while (units() === before) await setImmediate()
      for (let step = 0; step < round; step++) await setImmediate()
      const stopped = hosted.act({ type: "respond", options: { speak: false } }, () => {}, never)
      const stopping = expect(stopped).rejects.toThrow("interrupted")
      const { encoded, passes } = model.counts
      expect(await hosted.act({ type: "interrupt" }, () => {}, never)).toEqual({ text: "", heardMs: 0 })
      expect(model.counts.encoded + model.counts.passes - encoded - passes).toBe(0)
      await stopping
    }
    await pushing
    await expect.poll(() => queue.length).toBe(0)
    expect(events.reduce((sum, event) => sum + (event.type === "perceived" ? event.audioMs : 0), 0)).toBe(50_000)
  })

  test("an answer that is stopped while it reads leaves nothing to be read twice", async () => {
    const queue = new StepQueue(() => setImmediate())
    const { hosted, events, push } = await host(queue)
    const heardMs = () => events.reduce((sum, event) => sum + (event.type === "perceived" ? event.audioMs : 0), 0)
    for (let round = 1; round <= 10; round++) {
      const pushing = push(new Float32Array(10 * 16_000))
      const stopped = hosted.act({ type: "respond", options: { speak: false } }, () => {}, never)
      const stopping = expect(stopped).rejects.toThrow("interrupted")
      while (heardMs() < round * 10_000 - 6000) await setImmediate()
      for (let step = 0; step < round; step++) await setImmediate()
      await hosted.act({ type: "interrupt" }, () => {}, never)
      await stopping
      await pushing
      await expect.poll(() => queue.length).toBe(0)
      expect(heardMs()).toBe(round * 10_000)
    }
  })

  test.each(["at once", "behind an answer"])(
    "a backlog that is read %s is left when the call is hung up",
    async (when) => {
      const queue = new StepQueue(() => setImmediate())
      const { hosted, model, events, answers, push, respond } = await host(queue)
      const answering = when === "at once" ? undefined : respond(30)
      while (answering && answers.length < 3) await setImmediate()
      const pushing = push(new Float32Array(50 * 16_000))
      const ending = pushing.catch((error: unknown) => error)
      await answering
      while (!events.some(({ type }) => type === "perceived")) await setImmediate()
      const { encoded } = model.counts
      await hosted.act({ type: "hang-up" }, () => {}, never)
      // Behind an answer nobody waits for what is read.
      expect(await ending).toEqual(when === "at once" ? expect.objectContaining({ message: "hung up" }) : undefined)
      while (queue.length > 0) await setImmediate()
      expect(model.counts.encoded - encoded).toBeLessThanOrEqual(2)
    },
  )

  test("a hung-up call stops, and others go on", async () => {
    const queue = new StepQueue(() => setImmediate())
    const [gone, stays] = await Promise.all([host(queue, { turns: {} }), host(queue)])
    const talking = gone.respond(1000)
    const other = stays.respond(30)
    while (gone.answers.length < 3) await setImmediate()
    await gone.hosted.act({ type: "hang-up" }, () => {}, never)
    await expect(talking).rejects.toThrow("hung up")
    await other
    expect(stays.answers.at(-1)).toMatchObject({ type: "turn-end", finishReason: "length" })
    while (queue.length > 0) await setImmediate() // nothing of the call that is gone stays
  })
})
