/** @file What the model hears of a call with turns, against the turn detector run over the whole sound at once. */
import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { concatPcm } from "../audio/index.ts"
import { createTurnDetector, VAD_WINDOW_SAMPLES } from "../turns/index.ts"
import { Ears, type Heard, UNIT_SAMPLES } from "./ears.ts"
import { loudVad } from "./loud-vad.test-util.ts"
import { TurnGate } from "./turn-gate.ts"
import type { CallEvent, CallOptions } from "./types.ts"

const TURNS = { minSpeechMs: 64, silenceMs: 200, preRollMs: 100 }
const POST_ROLL = 6

/** Stretches of loud and quiet windows; every sample is different, so that sound can be found again. */
function soundOf(windows: readonly number[]): Float32Array {
  let isLoud = false
  const loud = windows.flatMap((count) => {
    isLoud = !isLoud
    return Array.from({ length: count }, () => isLoud)
  })
  return Float32Array.from({ length: loud.length * VAD_WINDOW_SAMPLES }, (_, i) => {
    const level = i / 1e7
    return loud[Math.floor(i / VAD_WINDOW_SAMPLES)] ? 0.5 + level : level
  })
}

/** Pushes sound in pieces, and says what was reported and what the ears have got. */
async function run(perceive: NonNullable<CallOptions["perceive"]>, pcm: Float32Array, cuts: readonly number[]) {
  const ears = new Ears(UNIT_SAMPLES)
  let gate = new TurnGate(loudVad, { turns: TURNS, perceive }, ears)
  const events: CallEvent[] = []
  let at = 0
  for (const [i, size] of [...cuts, pcm.length].entries()) {
    gate.push(ears.prepare({ pcm: pcm.slice(at, at + size) }))
    at += size
    // A saved gate goes on as it would have gone on, and input may wait to be listened to.
    if (i % 3 === 1) gate = new TurnGate(loudVad, { turns: TURNS, perceive }, ears, gate.data)
    if (i % 2 === 0) for await (const event of gate.listen(() => false)) if (event) events.push(event)
  }
  for await (const event of gate.listen(() => false)) if (event) events.push(event)
  return { events, items: itemsOf(ears) }
}

function itemsOf(ears: Ears): { heard: Float32Array; ends: number[] } {
  const { ready, rest } = ears.data
  const sound: Float32Array[] = []
  const ends: number[] = []
  let length = 0
  for (const { pcm, turnEnd } of ready as Heard[]) {
    if (pcm) sound.push(pcm)
    length += pcm?.length ?? 0
    if (turnEnd) ends.push(length)
  }
  return { heard: concatPcm([...sound, rest]), ends }
}

/** The same by the detector alone. */
async function expected(perceive: "always" | "speech", pcm: Float32Array) {
  const detector = createTurnDetector(TURNS)
  const [probabilities] = await loudVad.step(loudVad.init(), pcm)
  const [found, last] = detector.step(detector.init(), probabilities)
  const ms = (samples: number) => samples / 16
  const events = found.map((event) => {
    const atMs = ms(event.atSample)
    if (event.type === "speech-start") return { type: event.type, atMs, startMs: ms(event.startSample) }
    return event.type === "speech-end"
      ? { type: event.type, atMs, endMs: ms(event.endSample) }
      : { type: event.type, atMs }
  })
  const pieces: Float32Array[] = []
  const ends: number[] = []
  let start = 0
  let length = 0
  const add = (from: number, to: number) => {
    pieces.push(pcm.slice(from, to))
    length += to - from
  }
  for (const event of found) {
    if (event.type === "speech-start" && perceive === "speech") start = event.startSample
    if (event.type !== "speech-end") continue
    const postRoll = event.endSample + POST_ROLL * VAD_WINDOW_SAMPLES
    add(start, perceive === "always" ? event.atSample : Math.min(event.atSample, postRoll))
    ends.push(length)
    start = event.atSample
  }
  const end = probabilities.length
  const open = perceive === "always" ? end : last.speaking ? Math.min(end, last.voicedUntil + POST_ROLL) : 0
  if (open > 0) add(start, open * VAD_WINDOW_SAMPLES)
  return { events, items: { heard: concatPcm(pieces), ends } }
}

const stretches = fc.array(fc.integer({ min: 1, max: 20 }), { maxLength: 12 })
const cuts = fc.array(fc.integer({ min: 1, max: 9000 }), { maxLength: 30 })

describe.each(["always", "speech"] as const)("perceive %s", (perceive) => {
  test("however sound was cut, turns and what is heard are those of the whole", async () => {
    await fc.assert(
      fc.asyncProperty(stretches, cuts, async (windows, sizes) => {
        const pcm = soundOf(windows)
        expect(await run(perceive, pcm, sizes)).toEqual(await expected(perceive, pcm))
      }),
    )
  })
})

