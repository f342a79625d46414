/** @file Calls that find turns themselves, with recorded speech and the real model for voice activity. */
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { concatPcm, resample } from "../audio/index.ts"
import type { CallEvent, CallOptions } from "../session/index.ts"
import { ConfigError } from "../util/index.ts"
import type { EngineClient } from "./client.ts"
import { answer, endOf, GREEDY, loadTinyEngine, recordedSentence, textOf } from "./engine.test-util.node.ts"
import type { EngineCall } from "./engine.ts"

const RATE = 16_000

let engine: EngineClient
beforeAll(async () => {
  engine = await loadTinyEngine()
}, 60_000)
afterAll(async () => engine.close())

const silence = (seconds: number) => new Float32Array(seconds * RATE)
const sentence = recordedSentence()

const TURNS: CallOptions = { ...GREEDY, turns: {} }

/** A call with its events, each with the command during which it came. */
async function open(options: CallOptions, snapshot?: Awaited<ReturnType<EngineCall["snapshot"]>>) {
  const events: CallEvent[] = []
  const call = await engine.call(options, {
    onEvent: (event) => void events.push(event),
    ...(snapshot ? { snapshot } : {}),
  })
  const push = async (sound: Float32Array, size = 3200) => {
    for (let at = 0; at < sound.length; at += size) await call.push({ pcm: sound.slice(at, at + size) })
  }
  const turns = () => events.filter(({ type }) => type.startsWith("speech") || type === "idle")
  return { call, events, push, turns, [Symbol.asyncDispose]: () => call.close() }
}

const audioTokens = async (call: EngineCall) => endOf(await answer(call)).usage.promptAudioTokens

