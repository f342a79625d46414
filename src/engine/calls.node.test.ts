/** @file Calls on the recorded checkpoint, through the engine's own messages. */
import fc from "fast-check"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import type { CallEvent, CallOptions } from "../session/index.ts"
import { InputError } from "../util/index.ts"
import type { EngineClient } from "./client.ts"
import { answer, endOf, GREEDY, loadTinyEngine, recordedSentence, textOf, tone } from "./engine.test-util.node.ts"
import type { EngineCall } from "./engine.ts"

let engine: EngineClient

beforeAll(async () => {
  engine = await loadTinyEngine()
}, 60_000)
afterAll(async () => engine.close())

const sentence = recordedSentence()

describe("a call", () => {
  test("answers the same however its sound was cut", { timeout: 60_000 }, async () => {
    const sound = tone(40_000)
    const answers: string[] = []
    for (const size of [40_000, 16_000, 1_237]) {
      await using call = await engine.call(GREEDY)
      for (let at = 0; at < sound.length; at += size) await call.push({ pcm: sound.slice(at, at + size) })
      answers.push(textOf(await answer(call)))
    }
    expect(answers[0]).not.toBe("")
    expect(new Set(answers).size).toBe(1)
  })

  test("goes on from a snapshot as it would have gone on", { timeout: 60_000 }, async () => {
    await using call = await engine.call(GREEDY)
    await call.push({ pcm: tone(20_000) })
    await answer(call)
    await call.push({ pcm: tone(9_000, 2) })
    const snapshot = await call.snapshot()
    await call.push({ pcm: tone(9_000, 3) })
    const direct = textOf(await answer(call))
    await using restored = await engine.call(GREEDY, { snapshot: structuredClone(snapshot) })
    await restored.push({ pcm: tone(9_000, 3) })
    expect(textOf(await answer(restored))).toBe(direct)
    const foreign = engine.call(GREEDY, { snapshot: { ...snapshot, model: "another" } })
    await expect(foreign).rejects.toThrow("snapshot: expected one of this model, got one of another")
  })

  test("speaks, and is cut to what was heard", { timeout: 60_000 }, async () => {
    await using call = await engine.call({ ...GREEDY, maxNewTokens: 30 })
    await call.push({ pcm: tone(16_000) })
    const events = await answer(call, { speak: true })
    const samples = events.reduce((sum, event) => sum + (event.type === "audio-delta" ? event.pcm.length : 0), 0)
    const end = events.at(-1)!
    expect(samples).toBeGreaterThan(0)
    expect(end).toMatchObject({ type: "turn-end", audioMs: (samples / 24_000) * 1000 })
    const whole = textOf(events)
    const { text } = await call.interrupt({ heardMs: samples / 24 / 8 })
    expect(text.length).toBeLessThan(whole.length)
    expect(whole.startsWith(text.slice(0, -1))).toBe(true)
    expect((await call.interrupt({ heardMs: 0 })).text).toBe("")
    await call.push({ text: "and now?" })
    expect((await answer(call)).at(-1)!.type).toBe("turn-end")
  })

  test("counts what its answers cost, by kind", { timeout: 60_000 }, async () => {
    await using call = await engine.call({ ...GREEDY, mode: "omni" })
    const frame = { width: 32, height: 32, data: new Uint8Array(32 * 32 * 3).fill(99) }
    await call.push({ frame, pcm: tone(16_000) })
    await call.push({ pcm: tone(8_000) })
    const { usage, promptTokens, completionTokens, audioMs } = endOf(await answer(call, { speak: true }))
    expect(usage.promptTextTokens + usage.promptAudioTokens + usage.promptImageTokens).toBe(promptTokens)
    expect(usage.completionTextTokens).toBe(completionTokens)
    // One second and a half at 25 tokens per second, rounded in each piece.
    expect(usage.promptAudioTokens).toBe(25 + 12)
    expect(usage.promptImageTokens).toBeGreaterThan(0)
    // The whole second had been read before; its rest, the last frame and the opening of the answer had not.
    expect(usage.cachedTokens).toBeGreaterThan(25)
    expect(usage.cachedTokens).toBeLessThan(promptTokens - 12)
    // A frame of codes is 512 samples of 24 kHz, cross-fades aside.
    expect(usage.completionAudioTokens * (512 / 24)).toBeGreaterThanOrEqual(audioMs * 0.9)
    await call.push({ text: "and?" })
    expect(endOf(await answer(call))).toMatchObject({
      usage: { promptAudioTokens: 37, promptImageTokens: usage.promptImageTokens, completionAudioTokens: 0 },
    })
  })

  test("sees the last frame of a question in full resolution, earlier ones in medium", {
    timeout: 60_000,
  }, async () => {
    const frame = { width: 800, height: 600, data: Uint8Array.from({ length: 800 * 600 * 3 }, (_, i) => i % 251) }
    const images = async (lastFrameSlices?: number) => {
      const slices = lastFrameSlices === undefined ? {} : { lastFrameSlices }
      await using call = await engine.call({ ...GREEDY, mode: "omni", ...slices })
      const counts: number[] = []
      for (let turn = 0; turn < 2; turn++) {
        await call.push({ frame, pcm: tone(16_000) })
        await call.push({ frame, pcm: tone(20_000) })
        counts.push(endOf(await answer(call, { speak: false, maxNewTokens: 3 })).usage.promptImageTokens)
      }
      return counts
    }
    const [plain, twice] = await images(1)
    const block = plain! / 2 // two frames with a whole second each
    expect(twice).toBe(2 * plain!)
    // The last frame again, as an overview and in 2 × 2 slices.
    const [sharp, both] = await images()
    expect(sharp).toBe((2 + 5) * block)
    expect(both).toBe(2 * sharp!)
  })

  test("sees that frame so as well when the first answer failed and is asked for again", {
    timeout: 60_000,
  }, async () => {
    const frame = { width: 800, height: 600, data: Uint8Array.from({ length: 800 * 600 * 3 }, (_, i) => i % 251) }
    const images = async (before?: (call: EngineCall) => Promise<unknown>) => {
      await using call = await engine.call({ ...GREEDY, mode: "omni" })
      await call.push({ frame, pcm: tone(24_000) })
      if (before) await expect(before(call)).rejects.toThrow()
      return endOf(await answer(call, { speak: false, maxNewTokens: 3 })).usage.promptImageTokens
    }
    const straight = await images()
    const stopped = async (call: EngineCall) => {
      const waiting = answer(call)
      await Promise.all([call.interrupt(), waiting])
    }
    expect(await images((call) => answer(call, { temperature: -1 }))).toBe(straight)
    expect(await images(stopped)).toBe(straight)
  })

  test("stops an answer that waits for its turn, too", { timeout: 60_000 }, async () => {
    await using call = await engine.call({ ...GREEDY, maxNewTokens: 400 })
    await call.push({ pcm: tone(16_000) })
    const reading = call.push({ pcm: tone(48_000) })
    const failing = expect(answer(call, { speak: true })).rejects.toThrow("interrupted")
    await call.interrupt()
    await failing
    await reading
    await call.push({ text: "go on" })
    expect((await answer(call, { speak: false, maxNewTokens: 3 })).at(-1)!.type).toBe("turn-end")
  })

  test("forgets its oldest turns when the context fills, says so, and never stops", { timeout: 120_000 }, async () => {
    const events: CallEvent[] = []
    await using call = await engine.call(
      { ...GREEDY, maxNewTokens: 6, contextPositions: 300 },
      { onEvent: (event) => events.push(event) },
    )
    for (let turn = 0; turn < 12; turn++) {
      if (turn % 3 === 2) await call.append({ role: "user", text: "said before" })
      if (turn % 3 === 2) await call.append({ role: "assistant", text: "answered before, at some length" })
      await call.push({ pcm: tone(30_000, turn + 1) })
      expect((await answer(call)).at(-1)!.type).toBe("turn-end")
    }
    const compacted = events.filter(({ type }) => type === "context-compacted")
    expect(compacted.length).toBeGreaterThan(1)
    for (const event of events) if ("positions" in event) expect(event.positions).toBeLessThanOrEqual(300)
  })

  test("what is cleared was never said, though it was read", { timeout: 60_000 }, async () => {
    const tell = async (call: EngineCall, cleared: boolean) => {
      await call.push({ pcm: tone(16_000) })
      await answer(call, { speak: true })
      await call.push({ pcm: tone(20_000, 2) })
      await call.keep()
      if (cleared) {
        for (let i = 0; i < 5; i++) await call.push({ pcm: tone(9_000, 3 + i), ...(i === 2 ? { text: "no" } : {}) })
        // The answer before is cut while the sound that will be cleared follows it.
        await call.interrupt({ heardMs: 200 })
        await call.clear()
      } else await call.interrupt({ heardMs: 200 })
      await call.push({ pcm: tone(12_000, 9) })
      return textOf(await answer(call))
    }
    await using said = await engine.call({ ...GREEDY, maxNewTokens: 20 })
    await using unsaid = await engine.call({ ...GREEDY, maxNewTokens: 20 })
    expect(await tell(said, true)).toBe(await tell(unsaid, false))
  })

  test("the first thing said can be cleared as well", { timeout: 60_000 }, async () => {
    const positions = async (cleared: number) => {
      await using call = await engine.call(GREEDY)
      for (let i = 0; i < cleared; i++) await call.push({ pcm: tone(8_000, i) })
      await call.clear()
      await call.push({ pcm: tone(40_000) })
      return endOf(await answer(call)).usage
    }
    const unsaid = await positions(0)
    expect([await positions(1), await positions(3), await positions(9)]).toEqual([unsaid, unsaid, unsaid])
  })

  test("clears nothing of an answered turn, and at once while an answer is made", { timeout: 60_000 }, async () => {
    const answers: string[] = []
    for (const cleared of [false, true]) {
      await using call = await engine.call(GREEDY)
      await call.push({ pcm: tone(30_000) })
      let wasCleared = !cleared
      for await (const _ of call.respond({ speak: false })) {
        if (wasCleared) continue
        wasCleared = true
        await call.push({ pcm: tone(30_000, 5) })
        await call.clear()
      }
      await call.push({ pcm: tone(9_000, 2) })
      answers.push(textOf(await answer(call)))
    }
    expect(answers[1]).toBe(answers[0])
  })

  test("an earlier turn with its sound is read as if it was heard now", { timeout: 60_000 }, async () => {
    const sound = { pcm: tone(32_000), sampleRateHz: 16_000 }
    await using heard = await engine.call(GREEDY)
    await heard.push({ pcm: sound.pcm })
    await using told = await engine.call(GREEDY)
    await told.append({ role: "user", text: "", sound })
    expect(textOf(await answer(told))).toBe(textOf(await answer(heard)))
    const damaged = { pcm: Float32Array.of(Number.NaN), sampleRateHz: 16_000 }
    await expect(told.append({ role: "user", text: "", sound: damaged })).rejects.toThrow(
      "call.append: expected finite samples, got NaN at sample 0",
    )
  })

  test("refuses damaged input and goes on", async () => {
    await using call = await engine.call(GREEDY)
    await expect(call.push({ pcm: Float32Array.of(0, Number.NaN) })).rejects.toThrow(InputError)
    await expect(call.interrupt({ heardMs: -1 })).rejects.toThrow(
      "interrupt.heardMs: expected milliseconds ≥ 0, got -1",
    )
    await expect(engine.call({ contextPositions: 10 })).rejects.toThrow(
      "contextPositions: expected a whole number from 256 to",
    )
    await call.push({ text: "hello" })
    expect((await answer(call)).at(-1)!.type).toBe("turn-end")
    await call.close()
    await expect(call.push({ text: "x" })).rejects.toThrow(
      "call: expected an open call for push, got one that is not open",
    )
  })
})

