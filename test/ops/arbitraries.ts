/** @file Random shapes and element draws that the op cases share. */
import fc from "fast-check"
import type { Dim, Shape } from "../../src/graph/index.ts"
import type { Fill, OpInput, Sizes } from "./harness.ts"

/** Empty and size-1 dims are drawn often. */
export const anySize = fc.constantFrom(0, 1, 1, 2, 3, 5)
export const someSize = fc.constantFrom(1, 2, 3, 5)

/** Two draws of the same named sizes: one model is fed both where names are symbols. */
export function sizesOf(names: { readonly [name: string]: fc.Arbitrary<number> }): fc.Arbitrary<Sizes[]> {
  const one = fc.record(names) as fc.Arbitrary<Sizes>
  return fc.tuple(one, one).map((pair) => pair)
}

export const AXIS_NAMES = ["a", "b", "c", "d"] as const

export type Grid = { readonly rank: number; readonly sizes: readonly Sizes[]; readonly shape: Shape }

/** A shape of named axes. */
export function grid(least: number, most: number, size: fc.Arbitrary<number> = anySize): fc.Arbitrary<Grid> {
  return fc.integer({ min: least, max: most }).chain((rank) => {
    const shape = AXIS_NAMES.slice(0, rank)
    return sizesOf(Object.fromEntries(shape.map((name) => [name, size]))).map((sizes) => ({ rank, sizes, shape }))
  })
}

/** The shape with some axes as 1, to be broadcast. */
export function narrowed(shape: Shape): fc.Arbitrary<Dim[]> {
  return fc
    .array(fc.integer({ min: 0, max: 2 }), { minLength: shape.length, maxLength: shape.length })
    .map((picks) => shape.map((dim, axis) => (picks[axis] === 0 ? 1 : dim)))
}

const GRAIN = 128

/** Uniform multiples of 1/128. */
export function between(low: number, high: number): Fill {
  return (random) => Math.round((low + (high - low) * random()) * GRAIN) / GRAIN
}

export const normal = between(-2, 2)
export const positive = between(0.25, 2)

/** ±[0.25, 2]. */
export const awayFromZero: Fill = (random) => {
  const value = between(-1.75, 1.75)(random, {})
  return value + (value < 0 ? -0.25 : 0.25)
}

/** All different, an eighth apart. */
export function distinct(): Fill {
  let count = 0
  return () => ((count++ * 397) % 631) / 8 - 40
}

/** Multiples of 1/4 plus an offset, so that two draws of different offsets never meet. */
export function quarters(offset: number): Fill {
  return (random) => Math.round(between(-2, 2)(random, {}) * 4) / 4 + offset
}

export const bit: Fill = (random) => (random() < 0.5 ? 0 : 1)

export function whole(low: number, high: number): Fill {
  return (random) => low + Math.floor(random() * (high - low + 1))
}

/** Indices below a named size. */
export function below(name: string): Fill {
  return (random, sizes) => Math.floor(random() * sizes[name]!)
}

export function floats(shape: Shape, fill: Fill = normal): OpInput {
  return { shape, fill }
}
