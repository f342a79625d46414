/** @file Cases of reductions, softmax and normalization. */
import fc from "fast-check"
import type { Graph, Value } from "../../src/graph/index.ts"
import { awayFromZero, distinct, floats, grid } from "./arbitraries.ts"
import type { Fill, OpCase, Sample, Sizes } from "./harness.ts"

type ReductionOptions = { readonly fill?: () => Fill; readonly ofNothing: "zero" | "NaN" | "error" }

function reduction(op: "reduceSum" | "reduceMean" | "reduceMax", { fill, ofNothing }: ReductionOptions): OpCase {
  const sample = grid(1, 4)
    .chain((all) =>
      fc.tuple(fc.constant(all), fc.shuffledSubarray([...all.shape.keys()], { minLength: 1 }), fc.boolean()),
    )
    .map(([all, axes, keepDims]): Sample => {
      const names = axes.map((axis) => all.shape[axis] as string)
      const sizes = ofNothing === "error" ? filled(all.sizes, names) : all.sizes
      const nothing = hasEmpty(sizes, names)
      return {
        sizes,
        refusedByOrt: nothing && ofNothing === "NaN" ? "the mean of nothing is 0 there, NaN here" : undefined,
        gradientRefusedByOrt: nothing ? "its optimizer drops an Expand to an empty shape" : undefined,
        inputs: { x: floats(all.shape, fill?.()) },
        apply: (g, { x }) => g[op](x!, axes, keepDims),
      }
    })
  return { sample, gradient: "finite" }
}

function hasEmpty(sizes: readonly Sizes[], names: readonly string[]): boolean {
  return sizes.some((one) => names.some((name) => one[name] === 0))
}

/** The sizes with at least 1 for some names. */
function filled(sizes: readonly Sizes[], names: readonly string[]): Sizes[] {
  return sizes.map((one) =>
    Object.fromEntries(Object.entries(one).map(([name, n]) => [name, names.includes(name) ? Math.max(1, n) : n])),
  )
}

function alongAxis(apply: (g: Graph, x: Value, axis: number) => Value, ofNothing: "empty" | "error") {
  return grid(1, 4)
    .chain((all) => fc.tuple(fc.constant(all), fc.nat({ max: all.rank - 1 })))
    .map(
      ([{ shape, sizes }, axis]): Sample => ({
        sizes: ofNothing === "error" ? filled(sizes, [shape[axis] as string]) : sizes,
        inputs: { x: floats(shape) },
        apply: (g, { x }) => apply(g, x!, axis),
      }),
    )
}

function norm(
  vectors: readonly string[],
  apply: (g: Graph, values: { readonly [name: string]: Value }) => Value,
): OpCase {
  const sample = fc.tuple(grid(0, 3), fc.constantFrom(1, 2, 3, 8)).map(([{ shape, sizes }, width]): Sample => {
    const gains = vectors.map((name) => [name, floats([width], awayFromZero)])
    return { sizes, inputs: { x: floats([...shape, width]), ...Object.fromEntries(gains) }, apply }
  })
  return { sample, gradient: "finite", twice: true }
}

export const REDUCE = {
  reduceSum: reduction("reduceSum", { ofNothing: "zero" }),
  reduceMean: reduction("reduceMean", { ofNothing: "NaN" }),
  reduceMax: reduction("reduceMax", { ofNothing: "error", fill: distinct }),
  argMax: {
    gradient: "step",
    sample: alongAxis((g, x, axis) => g.cast(g.argMax(x, axis), "f32"), "error"),
  },
  softmax: { gradient: "finite", twice: true, sample: alongAxis((g, x, axis) => g.softmax(x, axis), "empty") },
  logSoftmax: { gradient: "finite", twice: true, sample: alongAxis((g, x, axis) => g.logSoftmax(x, axis), "empty") },
  rmsNorm: norm(["weight"], (g, { x, weight }) => g.rmsNorm(x!, weight!, 0.25)),
  layerNorm: norm(["weight", "bias"], (g, { x, weight, bias }) => g.layerNorm(x!, weight!, bias!, 0.25)),
} satisfies { [name: string]: OpCase }