/** A gate with what it reports while it listens. */
function gateOf(turns = {}, perceive: "always" | "speech" = "speech") {
  const ears = new Ears(UNIT_SAMPLES)
  const gate = new TurnGate(loudVad, { turns: { ...TURNS, ...turns }, perceive }, ears)
  const push = async (windows: readonly number[], isAnswering = false) => {
    gate.push({ pcm: soundOf(windows) })
    const events: CallEvent[] = []
    for await (const event of gate.listen(() => isAnswering)) if (event) events.push(event)
    return events
  }
  return { ears, gate, push }
}

describe("a gate", () => {
  test("listens to small pushes that wait in steps of a second", async () => {
    let steps = 0
    const counting = {
      ...loudVad,
      step: (...args: Parameters<typeof loudVad.step>) => {
        steps++
        return loudVad.step(...args)
      },
    }
    const ears = new Ears(UNIT_SAMPLES)
    const gate = new TurnGate(counting, { turns: TURNS, perceive: "always" }, ears)
    for (let i = 0; i < 60; i++) gate.push({ pcm: new Float32Array(UNIT_SAMPLES / 25) })
    for await (const _ of gate.listen(() => false));
    expect(steps).toBe(3)
    expect(itemsOf(ears).heard.length).toBeGreaterThan(2.3 * UNIT_SAMPLES)
  })

  test("needs more speech while the assistant speaks, until its sound is over", async () => {
    const { gate, push } = gateOf()
    gate.speak(1000)
    expect(await push([0, 2, 5, 10])).toEqual([]) // 160 ms into the second that is being played
    await push([0, 30])
    expect(await push([5])).toMatchObject([{ type: "speech-start" }])
    const other = gateOf()
    other.gate.speak(1000)
    other.gate.stopSpeaking()
    expect(await other.push([0, 2, 5])).toMatchObject([{ type: "speech-start" }])
    expect(await gateOf().push([0, 2, 5], true)).toEqual([])
  })

  test("tells that nobody speaks, once", async () => {
    const { push } = gateOf({ idleMs: 320 })
    expect(await push([0, 9])).toEqual([])
    expect(await push([0, 31])).toEqual([{ type: "idle", atMs: 320 }])
    expect(await push([0, 15], true)).toEqual([])
  })

  test("forgets a turn that was begun when it is cleared", async () => {
    const { gate, ears, push } = gateOf()
    expect(await push([5])).toMatchObject([{ type: "speech-start" }])
    gate.clear()
    ears.clear()
    expect(await push([0, 20])).toEqual([])
    expect(itemsOf(ears).heard.length).toBe(0)
    // The clock goes on, and the pre-roll does not reach back to what was cleared.
    expect(await push([2])).toEqual([{ type: "speech-start", atMs: 27 * 32, startMs: 25 * 32 - 128 }])
  })

  test("forgets no text that was kept when the sound before it is cleared", () => {
    const { gate, ears } = gateOf()
    gate.push({ pcm: soundOf([20]), text: "kept" })
    const place = gate.place()
    gate.keep()
    gate.push({ pcm: soundOf([20]), text: "not kept" })
    gate.clear()
    expect([gate.isBehind, ears.data.ready]).toEqual([false, [{ text: "kept" }]])
    expect(place).toEqual({ item: { text: "kept" }, isReached: true })
  })

  test("counts sound that was cleared before it was listened to", async () => {
    const { gate, push } = gateOf()
    await push([0, 10])
    gate.push({ pcm: soundOf([0, 5, 4]) })
    gate.clear()
    expect(await push([2])).toEqual([{ type: "speech-start", atMs: 21 * 32, startMs: 19 * 32 }])
  })

  test("gives what was said so far when it is answered in the middle", async () => {
    const { gate, ears, push } = gateOf()
    await push([0, 10, 5, 4])
    gate.release()
    expect(itemsOf(ears).heard.length).toBe((4 + 5 + 4) * VAD_WINDOW_SAMPLES) // pre-roll, speech, the pause
    // That was its end: silence does not end it again, and holds nothing for the next answer.
    expect(await push([0, 30])).toEqual([])
    gate.release()
    expect(itemsOf(ears).heard.length).toBe((4 + 5 + 4) * VAD_WINDOW_SAMPLES)
    expect(ears.foundTurn).toBeUndefined()
    // Speech goes on as the next turn.
    expect((await push([5, 20])).map(({ type }) => type)).toEqual(["speech-start", "speech-end"])
  })

  test("gives a word too short to start a turn when it is answered by hand", async () => {
    const { gate, ears, push } = gateOf({ minSpeechMs: 192 })
    expect(await push([0, 10, 5])).toEqual([])
    gate.release()
    expect(itemsOf(ears).heard.length).toBe((4 + 5) * VAD_WINDOW_SAMPLES) // with its pre-roll
    // Shortly after the word, what the pre-roll reaches of it.
    expect(await push([5, 3])).toEqual([])
    gate.release()
    expect(itemsOf(ears).heard.length).toBe((4 + 5 + 4) * VAD_WINDOW_SAMPLES)
  })

  test("never tells the end of a turn that was answered by hand, and gives every sample once", async () => {
    const released = fc.record({
      windows: fc.array(fc.integer({ min: 0, max: 12 }), { maxLength: 4 }),
      by: fc.boolean(),
    })
    await fc.assert(
      fc.asyncProperty(
        fc.array(released, { maxLength: 8 }),
        fc.constantFrom("always", "speech"),
        async (steps, mode) => {
          const { gate, ears, push } = gateOf({}, mode)
          let isOpen = false
          let pushed = 0
          for (const { windows, by } of steps) {
            pushed += windows.reduce((sum, count) => sum + count, 0) * VAD_WINDOW_SAMPLES
            for (const { type } of await push(windows)) {
              if (type === "speech-end") expect(isOpen).toBe(true)
              isOpen = type === "speech-start"
            }
            if (!by) continue
            gate.release()
            isOpen = false
            const { length } = itemsOf(ears).heard
            if (mode === "always") expect(length).toBe(pushed)
            else expect(length).toBeLessThanOrEqual(pushed)
          }
        },
      ),
    )
  })

  test("drops the sound of speech that nobody reads for over a minute, and says how much", async () => {
    const { ears, push } = gateOf()
    const dropped: number[] = []
    for (let second = 0; second < 75; second++) {
      for (const event of await push([32], true)) if (event.type === "input-dropped") dropped.push(event.droppedMs)
    }
    const droppedMs = dropped.reduce((sum, ms) => sum + ms, 0)
    expect(droppedMs).toBeGreaterThan(10_000)
    expect(itemsOf(ears).heard.length + droppedMs * 16).toBe(75 * 32 * VAD_WINDOW_SAMPLES)
  })

  test("drops no text and no frame with the sound that waits", async () => {
    const { ears, gate, push } = gateOf()
    const frame = { width: 1, height: 1, data: new Uint8Array(3) }
    for (let i = 0; i < 90; i++) {
      gate.push({ pcm: new Float32Array(UNIT_SAMPLES), text: `${i}`, ...(i === 3 ? { frame } : {}) })
    }
    await push([])
    expect(ears.data.ready.flatMap(({ text }) => text ?? [])).toEqual(Array.from({ length: 90 }, (_, i) => `${i}`))
    expect(ears.data.lastFrame).toBe(frame)
  })

  test("may leave sound for later while a minute waits to be read", async () => {
    const { ears, gate } = gateOf({}, "always")
    gate.push({ pcm: soundOf([90 * 32]) })
    const listen = async () => {
      const events: CallEvent[] = []
      for await (const event of gate.listen(
        () => false,
        () => true,
      ))
        if (event) events.push(event)
      return events.map(({ type }) => type)
    }
    expect(await listen()).toEqual(["speech-start"])
    expect([ears.isFull, gate.isBehind]).toEqual([true, true])
    expect(await listen()).toEqual([])
    const [read, before] = [ears.peek(60), itemsOf(ears).heard.length]
    ears.remove(read)
    expect(await listen()).toEqual([])
    expect(before + itemsOf(ears).heard.length - (before - 60 * UNIT_SAMPLES)).toBe(90 * 32 * VAD_WINDOW_SAMPLES)
    expect(gate.isBehind).toBe(false)
  })

  test("keeps a minute of sound that it cannot listen to, and the clock runs on", async () => {
    const { gate, push } = gateOf()
    const minute = Array.from({ length: 60 }, () => gate.push({ pcm: new Float32Array(UNIT_SAMPLES) }))
    expect(minute.every((dropped) => dropped === 0)).toBe(true)
    expect(gate.push({ pcm: new Float32Array(UNIT_SAMPLES) })).toBe(1000)
    await push([]) // 61 s on the clock, one of them unheard
    const [start] = await push([2])
    expect(start).toMatchObject({ type: "speech-start" })
    expect((start as { atMs: number }).atMs).toBeGreaterThan(61_000)
    expect((start as { atMs: number }).atMs).toBeLessThan(61_100)
  })
})
