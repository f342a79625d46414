/** @file Random weights: the same for the same seed and name, others for others, with the wished distribution. */
import { describe, expect, test } from "vitest"
import { randomArray, randomBits, randomPieces } from "./random.ts"

const normal = (dtype: "f32" | "bf16", mean: number, deviation: number) =>
  ({ kind: "normal", dtype, mean, deviation }) as const

function moments(values: ArrayLike<number>): { mean: number; deviation: number } {
  const all = Array.from(values)
  const mean = all.reduce((sum, value) => sum + value, 0) / all.length
  return { mean, deviation: Math.sqrt(all.reduce((sum, value) => sum + (value - mean) ** 2, 0) / all.length) }
}

describe("randomBits", () => {
  test("follow from seed and name alone", () => {
    const draw = (seed: number, name: string) => {
      const words = new Uint32Array(64)
      randomBits(seed, name).fill(words)
      return Array.from(words)
    }
    expect(draw(1, "a")).toEqual(draw(1, "a"))
    for (const [seed, name] of [
      [2, "a"],
      [1, "b"],
      [1, "aa"],
      [11, "a"],
    ] as const) {
      const same = draw(seed, name).filter((word, i) => word === draw(1, "a")[i])
      expect(same, `${seed} ${name}`).toEqual([])
    }
  })

  test("every bit is set half of the time, and near names are unrelated", () => {
    const counts = new Array<number>(32).fill(0)
    for (let name = 0; name < 400; name++) {
      const words = new Uint32Array(10)
      randomBits(0, `layers.${name}`).fill(words)
      for (const word of words) for (let bit = 0; bit < 32; bit++) counts[bit]! += (word >>> bit) & 1
    }
    // 4000 draws: deviation 32; six of them.
    for (const count of counts) expect(Math.abs(count - 2000)).toBeLessThan(190)
  })
})

describe("random arrays", () => {
  test("floats have the wished mean and deviation", () => {
    const f32 = moments(randomArray("f32", 100_000, 3, "x", normal("f32", 1, 0.02)))
    expect(f32.mean).toBeCloseTo(1, 3)
    expect(f32.deviation).toBeCloseTo(0.02, 3)
    const bits = randomArray("bf16", 100_000, 3, "x", normal("bf16", 0, 0.5))
    const values = new Float32Array(Uint32Array.from(bits, (word) => word << 16).buffer)
    expect(moments(values).mean).toBeCloseTo(0, 1)
    expect(moments(values).deviation).toBeCloseTo(0.5, 2)
  })

  test("int8 codes stay in -127 … 127 and int4 codes fill their nibbles around 8", () => {
    const int8 = randomArray("i8", 50_000, 1, "c", { kind: "int8-codes" })
    expect(Math.min(...int8.slice(0, 50_000))).toBeGreaterThanOrEqual(-127)
    expect(moments(int8).mean).toBeCloseTo(0, -0.5)
    expect(moments(int8).deviation).toBeGreaterThan(30)
    const int4 = randomArray("u8", 50_000, 1, "c", { kind: "int4-codes" })
    const low = moments(int4.map((byte) => byte & 15))
    const high = moments(int4.map((byte) => byte >> 4))
    for (const { mean, deviation } of [low, high]) {
      expect(Math.abs(mean - 8)).toBeLessThan(0.1)
      expect(deviation).toBeGreaterThan(2.5)
    }
  })

  test("odd sizes are filled to the byte, and a long array is one stream", () => {
    expect(randomArray("u8", 7, 1, "c", { kind: "int4-codes" })).toEqual(
      randomArray("u8", 12, 1, "c", { kind: "int4-codes" }).slice(0, 7),
    )
    const sizes = Array.from(randomPieces(randomBits(1, "x"), normal("bf16", 0, 1), 2 ** 23 + 6), (p) => p.length)
    expect(sizes).toEqual([2 ** 23, 6])
  })

  test("refuses dtypes that are not drawn", () => {
    expect(() => randomArray("f64", 1, 1, "x", { kind: "normal", dtype: "f64", mean: 0, deviation: 1 })).toThrow(
      "internal: random: expected bf16 or f32, got f64",
    )
  })
})
