/** @file Storage plans: what each needs, what `auto` takes, and what is said when nothing fits. */
import { describe, expect, test } from "vitest"
import { modelPlan, officialTensors } from "../convert/index.ts"
import { componentSpecs } from "../models/minicpmo/index.ts"
import { ConfigError } from "../util/index.ts"
import { choosePlan, countWeights, planBytes, type StoragePlan } from "./memory-plan.ts"

/** The official size. */
const { config: FULL, sizes } = modelPlan("full")
const TABLE = FULL.vocab_size * 3584

function componentsOf(config: object) {
  const tensors = officialTensors(config, sizes)
  return componentSpecs(config, (name) => tensors.get(name)?.shape)
}

const needsOf = (config: object) => {
  const components = componentsOf(config)
  return (plan: StoragePlan) => planBytes(components, plan)
}

const GB = 1e9
/** Needs in round numbers. */
const NEEDS: { readonly [P in StoragePlan]: number } = {
  none: 32 * GB,
  "int8+int4": 13 * GB,
  int8: 9 * GB,
  int4: 6 * GB,
}
const needs = (plan: StoragePlan) => NEEDS[plan]

describe("what a plan needs", () => {
  test("at full size fits the figures measured there: float32 does not fit 16 GB, int4 fits 8 GB", () => {
    const needs = needsOf(FULL)
    expect(needs("none") / GB).toBeGreaterThan(4 * 8.6)
    expect(needs("int8+int4")).toBeGreaterThan(needs("int8"))
    expect(needs("int8")).toBeGreaterThan(needs("int4"))
    // The language model alone, measured: 7.0 GB (int8) and 4.3 GB (int4); the others have a billion weights of 8 bits.
    expect(needs("int8") / GB).toBeGreaterThan(8)
    expect(needs("int8") / GB).toBeLessThan(11)
    expect(needs("int4") / GB).toBeGreaterThan(5.3)
    expect(needs("int4") / GB).toBeLessThan(7.5)
    expect(needs("int8+int4") / GB).toBeLessThan(15)
  })

  test("counts tables read by rows only where they are held in memory", () => {
    const tied = { ...FULL, tie_word_embeddings: true }
    expect(countWeights(componentsOf(FULL)) - countWeights(componentsOf(tied))).toBe(TABLE)
    // The official model's embeddings and head are as large as each other: only the head is in a quantized plan.
    const all = countWeights(componentsOf(FULL))
    expect(needsOf(FULL)("none")).toBe(4 * all + 1.5e9)
    const floats = (needsOf(FULL)("int8") - 1.5e9 - (all - TABLE)) / 3
    expect(floats).toBeGreaterThan(0)
    expect(floats / all).toBeLessThan(0.01) // norms, convolutions, the codec and some tables stay floats
  })

  test("a wish decides about the language model alone", () => {
    const language = (plan: StoragePlan) => {
      const [first, ...others] = componentsOf(FULL)
      return planBytes([first!, ...others], plan) - planBytes(others, plan)
    }
    expect(language("int8") - language("int4")).toBeCloseTo(needsOf(FULL)("int8") - needsOf(FULL)("int4"), -3)
  })

  test("grows with the model", () => {
    const layers = (count: number) => needsOf({ ...FULL, num_hidden_layers: count })("int8")
    for (const count of [1, 2, 4, 8, 27]) expect(layers(count)).toBeLessThan(layers(count + 1))
  })
})

describe("auto", () => {
  test.each([
    [64, "int8+int4"],
    [13, "int8+int4"],
    [12.9, "int8"],
    [9, "int8"],
    [8.9, "int4"],
    [6, "int4"],
  ])("with %d GB free takes %s", (free, plan) => {
    expect(choosePlan("auto", 7.6e9, needs, free * GB)).toBe(plan)
  })

  test("takes exact floats for small models where they fit", () => {
    const small = (plan: StoragePlan) => needs(plan) / 1000
    expect(choosePlan("auto", 10e6, small, 0.032 * GB)).toBe("none")
    expect(choosePlan("auto", 10e6, small, 0.031 * GB)).toBe("int8+int4")
  })

  test("refuses when even the smallest plan does not fit", () => {
    expect(() => choosePlan("auto", 7.6e9, needs, 5.9 * GB)).toThrow(
      new ConfigError(
        "memory: expected 6.0 GB for --quantize int4, got 5.9 GB free (close other programs, or take a smaller model)",
      ),
    )
  })
})

describe("a wish", () => {
  test.each(["none", "int8+int4", "int8", "int4"] as const)("%s is granted when it fits exactly", (plan) => {
    expect(choosePlan(plan, 7.6e9, needs, needs(plan))).toBe(plan)
  })

  test.each([
    ["none", 20, "32.0 GB for --quantize none, got 20.0 GB free (int8+int4 needs 13.0 GB)"],
    ["none", 10, "32.0 GB for --quantize none, got 10.0 GB free (int8 needs 9.0 GB)"],
    ["int8+int4", 10, "13.0 GB for --quantize int8+int4, got 10.0 GB free (int8 needs 9.0 GB)"],
    ["int8+int4", 7, "13.0 GB for --quantize int8+int4, got 7.0 GB free (int4 needs 6.0 GB)"],
    ["int8", 7, "9.0 GB for --quantize int8, got 7.0 GB free (int4 needs 6.0 GB)"],
    [
      "int8",
      2,
      "9.0 GB for --quantize int8, got 2.0 GB free (even int4 needs 6.0 GB; close other programs, or take a smaller model)",
    ],
    ["int4", 2, "6.0 GB for --quantize int4, got 2.0 GB free (close other programs, or take a smaller model)"],
  ] as const)("%s with %d GB free is refused", (plan, free, message) => {
    expect(() => choosePlan(plan, 7.6e9, needs, free * GB)).toThrow(new ConfigError(`memory: expected ${message}`))
  })
})
