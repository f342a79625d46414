import fc from "fast-check"
import { expect, test } from "vitest"
import { parseTtsConfig } from "../models/minicpmo/index.ts"
import { SMALL_TTS } from "./speech.test-util.ts"
import { audioStart, cacheMask, DEAD_ROW, EMPTY_ROW, MASKED, visibleTextSlots } from "./speech-mask.ts"

const OFFICIAL = parseTtsConfig({ tts_config: {} })

test.each([
  // tokens, position, slots: from the official mask function
  [25, 302, 12],
  [25, 350, 12],
  [25, 351, 22],
  [25, 401, 28], // the end mark included
  [12, 352, 15],
  [300, 1750, 292],
  [300, 1751, 302], // never the slot of [Ptts]
])("%i tokens at position %i: %i slots", (textTokens, position, slots) => {
  expect(visibleTextSlots(position, textTokens, OFFICIAL)).toBe(slots)
})

test("visible text only grows, with time and with text", () => {
  const places = fc.integer({ min: audioStart(SMALL_TTS), max: 4000 })
  fc.assert(
    fc.property(places, fc.nat(230), (position, textTokens) => {
      const slots = visibleTextSlots(position, textTokens, SMALL_TTS)
      expect(visibleTextSlots(position + 1, textTokens, SMALL_TTS)).toBeGreaterThanOrEqual(slots)
      expect(visibleTextSlots(position, Math.min(230, textTokens + 1), SMALL_TTS)).toBeGreaterThanOrEqual(slots)
      expect(slots).toBeLessThanOrEqual(audioStart(SMALL_TTS))
    }),
  )
})

test("rows are seen by where they belong, not by where they lie; empty slots share one row", () => {
  const start = audioStart(SMALL_TTS)
  const rows = Int32Array.of(EMPTY_ROW, DEAD_ROW, start, start + 1, 0, 1, 4)
  const line = (textSlots: number, audio: boolean) => [...cacheMask(rows, 8, { textSlots, audio }, SMALL_TTS)]
  const M = Math.fround(MASKED)
  const missing = Math.fround(Math.log(2)) // slots 2 and 3
  expect(line(4, true)).toEqual([missing, M, M, 0, 0, 0, M, M])
  expect(line(5, false)).toEqual([missing, M, M, M, 0, 0, 0, M])
  expect(line(2, true)).toEqual([M, M, M, 0, 0, 0, M, M])
  expect(line(0, false)).toEqual([M, M, M, M, M, M, M, M])
})
