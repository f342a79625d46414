import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { ConfigError } from "../util/index.ts"
import { createTurnDetector, type TurnEvent } from "./turn-detector.ts"
import {
  DEFAULT_TURN_OPTIONS,
  DEMO_SERVER_TURN_OPTIONS,
  eagernessSilenceMs,
  type TurnOptions,
  turnOptions,
} from "./turn-options.ts"

const WINDOW = 512
/** Runs of equal probabilities: [windows, probability]. */
const runs = (...parts: [number, number][]): Float32Array =>
  Float32Array.from(parts.flatMap(([windows, probability]) => new Array<number>(windows).fill(probability)))

function eventsOf(probabilities: Float32Array, options: Partial<TurnOptions> = {}, assistantSpeaking = false) {
  const detector = createTurnDetector({ minSpeechMs: 128, ...options })
  return detector.step(detector.init(), probabilities, assistantSpeaking)[0]
}

const start = (startWindow: number, atWindow: number, bargeIn = false): TurnEvent => ({
  type: "speech-start",
  startSample: startWindow * WINDOW,
  atSample: atWindow * WINDOW,
  bargeIn,
})
const end = (
  endWindow: number,
  atWindow: number,
  reason: "silence" | "max-length" | "finish" = "silence",
): TurnEvent => ({ type: "speech-end", endSample: endWindow * WINDOW, atSample: atWindow * WINDOW, reason })

test("by default a turn needs 192 ms of speech", () => {
  const detector = createTurnDetector()
  expect(detector.step(detector.init(), runs([5, 0.9], [30, 0]))[0]).toEqual([])
  expect(detector.step(detector.init(), runs([6, 0.9]))[0]).toEqual([start(0, 6)])
})

describe("turns", () => {
  test("begin after 128 ms of speech with 300 ms before it, and end after 500 ms of silence", () => {
    expect(eventsOf(runs([20, 0], [30, 0.9], [40, 0]))).toEqual([start(10, 24), end(50, 66)])
  })

  test("begin at the first sample when speech does", () => {
    expect(eventsOf(runs([10, 0.9]))).toEqual([start(0, 4)])
  })

  test("go on over pauses shorter than the silence", () => {
    expect(eventsOf(runs([20, 0.9], [15, 0], [20, 0.9], [16, 0]))).toEqual([start(0, 4), end(55, 71)])
  })

  test("go on at or above the release threshold, which alone starts none", () => {
    expect(eventsOf(runs([8, 0.9], [60, 0.4]))).toEqual([start(0, 4)])
    expect(eventsOf(runs([60, 0.4]))).toEqual([])
    expect(eventsOf(runs([8, 0.9], [60, 0.34]))).toEqual([start(0, 4), end(8, 24)])
  })

  test("are not begun by short bursts, however many", () => {
    expect(eventsOf(runs(...Array.from({ length: 40 }, (_, i) => [3, i % 2 ? 0.9 : 0] as [number, number])))).toEqual(
      [],
    )
  })

  test("are begun by syllables with stops between them", () => {
    expect(eventsOf(runs([20, 0], [2, 0.9], [2, 0], [2, 0.9], [20, 0]))).toEqual([start(10, 26), end(26, 42)])
  })

  test("take nothing twice: pre-roll stops where the turn before was over", () => {
    const two = eventsOf(runs([10, 0.9], [18, 0], [10, 0.9]))
    expect(two).toEqual([start(0, 4), end(10, 26), start(26, 32)])
  })

  test("are cut at the maximum, and speech goes on in the next", () => {
    const [first, ...rest] = eventsOf(runs([100, 0.9], [40, 0]), { maxTurnMs: 1000, preRollMs: 0 })
    expect(first).toEqual(start(0, 4))
    expect(rest).toEqual([
      end(32, 32, "max-length"),
      start(32, 32),
      end(64, 64, "max-length"),
      start(64, 64),
      end(96, 96, "max-length"),
      start(96, 96),
      end(100, 116),
    ])
  })

  test("cut in a pause leave the next turn to new speech", () => {
    const events = eventsOf(runs([30, 0.9], [40, 0]), { maxTurnMs: 1000, preRollMs: 0 })
    expect(events).toEqual([start(0, 4), end(32, 32, "max-length")])
  })

  test("end by hand where their speech ended, and bursts are forgotten", () => {
    const detector = createTurnDetector({ minSpeechMs: 128 })
    const [, talking] = detector.step(detector.init(), runs([10, 0.9], [3, 0]))
    const [events, after] = detector.finish(talking)
    expect(events).toEqual([end(10, 13, "finish")])
    expect(detector.finish(after)[0]).toEqual([])
    const [, burst] = detector.step(detector.init(), runs([3, 0.9]))
    const [none, calm] = detector.finish(burst)
    expect(none).toEqual([])
    expect(detector.step(calm, runs([3, 0.9]))[0]).toEqual([])
  })
})

describe("barge-in", () => {
  test("needs more speech than a turn in silence", () => {
    expect(eventsOf(runs([9, 0.9], [20, 0]), {}, true)).toEqual([])
    expect(eventsOf(runs([20, 0], [10, 0.9]), {}, true)).toEqual([start(10, 30, true)])
  })

  test("needs 128 ms more than a turn in silence, and 320 at least, however long that must be", () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 10_000 }), (minSpeechMs) => {
        const speech = runs([400, 0.9])
        const [quiet] = eventsOf(speech, { minSpeechMs })
        const [into] = eventsOf(speech, { minSpeechMs }, true)
        const expected = Math.max(10, quiet!.atSample / WINDOW + (minSpeechMs > 0 ? 4 : 3))
        expect(into!.atSample / WINDOW).toBe(expected)
      }),
    )
    expect(() => createTurnDetector({ minSpeechMs: 400, bargeInMs: 500 })).not.toThrow()
  })

  test("under way when the assistant stops is an ordinary turn", () => {
    const detector = createTurnDetector({ minSpeechMs: 128 })
    const [during, state] = detector.step(detector.init(), runs([6, 0.9]), true)
    expect(during).toEqual([])
    expect(detector.step(state, runs([1, 0.9]), false)[0]).toEqual([start(0, 7)])
  })
})

