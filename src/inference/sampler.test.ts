/** @file Laws of the sampler: what each setting removes, what survives ties, and that draws follow the distribution. */
import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { BackendError, createRandom, InputError } from "../util/index.ts"
import {
  argMax,
  candidates,
  checkSampling,
  DEFAULT_SAMPLING,
  kthLargest,
  processLogits,
  type SamplingContext,
  type SamplingOptions,
  sample,
} from "./sampler.ts"

const ALL: SamplingOptions = { temperature: 1, topK: 0, topP: 1, repetitionPenalty: 1, minNewTokens: 0 }
const NOTHING: SamplingContext = { seen: [], newTokens: 0, terminators: [], reserved: [] }

/** Logits with many ties. */
const logitsOf = (min = 2, max = 40) =>
  fc.array(
    fc.integer({ min: -12, max: 12 }).map((value) => value / 4),
    { minLength: min, maxLength: max },
  )

const softmax = (values: readonly number[], temperature = 1) => {
  const largest = Math.max(...values)
  const powers = values.map((value) => Math.exp((value - largest) / temperature))
  const sum = powers.reduce((total, power) => total + power, 0)
  return powers.map((power) => power / sum)
}

describe("processing", () => {
  const processed = (logits: number[], options: Partial<SamplingOptions>, context: Partial<SamplingContext>) => {
    const data = Float32Array.from(logits)
    processLogits(data, { ...ALL, ...options }, { ...NOTHING, ...context })
    return [...data]
  }

  test("the penalty divides positive logits and multiplies negative ones, once for each seen id", () => {
    expect(processed([2, -2, 0, 3], { repetitionPenalty: 2 }, { seen: [0, 1, 0, 2, 0] })).toEqual([1, -4, 0, 3])
    expect(processed([2, -2], { repetitionPenalty: 0.5 }, { seen: [0, 1] })).toEqual([4, -1])
    expect(processed([2, -2], { repetitionPenalty: 1 }, { seen: [0, 1] })).toEqual([2, -2])
  })

  test("frequency counts every time a token was written, presence once", () => {
    const written = [0, 2, 0, 0]
    expect(processed([4, 4, 4], { frequencyPenalty: 0.5 }, { written })).toEqual([2.5, 4, 3.5])
    expect(processed([4, 4, 4], { presencePenalty: 0.5 }, { written })).toEqual([3.5, 4, 3.5])
    expect(processed([4, 4, 4], { frequencyPenalty: -1, presencePenalty: 2 }, { written })).toEqual([5, 4, 3])
  })

  test("bias is added to its ids, and ids beyond the vocabulary are nobody's", () => {
    expect(processed([1, 2, 3], { logitBias: { 1: -100, 2: 0.5, 99: 7 } }, {})).toEqual([1, -98, 3.5])
    expect(processed([1, 2], { logitBias: { 0: 100 } }, { reserved: [0] })).toEqual([-Infinity, 2])
  })

  test("terminators wait for the minimum length", () => {
    const cut = (newTokens: number) => processed([1, 2, 3], { minNewTokens: 2 }, { newTokens, terminators: [2, 0] })
    expect([cut(0), cut(1), cut(2)]).toEqual([
      [-Infinity, 2, -Infinity],
      [-Infinity, 2, -Infinity],
      [1, 2, 3],
    ])
  })

  test("reserved ids are out, whatever else is set", () => {
    expect(processed([9, 1, 8], { repetitionPenalty: 3 }, { seen: [0], reserved: [0, 2] })).toEqual([
      -Infinity,
      1,
      -Infinity,
    ])
  })
})

