/** @file Storage plans: what each needs, what `auto` takes, and what is said when nothing fits. */
import { describe, expect, test } from "vitest"
import { componentSpecs } from "../models/minicpmo/index.ts"
import { ConfigError } from "../util/index.ts"
import { choosePlan, countWeights, planBytes, type StoragePlan } from "./memory-plan.ts"

/** The language model of the official size. */
const FULL = {
  hidden_size: 3584,
  intermediate_size: 18944,
  num_hidden_layers: 28,
  num_attention_heads: 28,
  num_key_value_heads: 4,
  vocab_size: 151700,
  rope_theta: 1e6,
  rms_norm_eps: 1e-6,
  max_position_embeddings: 32768,
}

const needsOf = (config: object) => {
  const components = componentSpecs(config)
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
    expect(needs("none") / GB).toBeGreaterThan(4 * 7.6)
    expect(needs("int8+int4")).toBeGreaterThan(needs("int8"))
    expect(needs("int8")).toBeGreaterThan(needs("int4"))
    // Measured at full size: 7.0 GB (int8) and 4.3 GB (int4); on top of that, caches of long conversations.
    expect(needs("int8") / GB).toBeGreaterThan(7)
    expect(needs("int8") / GB).toBeLessThan(10)
    expect(needs("int4") / GB).toBeGreaterThan(4.3)
    expect(needs("int4") / GB).toBeLessThan(6.5)
  })

  test("counts tables read by rows only where they are held in memory", () => {
    const [table, tied] = [FULL.vocab_size * FULL.hidden_size, { ...FULL, tie_word_embeddings: true }]
    expect(countWeights(componentSpecs(FULL)) - countWeights(componentSpecs(tied))).toBe(table)
    // The official model's embeddings and head are as large as each other: only the head is in a quantized plan.
    const others = countWeights(componentSpecs(FULL)) - 2 * table
    expect(needsOf(FULL)("none")).toBe(4 * (others + 2 * table) + 1.5e9)
    expect(needsOf(FULL)("int8")).toBeCloseTo(others + table + 1.5e9, -7)
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