describe("idle time", () => {
  const options = { idleTimeoutMs: 3200 }
  test("is told once, and again after speech", () => {
    const events = eventsOf(runs([300, 0], [8, 0.9], [300, 0]), options)
    const idle = (window: number) => ({ type: "idle", atSample: window * WINDOW })
    expect(events).toEqual([idle(100), start(290, 304), end(308, 324), idle(424)])
  })

  test("stands still while the assistant speaks", () => {
    const detector = createTurnDetector(options)
    const [during, state] = detector.step(detector.init(), runs([500, 0]), true)
    expect(during).toEqual([])
    const [, later] = detector.step(state, runs([99, 0]))
    expect(detector.step(later, runs([1, 0]))[0]).toEqual([{ type: "idle", atSample: 600 * WINDOW }])
  })
})

const anyOptions = fc.record({
  threshold: fc.double({ min: 0.3, max: 0.9, noNaN: true }),
  minSpeechMs: fc.integer({ min: 0, max: 400 }),
  silenceMs: fc.integer({ min: 1, max: 800 }),
  preRollMs: fc.integer({ min: 0, max: 600 }),
  maxTurnMs: fc.constantFrom(1000, 2500, Number.POSITIVE_INFINITY),
  idleTimeoutMs: fc.constantFrom(1000, Number.POSITIVE_INFINITY),
})
const anySpeech = fc
  .array(fc.tuple(fc.integer({ min: 1, max: 40 }), fc.double({ min: 0, max: 1, noNaN: true })), { maxLength: 30 })
  .map((parts) => runs(...parts))

test("chunks give what the whole gives, state is plain data and never changed", () => {
  fc.assert(
    fc.property(anyOptions, anySpeech, fc.integer({ min: 1, max: 50 }), (options, probabilities, size) => {
      const detector = createTurnDetector(options)
      const first = Object.freeze(detector.init())
      const [whole, last] = detector.step(first, probabilities)
      const events: TurnEvent[] = []
      let state = first
      for (let at = 0; at < probabilities.length; at += size) {
        const [found, next] = detector.step(state, probabilities.subarray(at, at + size))
        events.push(...found)
        state = Object.freeze(JSON.parse(JSON.stringify(next)) as typeof next)
      }
      expect(events).toEqual(whole)
      expect(state).toEqual(last)
    }),
  )
})

test("turns alternate, never overlap, and end within their limits", () => {
  fc.assert(
    fc.property(anyOptions, anySpeech, (options, probabilities) => {
      const detector = createTurnDetector(options)
      const [events, state] = detector.step(detector.init(), probabilities)
      const all = [...events, ...detector.finish(state)[0]].filter((event) => event.type !== "idle")
      let known = 0
      let began = 0
      all.forEach((event, i) => {
        expect(event.type).toBe(i % 2 ? "speech-end" : "speech-start")
        expect(event.atSample).toBeGreaterThanOrEqual(known)
        if (event.type === "speech-start") {
          expect(event.startSample).toBeGreaterThanOrEqual(known)
          began = event.startSample
        } else {
          // A turn that a split began is empty when the stream ends there.
          expect(event.endSample).toBeGreaterThanOrEqual(began)
          expect(event.endSample).toBeLessThanOrEqual(event.atSample)
          const most = Math.ceil(options.maxTurnMs / 32) + Math.ceil(options.preRollMs / 32)
          expect((event.atSample - began) / WINDOW).toBeLessThanOrEqual(most)
        }
        known = event.atSample
      })
      expect(all.length % 2).toBe(0)
    }),
  )
})

describe("options", () => {
  test("absent ones are the defaults, and the release threshold follows", () => {
    expect(turnOptions()).toEqual(DEFAULT_TURN_OPTIONS)
    expect(turnOptions({ threshold: 0.8, silenceMs: undefined as never }).releaseThreshold).toBeCloseTo(0.65)
    expect(turnOptions({ threshold: 0.1 }).releaseThreshold).toBe(0)
    expect(turnOptions(DEMO_SERVER_TURN_OPTIONS)).toEqual(DEMO_SERVER_TURN_OPTIONS)
  })

  test.each([
    [{ threshold: 1.5 }, "turns.threshold: expected a number from 0 to 1, got 1.5"],
    [{ threshold: Number.NaN }, "turns.threshold: expected a number from 0 to 1, got NaN"],
    [{ threshold: 0.5, releaseThreshold: 0.6 }, "turns.releaseThreshold: expected a number from 0 to 0.5, got 0.6"],
    [{ silenceMs: 0 }, "turns.silenceMs: expected a number from 1 to 60000, got 0"],
    [{ preRollMs: -1 }, "turns.preRollMs: expected a number from 0 to 10000, got -1"],
    [{ maxTurnMs: 20 }, "turns.maxTurnMs: expected a number from 1000 to Infinity, got 20"],
    [{ idleTimeoutMs: "5" as never }, "turns.idleTimeoutMs: expected a number from 1 to Infinity, got 5"],
  ])("refuses %j", (options, message) => {
    expect(() => createTurnDetector(options)).toThrow(ConfigError)
    expect(() => createTurnDetector(options)).toThrow(message)
  })

  test("eagerness is a length of silence", () => {
    expect((["low", "medium", "high", "auto"] as const).map(eagernessSilenceMs)).toEqual([2000, 1000, 500, 1000])
  })
})
