/** @file Tools and formats in calls, on the recorded checkpoint, whose random weights say anything that they may. */
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import type { AnswerEvent, CallOptions } from "../session/index.ts"
import type { EngineClient } from "./client.ts"
import { answer, endOf, GREEDY, loadTinyEngine, textOf, tone } from "./engine.test-util.node.ts"

let engine: EngineClient
beforeAll(async () => {
  engine = await loadTinyEngine()
}, 60_000)
afterAll(async () => engine.close())

const TOOLS: CallOptions = {
  ...GREEDY,
  maxNewTokens: 120,
  tools: [
    { name: "look", parameters: { type: "object", properties: { far: { type: "boolean" } }, required: ["far"] } },
  ],
}
const callsOf = (events: readonly AnswerEvent[]) =>
  events.flatMap((event) => (event.type === "tool-call" ? [event.call] : []))

describe("a call with tools", () => {
  test("calls them, takes the result and goes on; calls are not spoken", { timeout: 60_000 }, async () => {
    await using call = await engine.call(TOOLS)
    await call.push({ pcm: tone(16_000) })
    const events = await answer(call, { speak: true, format: { type: "tool-call", name: "look" } })
    const [made, ...more] = callsOf(events)
    expect(more).toEqual([])
    expect(made).toMatchObject({ name: "look" })
    expect(JSON.parse(made!.arguments)).toEqual({ far: expect.any(Boolean) })
    expect(events.some(({ type }) => type === "audio-delta" || type === "text-delta")).toBe(false)
    const end = endOf(events)
    expect(end).toMatchObject({ finishReason: "tool-calls", text: "", audioMs: 0 })
    // Nothing of it was to be heard, so there is nothing to cut off.
    expect(await call.interrupt({ heardMs: 0 })).toMatchObject({ text: "" })
    await call.append({ role: "tool", text: '{"sight": "a tree"}' })
    const next = endOf(await answer(call, { speak: false, format: { type: "text" }, maxNewTokens: 6 }))
    // The whole call stayed: its tokens, but for the last, and the result with what opens it.
    expect(next.promptTokens).toBeGreaterThan(end.promptTokens + end.completionTokens + 10)
  })

  test("its tools are in the context, and a call of an earlier conversation can be told", {
    timeout: 60_000,
  }, async () => {
    const positions = async (options: CallOptions, calls = 0) => {
      await using call = await engine.call(options)
      await call.push({ text: "hello" })
      const toolCalls = Array.from({ length: calls }, () => ({ name: "look", arguments: '{"far": true}' }))
      await call.append({ role: "assistant", text: "Wait.", toolCalls })
      await call.append({ role: "tool", text: "{}" })
      return endOf(await answer(call, { speak: false, format: { type: "text" }, maxNewTokens: 2 })).promptTokens
    }
    const { tools: _, ...plain } = TOOLS
    expect(await positions(TOOLS)).toBeGreaterThan((await positions(plain)) + 50)
    expect(await positions(TOOLS, 2)).toBeGreaterThan((await positions(TOOLS)) + 15)
  })

  test("one that is interrupted inside a call forgets what was begun", { timeout: 60_000 }, async () => {
    const length = async (interrupts: boolean) => {
      await using call = await engine.call(TOOLS)
      await call.push({ text: "hello" })
      const format = { type: "tool-call" } as const
      let begun = false
      if (interrupts) {
        for await (const event of call.respond({ format, speak: false })) {
          begun = event.type === "tool-call-delta"
          if (begun) break
        }
        expect(begun).toBe(true)
        expect((await call.interrupt()).text).toBe("")
      }
      await call.push({ text: "again" })
      return endOf(await answer(call, { speak: false, format: { type: "text" }, maxNewTokens: 2 })).promptTokens
    }
    // An opened answer that said nothing, and another turn: far less than a call.
    expect((await length(true)) - (await length(false))).toBeLessThan(24)
  })

  test("JSON is not spoken, and is whole or cut off", { timeout: 60_000 }, async () => {
    const schema = { type: "object", properties: { ok: { type: "boolean" } }, required: ["ok"] }
    await using call = await engine.call({ ...GREEDY, maxNewTokens: 30 })
    await call.push({ pcm: tone(16_000) })
    const events = await answer(call, { speak: true, format: { type: "json-schema", schema } })
    expect(events.some(({ type }) => type === "audio-delta")).toBe(false)
    expect(endOf(events).finishReason).toBe("stop")
    expect(JSON.parse(textOf(events))).toEqual({ ok: expect.any(Boolean) })
    const short = await answer(call, { format: { type: "json-object" }, maxNewTokens: 2 })
    expect(endOf(short).finishReason).toBe("length")
  })

  test("refuses tools and formats that it cannot keep", async () => {
    await using call = await engine.call(GREEDY)
    await call.push({ text: "x" })
    const format = { type: "json-schema", schema: { pattern: "x" } } as const
    await expect(answer(call, { format })).rejects.toThrow("response_format: expected keywords that a grammar can keep")
    await expect(answer(call, { format: { type: "tool-call" } })).rejects.toThrow(
      "tool_choice: expected one of the tools",
    )
    expect(endOf(await answer(call)).type).toBe("turn-end")
  })

  test("reports log-probabilities", async () => {
    await using call = await engine.call(GREEDY)
    await call.push({ text: "x" })
    const events = await answer(call, { speak: false, logprobs: 2 })
    const entries = events.flatMap((event) => (event.type === "text-delta" ? (event.logprobs ?? []) : []))
    expect(entries.length).toBeGreaterThan(3)
    for (const { logprob, top } of entries) {
      expect(top[0]!.logprob).toBeCloseTo(logprob) // greedy
      expect(top[1]!.logprob).toBeLessThanOrEqual(top[0]!.logprob)
    }
  })
})
