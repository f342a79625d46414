/** @file Cases of the ops that move elements. */
import fc from "fast-check"
import type { Dim } from "../../src/graph/index.ts"
import { anySize, below, floats, grid, narrowed, normal, sizesOf, someSize, whole } from "./arbitraries.ts"
import type { OpCase, Sample } from "./harness.ts"

const reshape: OpCase = {
  gradient: "finite",
  sample: fc
    .tuple(
      sizesOf({ a: anySize, b: anySize, c: anySize }),
      fc.constantFrom<Dim[]>(["a", "b*c"], ["a*b*c"], [1, "b*c", 1, "a"], ["c", "b", "a"], ["a*b", "c"]),
    )
    .map(
      ([sizes, to]): Sample => ({
        sizes,
        inputs: { x: floats(["a", "b", "c"]) },
        apply: (g, { x }, dim) => g.reshape(x!, to.map(dim)),
      }),
    ),
}

const transpose: OpCase = {
  gradient: "finite",
  sample: grid(1, 4)
    .chain((all) => fc.tuple(fc.constant(all), fc.shuffledSubarray([...all.shape.keys()], { minLength: all.rank })))
    .map(
      ([{ shape, sizes }, perm]): Sample => ({
        sizes,
        inputs: { x: floats(shape) },
        apply: (g, { x }) => g.transpose(x!, perm),
      }),
    ),
}

const expand: OpCase = {
  gradient: "finite",
  sample: grid(1, 4)
    .chain((all) => fc.tuple(fc.constant(all), narrowed(all.shape)))
    .map(
      ([{ shape, sizes }, from]): Sample => ({
        sizes,
        // A second input has the names of the dims that the first lacks.
        inputs: { x: floats(from), like: { ...floats(shape), smooth: false } },
        apply: (g, { x }, dim) => g.expand(x!, shape.map(dim)),
      }),
    ),
}

const concat: OpCase = {
  gradient: "finite",
  sample: fc
    .tuple(
      fc.integer({ min: 1, max: 4 }).chain((rank) => fc.tuple(fc.constant(rank), fc.nat({ max: rank - 1 }))),
      fc.integer({ min: 1, max: 4 }),
      sizesOf({ a: anySize, b: anySize, c: anySize, p: anySize, q: anySize }),
    )
    .map(([[rank, axis], count, sizes]): Sample => {
      const others = ["a", "b", "c"].slice(0, rank - 1)
      const widths: Dim[] = ["p", "q", "p", 2]
      const inputs = widths
        .slice(0, count)
        .map((width, i) => [`x${i}`, floats(others.toSpliced(axis, 0, width as string))])
      return {
        sizes,
        inputs: Object.fromEntries(inputs),
        apply: (g, values) => g.concat(Object.values(values), axis),
      }
    }),
}

/** Cuts of an axis of n ≥ 2. */
const CUTS: readonly (readonly [Dim, Dim])[] = [
  [0, "n"],
  [0, 1],
  [1, "n"],
  ["n - 1", "n"],
  [1, "n - 1"],
  [0, 0],
  ["n", "n"],
  ["floor(n/2)", "n"],
]

const slice: OpCase = {
  gradient: "finite",
  sample: fc
    .tuple(
      fc.nat({ max: 2 }),
      fc.constantFrom(...CUTS),
      sizesOf({ a: anySize, b: anySize, n: fc.constantFrom(2, 3, 5) }),
    )
    .map(
      ([axis, [start, end], sizes]): Sample => ({
        sizes,
        inputs: { x: floats(["a", "b"].toSpliced(axis, 0, "n")) },
        apply: (g, { x }, dim) => g.slice(x!, axis, dim(start), dim(end)),
      }),
    ),
}

const pad: OpCase = {
  gradient: "finite",
  sample: fc
    .tuple(
      fc.nat({ max: 2 }),
      fc.constantFrom<Dim>(0, 1, 3, "n"),
      fc.constantFrom<Dim>(0, 2, "2*n", "n + a"),
      sizesOf({ a: anySize, b: anySize, n: anySize }),
    )
    .map(
      ([axis, before, after, sizes]): Sample => ({
        sizes,
        inputs: { x: floats(["a", "b"].toSpliced(axis, 0, "n")) },
        apply: (g, { x }, dim) => g.pad(x!, axis, dim(before), dim(after)),
      }),
    ),
}

const gather: OpCase = {
  gradient: "finite",
  sample: fc
    .tuple(
      fc.integer({ min: 1, max: 3 }).chain((rank) => fc.tuple(fc.constant(rank), fc.nat({ max: rank - 1 }))),
      fc.constantFrom<Dim[]>([], ["i"], ["i", "j"], [2, 1, "j"]),
      sizesOf({ a: anySize, b: anySize, n: someSize, i: anySize, j: anySize }),
    )
    .map(
      ([[rank, axis], picks, sizes]): Sample => ({
        sizes,
        inputs: {
          x: floats(["a", "b"].slice(0, rank - 1).toSpliced(axis, 0, "n")),
          indices: { shape: picks, fill: below("n"), dtype: "i64" },
        },
        apply: (g, { x, indices }) => g.gather(x!, indices!, axis),
      }),
    ),
}

const scatterAdd: OpCase = {
  gradient: "finite",
  sample: fc
    .tuple(fc.constantFrom<Dim[]>([], ["a"], ["a", "b"]), sizesOf({ a: anySize, b: anySize, r: anySize, n: someSize }))
    .map(
      ([rest, sizes]): Sample => ({
        sizes,
        inputs: {
          indices: { shape: ["r"], fill: below("n"), dtype: "i64" },
          rows: floats(["r", ...rest]),
          like: { shape: ["n"], fill: normal, smooth: false },
        },
        apply: (g, { indices, rows }, dim) => g.scatterAdd(indices!, rows!, dim("n")),
      }),
    ),
}

/** Integers take the same ways through the shape ops. */
export const INTEGER_SAMPLES: fc.Arbitrary<Sample> = sizesOf({ a: anySize, n: fc.constantFrom(2, 3) }).map(
  (sizes): Sample => ({
    sizes,
    inputs: {
      x: { shape: ["a", "n"], fill: whole(-9, 9), dtype: "i64" },
      indices: { shape: ["a"], fill: below("n"), dtype: "i64" },
    },
    apply: (g, { x, indices }, dim) => [
      g.gather(g.transpose(x!, [1, 0]), indices!),
      g.concat([g.slice(x!, 1, 0, 1), g.pad(x!, 1, 1, dim("a"))], 1),
      g.scatterAdd(indices!, x!, dim("n")),
      g.reduceSum(g.mul(x!, x!), [0]),
      g.maximum(g.neg(x!), g.abs(x!)),
    ],
  }),
)

export const SHAPE = { reshape, transpose, expand, concat, slice, pad, gather, scatterAdd } satisfies {
  [name: string]: OpCase
}