describe("a call with turns", () => {
  test("says when speech begins and ends, on the clock of pushed sound at any rate", { timeout: 60_000 }, async () => {
    const sound = concatPcm([silence(1), sentence, silence(1)])
    for (const rate of [RATE, 24_000]) {
      await using it = await open({ ...TURNS, sampleRateHz: rate })
      await it.push(resample(sound, RATE, rate), rate / 5)
      const [start, end, ...more] = it.turns()
      expect(more).toEqual([])
      if (start?.type !== "speech-start" || end?.type !== "speech-end") throw new Error("expected a turn")
      // The sentence lies between 1.08 and 4.13 s; 300 ms of pre-roll, 500 ms of silence.
      expect(Math.abs(start.startMs - 780)).toBeLessThan(150)
      expect(Math.abs(start.atMs - start.startMs - 500)).toBeLessThan(100)
      expect(Math.abs(end.endMs - 4130)).toBeLessThan(200)
      expect(Math.abs(end.atMs - end.endMs - 500)).toBeLessThan(64)
    }
  })

  test("keeps silence out of the context, unless it is to hear everything", { timeout: 60_000 }, async () => {
    const sound = concatPcm([silence(6), sentence, silence(6)])
    const seconds = async (options: CallOptions) => {
      await using it = await open(options)
      await it.push(sound)
      return (await audioTokens(it.call)) / 25
    }
    expect(Math.abs((await seconds(TURNS)) - 3.6)).toBeLessThan(0.4)
    expect(await seconds({ ...TURNS, perceive: "always" })).toBeGreaterThan(12)
    expect(await seconds({ ...TURNS, mode: "omni" })).toBeGreaterThan(12)
    expect(await seconds(GREEDY)).toBeGreaterThan(15)
  })

  test("answers the turn that ended; what was said later belongs to the next", { timeout: 60_000 }, async () => {
    await using late = await open(TURNS)
    await late.push(concatPcm([sentence, silence(1)]))
    const [, end] = late.turns()
    expect(end?.type).toBe("speech-end")
    await late.push(sentence.slice(0, 2 * RATE)) // two seconds of the next one
    const first = endOf(await answer(late.call))
    await using alone = await open(TURNS)
    await alone.push(concatPcm([sentence, silence(1)]))
    const only = endOf(await answer(alone.call))
    expect(first.text).toBe(only.text)
    expect(first.usage.promptAudioTokens).toBe(only.usage.promptAudioTokens)
    // The next turn is whole.
    await late.push(concatPcm([sentence.slice(2 * RATE), silence(1)]))
    expect(late.turns().map(({ type }) => type)).toEqual(["speech-start", "speech-end", "speech-start", "speech-end"])
    const both = await audioTokens(late.call)
    expect(Math.abs(both - 2 * only.usage.promptAudioTokens)).toBeLessThanOrEqual(10) // its pre-roll is whole
  })

  test("goes on with a turn that nobody answers", { timeout: 60_000 }, async () => {
    await using it = await open({ ...TURNS, perceive: "always" })
    await it.push(concatPcm([sentence, silence(1)]))
    const heard = () => it.events.reduce((sum, event) => sum + (event.type === "perceived" ? event.audioMs : 0), 0)
    expect(heard()).toBe(3000)
    await it.push(silence(6))
    expect(heard()).toBeGreaterThan(8500)
    expect(await audioTokens(it.call)).toBeGreaterThan(9.5 * 25)
  })

  test("hears somebody who speaks into an answer, at once, and reads it afterwards", { timeout: 60_000 }, async () => {
    await using it = await open({ ...TURNS, maxNewTokens: 300 })
    await it.push(concatPcm([sentence, silence(1)]))
    const before = it.events.length
    let perceived = 0
    let interrupted: Promise<unknown> | undefined
    const texts: string[] = []
    const pushed: Promise<unknown>[] = []
    const whole = async () => {
      for await (const event of it.call.respond({ speak: false })) {
        if (event.type === "text-delta") texts.push(event.text)
        if (texts.length === 1 && pushed.length === 0) pushed.push(it.push(concatPcm([sentence, silence(1)])))
        const starts = it.turns().filter(({ type }) => type === "speech-start").length
        perceived = it.events.slice(before).filter(({ type }) => type === "perceived").length
        if (starts === 2) interrupted ??= it.call.interrupt()
      }
    }
    await expect(whole()).rejects.toThrow("interrupted")
    // The tail of the question, and nothing of what was said meanwhile.
    expect(perceived).toBe(1)
    expect(texts.length).toBeLessThan(250)
    await interrupted
    await Promise.all(pushed)
    expect(it.turns().at(-1)?.type).toBe("speech-end")
    expect(endOf(await answer(it.call)).usage.promptAudioTokens).toBeGreaterThan(7 * 25 - 12)
  })

  test("is saved in the middle of a word and goes on as it would have", { timeout: 60_000 }, async () => {
    const cut = 1.3 * RATE
    await using it = await open(TURNS)
    await it.push(sentence.slice(0, cut))
    const snapshot = await it.call.snapshot()
    await using restored = await open(TURNS, structuredClone(snapshot))
    const rest = concatPcm([sentence.slice(cut), silence(1)])
    await it.push(rest)
    await restored.push(rest)
    expect(it.turns().map(({ type }) => type)).toEqual(["speech-start", "speech-end"])
    expect(restored.turns()).toEqual(it.turns().slice(1))
    expect(textOf(await answer(restored.call))).toBe(textOf(await answer(it.call)))
    // Without turns the rest of the sound is there as well.
    await using plain = await open(GREEDY, structuredClone(snapshot))
    expect(await audioTokens(plain.call)).toBeGreaterThan(25)
  })

  test("takes an answer by hand as well: all that was said, typed text too", { timeout: 60_000 }, async () => {
    await using it = await open(TURNS)
    await it.push(sentence.slice(0, 2 * RATE))
    expect(await audioTokens(it.call)).toBeGreaterThan(40)
    await using typed = await open(TURNS)
    await typed.push(silence(2))
    await typed.call.push({ text: "hello?" })
    const { usage } = endOf(await answer(typed.call))
    expect(usage.promptAudioTokens).toBe(0)
    await typed.push(silence(2))
    await typed.call.clear()
    expect(typed.turns()).toEqual([])
  })

  test("tells that nobody speaks", { timeout: 60_000 }, async () => {
    await using it = await open({ ...TURNS, turns: { idleMs: 3000 } })
    await it.push(silence(8))
    expect(it.turns()).toEqual([{ type: "idle", atMs: 3008 }])
  })

  test("refuses wrong options", async () => {
    await expect(engine.call({ turns: { threshold: 2 } })).rejects.toThrow(
      new ConfigError("turns.threshold: expected a number from 0 to 1, got 2"),
    )
    const wrong = engine.call({ perceive: "never" as "speech" })
    await expect(wrong).rejects.toThrow("perceive: expected always, speech, got never")
  })
})