test.each([
  ["without turns", {}],
  ["with turns", { turns: { silenceMs: 200 }, mode: "omni" }],
] as [string, CallOptions][])(
  "whatever is done in whatever order, the next answer comes, %s",
  { timeout: 120_000 },
  async (_, options) => {
    const action = fc.oneof(
      fc.record({ do: fc.constant("push" as const), samples: fc.integer({ min: 1, max: 40_000 }) }),
      fc.record({ do: fc.constant("say" as const), text: fc.string({ maxLength: 8 }) }),
      fc.record({ do: fc.constant("respond" as const), stopAfter: fc.nat(6), speak: fc.boolean() }),
      fc.record({ do: fc.constant("interrupt" as const), heardMs: fc.nat(900) }),
      fc.record({ do: fc.constant("clear" as const) }),
      fc.record({ do: fc.constant("keep" as const) }),
      fc.record({ do: fc.constant("snapshot" as const) }),
      fc.record({ do: fc.constant("append" as const), role: fc.constantFrom("user", "assistant", "tool") }),
    )
    await fc.assert(
      fc.asyncProperty(fc.array(action, { maxLength: 8 }), async (actions) => {
        let call = await engine.call({ ...GREEDY, ...options, maxNewTokens: 12, contextPositions: 400 })
        for (const step of actions) {
          if (step.do === "push") await call.push({ pcm: sentence.slice(0, step.samples) })
          else if (step.do === "say") await call.push({ text: step.text })
          else if (step.do === "interrupt") await call.interrupt({ heardMs: step.heardMs })
          else if (step.do === "clear") await call.clear()
          else if (step.do === "keep") await call.keep()
          else if (step.do === "append") await call.append({ role: step.role, text: "said before" })
          else if (step.do === "snapshot") {
            const snapshot = await call.snapshot()
            await call.close()
            call = await engine.call({ ...GREEDY, ...options, maxNewTokens: 12, contextPositions: 400 }, { snapshot })
          } else {
            let seen = 0
            for await (const _ of call.respond({ speak: step.speak })) if (seen++ >= step.stopAfter) break
          }
        }
        await call.push({ text: "and?" })
        expect((await answer(call)).at(-1)!.type).toBe("turn-end")
        await call.close()
      }),
      { numRuns: 60 },
    )
  },
)
