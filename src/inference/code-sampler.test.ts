import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { createRandom, InputError } from "../util/index.ts"
import {
  type CodeSampling,
  checkCodeSampling,
  codeProbabilities,
  DEFAULT_CODE_SAMPLING,
  drawBy,
  drawMostLikely,
  penalizeRepetition,
  softmax,
  warp,
} from "./code-sampler.ts"

const near = (got: ArrayLike<number>, want: readonly number[]) => {
  for (const [i, value] of want.entries()) expect(got[i]).toBeCloseTo(value, 4)
}

describe("the reference's numbers", () => {
  const logits = [2, 1, 0.5, 0, -1, -2].map((value) => value / 0.3)
  test("sharp logits keep three codes", () => {
    const line = Float32Array.from(logits)
    warp(line, DEFAULT_CODE_SAMPLING)
    near(softmax(line), [0.9593, 0.0342, 0.0065, 0, 0, 0])
  })
  test("flat logits keep as many as reach topP", () => {
    const line = Float32Array.from(logits, (value) => value / 10)
    near(softmax(line), [0.2884, 0.2066, 0.1749, 0.148, 0.1061, 0.076])
    warp(line, DEFAULT_CODE_SAMPLING)
    near(softmax(line), [0.3525, 0.2526, 0.2138, 0.181, 0, 0])
  })
  test("penalty", () => {
    const line = Float32Array.from(logits)
    penalizeRepetition(line, [0, 0, 1], 1.05)
    near(line, [6.0469, 3.1746, 1.6667, 0, -3.3333, -6.6667])
  })
})

const SAMPLING: CodeSampling = { temperatures: [1], topP: 0.7, topK: 20, repetitionPenalty: 1 }
const lines = fc.array(fc.double({ min: -9, max: 9, noNaN: true }), { minLength: 30, maxLength: 30 })

test("warpers keep at least three codes, at most topK, and the best ones", () => {
  fc.assert(
    fc.property(lines, fc.integer({ min: 1, max: 30 }), fc.double({ min: 0.01, max: 1 }), (values, topK, topP) => {
      const line = Float32Array.from(values)
      const before = line.slice()
      warp(line, { topK, topP })
      const kept = before.filter((_, i) => line[i] !== Number.NEGATIVE_INFINITY)
      const dropped = before.filter((_, i) => line[i] === Number.NEGATIVE_INFINITY)
      expect(kept.length).toBeGreaterThanOrEqual(3)
      const distinct = new Set(before).size === before.length
      if (distinct) expect(kept.length).toBeLessThanOrEqual(Math.max(topK, 3))
      if (dropped.length > 0) expect(Math.min(...kept)).toBeGreaterThanOrEqual(Math.max(...dropped))
    }),
  )
})

test("the first frame is neither warped nor penalized; the ban comes last", () => {
  const logits = Float32Array.from({ length: 60 }, (_, i) => Math.sin(i))
  const rows = codeProbabilities(logits, 2, { ...SAMPLING, repetitionPenalty: 9 }, { frames: [] })
  expect(rows.map((row) => row.filter((p) => p > 0).length)).toEqual([30, 30])
  const best = drawMostLikely(rows[0]!)
  const banned = codeProbabilities(logits, 2, SAMPLING, { frames: [[0, 0]], banned: best })
  expect(banned[0]![best]).toBe(0)
  expect(banned[0]!.reduce((sum, p) => sum + p, 0)).toBeCloseTo(1, 5)
  expect(banned[0]!.filter((p) => p > 0).length).toBeGreaterThanOrEqual(2)
})

test("each codebook has its own temperature and history, of 16 frames", () => {
  const logits = new Float32Array(60).fill(1)
  const frames = [[5, 6], ...Array.from({ length: 16 }, () => [1, 2])]
  const sampling = { temperatures: [1, 2], topP: 1, topK: 30, repetitionPenalty: 2 }
  const [first, second] = codeProbabilities(logits, 2, sampling, { frames })
  expect(first![1]).toBeLessThan(first![5]!) // penalized in the first codebook alone
  expect(first![5]).toBe(first![6]) // 17 frames ago does not count
  expect(second![2]).toBeLessThan(second![1]!)
})

test("draws follow the distribution", () => {
  const draw = drawBy(createRandom(7))
  const counts = [0, 0, 0, 0]
  for (let i = 0; i < 20_000; i++) counts[draw(Float32Array.of(0.5, 0, 0.2, 0.3))]!++
  near(
    counts.map((count) => Math.round((count / 20_000) * 50) / 50),
    [0.5, 0, 0.2, 0.3],
  )
  expect(drawBy(() => 0.999_999_9)(Float32Array.of(0.1, 0.3, 0.2))).toBe(1)
})

test.each([
  [{ temperatures: [1, 1] }, "speech temperatures: expected 1 or 4 numbers, got 2"],
  [{ temperatures: [0] }, "speech temperatures: expected numbers > 0, got 0"],
  [{ topP: 1.5 }, "speech topP: expected a number in (0, 1], got 1.5"],
  [{ topK: 0 }, "speech topK: expected a whole number > 0, got 0"],
  [{ repetitionPenalty: Number.NaN }, "speech repetitionPenalty: expected a number > 0, got NaN"],
])("refuses %j", (change, message) => {
  expect(() => checkCodeSampling({ ...DEFAULT_CODE_SAMPLING, ...change }, 4)).toThrow(new InputError(message))
})