describe("candidates", () => {
  const of = (logits: readonly number[], options: Partial<SamplingOptions>) => {
    const { ids, probabilities } = candidates(Float32Array.from(logits), { ...ALL, ...options })
    return { ids, probabilities: [...probabilities] }
  }

  test("without limits they are all ids by probability, earlier ids first among equals", () => {
    fc.assert(
      fc.property(logitsOf(), fc.constantFrom(0.3, 1, 2.5), (logits, temperature) => {
        const { ids, probabilities } = of(logits, { temperature })
        const wanted = softmax(logits, temperature)
        expect(ids).toEqual([...logits.keys()].sort((a, b) => logits[b]! - logits[a]! || a - b))
        for (const [i, id] of ids.entries()) expect(probabilities[i]).toBeCloseTo(wanted[id]!, 5)
      }),
    )
  })

  test("top-k keeps the k largest and everything equal to the last of them", () => {
    fc.assert(
      fc.property(logitsOf(), fc.integer({ min: 1, max: 45 }), (logits, topK) => {
        const threshold = [...logits].sort((a, b) => b - a)[Math.min(topK, logits.length) - 1]!
        const wanted = [...logits.keys()].filter((id) => logits[id]! >= threshold)
        expect(of(logits, { topK }).ids.toSorted((a, b) => a - b)).toEqual(wanted)
      }),
    )
  })

  test("top-p keeps the fewest that reach it, and always the most likely", () => {
    fc.assert(
      fc.property(logitsOf(2, 12), fc.double({ min: 0.01, max: 0.99, noNaN: true }), (logits, topP) => {
        const { ids } = of(logits, { topP })
        const all = of(logits, {})
        expect(ids).toEqual(all.ids.slice(0, ids.length))
        expect(ids.length).toBeGreaterThan(0)
        const mass = (count: number) => all.probabilities.slice(0, count).reduce((sum, p) => sum + p, 0)
        expect(mass(ids.length)).toBeGreaterThanOrEqual(topP - 1e-9)
        if (ids.length > 1) expect(mass(ids.length - 1)).toBeLessThan(topP + 1e-9)
      }),
    )
    expect(of([0, 5, 0], { topP: 1e-9 }).ids).toEqual([1])
  })

  test("what is left sums to one, also after both limits", () => {
    fc.assert(
      fc.property(logitsOf(), fc.nat(10), fc.double({ min: 0.05, max: 1, noNaN: true }), (logits, topK, topP) => {
        const { probabilities } = of(logits, { topK, topP, temperature: 0.7 })
        expect(probabilities.reduce((sum, p) => sum + p, 0)).toBeCloseTo(1, 12)
      }),
    )
  })

  test("ids that are out never come back", () => {
    expect(of([1, -Infinity, 0], { topK: 3 }).ids).toEqual([0, 2])
    expect(of([-Infinity, -5, -Infinity], { topK: 2, topP: 0.5 }).ids).toEqual([1])
  })

  test("a temperature near zero is greedy, and does not overflow", () => {
    for (const temperature of [1e-3, 1e-30, 1e-44, Number.MIN_VALUE]) {
      expect(of([3, 30, 29], { temperature }).ids[0]).toBe(1)
      expect(of([3, 30, 29], { temperature }).probabilities[0]).toBe(1)
      expect(of([-3, -30, -2], { temperature }).ids[0]).toBe(2)
    }
  })

  test("the k-th largest is what sorting finds", () => {
    fc.assert(
      fc.property(fc.array(fc.float({ noNaN: true }), { minLength: 1, maxLength: 60 }), fc.nat(59), (values, at) => {
        const k = 1 + (at % values.length)
        expect(kthLargest(Float32Array.from(values), k) + 0).toBe(Float32Array.from(values).sort().at(-k)! + 0)
      }),
    )
  })
})

describe("drawing", () => {
  const draw = (
    logits: readonly number[],
    options: Partial<SamplingOptions>,
    random: () => number,
    context = NOTHING,
  ) => sample(Float32Array.from(logits), { ...ALL, ...options }, context, random)

  test("temperature 0 takes the most likely, the first of equals, without a draw", () => {
    const never = () => {
      throw new Error("no draw expected")
    }
    expect(draw([1, 4, 4, 2], { temperature: 0, topK: 1, topP: 0.1 }, never)).toBe(1)
    expect(draw([1, 4, 4, 2], { temperature: 0 }, never, { ...NOTHING, reserved: [1] })).toBe(2)
    expect(draw([-9, -8], { temperature: 0 }, never)).toBe(1)
  })

  test("draws land by their share: the largest first", () => {
    // Shares 0.5, 0.3, 0.2 of ids 2, 0, 1.
    const logits = [Math.log(0.3), Math.log(0.2), Math.log(0.5)]
    const at = (random: number) => draw(logits, {}, () => random)
    expect([0, 0.49, 0.51, 0.79, 0.81, 0.9999999].map(at)).toEqual([2, 2, 0, 0, 1, 1])
  })

  test("a draw that rounding leaves over goes to the last candidate", () => {
    expect(draw([0, 0, 0], {}, () => 1 - 2 ** -53)).toBe(2)
  })

  test("frequencies follow the distribution (chi-square over several seeds)", () => {
    const logits = [1, 0, 0.5, -1, 2, 0, -2, 1.5]
    const options = { temperature: 0.9, topK: 6, topP: 0.95 }
    const { ids, probabilities } = candidates(Float32Array.from(logits), { ...ALL, ...options })
    expect(ids.length).toBeGreaterThan(3)
    const total = 4000
    for (const seed of [1, 2, 3, 2 ** 40]) {
      const random = createRandom(seed)
      const counts = new Map<number, number>()
      for (let i = 0; i < total; i++) {
        const id = draw(logits, options, random)
        counts.set(id, (counts.get(id) ?? 0) + 1)
      }
      expect([...counts.keys()].every((id) => ids.includes(id))).toBe(true)
      const chiSquare = ids.reduce((sum, id, i) => {
        const wanted = probabilities[i]! * total
        return sum + ((counts.get(id) ?? 0) - wanted) ** 2 / wanted
      }, 0)
      // The 0.1 % point for up to 6 degrees of freedom is 22.5.
      expect(chiSquare).toBeLessThan(22.5)
    }
  })

  test("reserved ids and, before the minimum length, terminators are never drawn", () => {
    const random = createRandom(5)
    const context = { ...NOTHING, reserved: [0, 3], terminators: [1], newTokens: 0 }
    const drawn = new Set(
      Array.from({ length: 500 }, () => draw([9, 9, 0, 9, 1], { minNewTokens: 1 }, random, context)),
    )
    expect([...drawn].sort()).toEqual([2, 4])
  })

  test("logits that say nothing are an error, not token 0", () => {
    const random = () => 0.5
    for (const temperature of [0, 1]) {
      expect(() => draw([1, Number.NaN, 3], { temperature }, random)).toThrow(BackendError)
      expect(() => draw([1, Number.NaN, 3], { temperature }, random)).toThrow(
        "sampler: expected a finite largest logit, got NaN (the weights may be damaged)",
      )
      expect(() => draw([1, Infinity], { temperature }, random)).toThrow("got Infinity")
      expect(() => draw([1], { temperature }, random, { ...NOTHING, reserved: [0] })).toThrow("got -Infinity")
    }
  })

  test("argMax takes the first of equals, and finds a NaN anywhere", () => {
    expect(argMax(Float32Array.of(1, 3, 3))).toBe(1)
    expect(argMax(Float32Array.of(1, Number.NaN, 3))).toBe(1)
    expect(argMax(Float32Array.of(Number.NaN, 3))).toBe(0)
    expect(argMax(Float32Array.of(-Infinity, -Infinity))).toBe(0)
  })
})

describe("options", () => {
  test("the defaults are good, and so are the edges", () => {
    checkSampling(DEFAULT_SAMPLING)
    checkSampling({ temperature: 0, topK: 0, topP: 1, repetitionPenalty: 0.01, minNewTokens: 0 })
  })

  test.each([
    [{ temperature: -0.1 }, "temperature: expected a number ≥ 0, got -0.1"],
    [{ temperature: Number.NaN }, "temperature: expected a number ≥ 0, got NaN"],
    [{ topK: 1.5 }, "topK: expected a whole number ≥ 0, got 1.5"],
    [{ topK: -1 }, "topK: expected a whole number ≥ 0, got -1"],
    [{ topP: 0 }, "topP: expected a number in (0, 1], got 0"],
    [{ topP: 1.01 }, "topP: expected a number in (0, 1], got 1.01"],
    [{ repetitionPenalty: 0 }, "repetitionPenalty: expected a number > 0, got 0"],
    [{ minNewTokens: -1 }, "minNewTokens: expected a whole number ≥ 0, got -1"],
    [{ minNewTokens: 0.5 }, "minNewTokens: expected a whole number ≥ 0, got 0.5"],
  ])("%j is refused", (change, message) => {
    expect(() => checkSampling({ ...DEFAULT_SAMPLING, ...change })).toThrow(InputError)
    expect(() => checkSampling({ ...DEFAULT_SAMPLING, ...change })).toThrow(message)
  })
})
