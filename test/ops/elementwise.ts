/** @file Cases of the elementwise ops. */
import fc from "fast-check"
import type { Graph, OpName, Value } from "../../src/graph/index.ts"
import type { DType } from "../../src/tensor/index.ts"
import { awayFromZero, between, bit, grid, narrowed, normal, positive, quarters, whole } from "./arbitraries.ts"
import type { Fill, OpCase, OpInput, Sample } from "./harness.ts"

type UnaryOptions = Partial<OpCase> & { readonly fill?: Fill; readonly dtype?: DType }

function unary(op: OpName, options: UnaryOptions = {}): OpCase {
  const { fill = normal, dtype = "f32", ...rest } = options
  const sample = grid(0, 4).map(
    ({ shape, sizes }): Sample => ({
      sizes,
      inputs: { x: { shape, fill, dtype } },
      apply: (g, { x }) => g.apply(op, [x!], {}),
    }),
  )
  return { sample, gradient: "finite", ...rest }
}

type BinaryOptions = Partial<OpCase> & {
  readonly fills?: readonly [Fill, Fill]
  readonly dtypes?: readonly DType[]
  readonly smooth?: readonly [boolean, boolean]
}

function binary(op: OpName, options: BinaryOptions = {}): OpCase {
  const { fills = [normal, normal], dtypes = ["f32"], smooth = [true, true], ...rest } = options
  const sample = grid(0, 4)
    .chain((all) => fc.tuple(fc.constant(all), narrowed(all.shape), narrowed(all.shape), fc.constantFrom(...dtypes)))
    .map(([{ sizes }, left, right, dtype]): Sample => {
      const input = (shape: OpInput["shape"], side: 0 | 1): OpInput => ({
        ...{ shape, fill: fills[side], dtype, smooth: smooth[side] },
      })
      return {
        sizes,
        inputs: { a: input(left, 0), b: input(right, 1) },
        apply: (g, { a, b }) => g.apply(op, [a!, b!], {}),
      }
    })
  return { sample, gradient: "finite", ...rest }
}

/** Compared as integers: there is nothing to differentiate. */
const compare = { dtypes: ["f32", "i64"], fills: [whole(-2, 2), whole(-2, 2)], gradient: "step" } as const
const logic = { dtypes: ["bool"], fills: [bit, bit], gradient: "integer" } as const

/** A comparison's result comes back as a float, so that the gradient has a path to refuse. */
function comparison(op: "equal" | "less" | "greater"): OpCase {
  const { sample, ...rest } = binary(op, compare)
  return {
    ...rest,
    sample: sample.map((one) => ({
      ...one,
      apply: (g: Graph, { a, b }: { readonly [name: string]: Value }) => g.cast(g[op](a!, b!), "f32"),
    })),
  }
}

const cast: OpCase = {
  gradient: "finite",
  sample: fc
    .tuple(grid(0, 4), fc.constantFrom<DType>("f16", "i64", "i32", "bool", "u8"))
    .map(([{ shape, sizes }, to]): Sample => {
      const exact = to === "f16"
      return {
        sizes,
        inputs: { x: { shape, fill: exact ? normal : to === "u8" ? between(0, 3) : between(-3, 3), smooth: exact } },
        apply: (g, { x }) => g.cast(g.cast(x!, to), "f32"),
      }
    }),
}

const where: OpCase = {
  gradient: "finite",
  sample: grid(0, 4)
    .chain(({ shape, sizes }) => fc.tuple(fc.constant(sizes), narrowed(shape), narrowed(shape), narrowed(shape)))
    .map(
      ([sizes, condition, left, right]): Sample => ({
        sizes,
        inputs: {
          condition: { shape: condition, fill: bit, dtype: "bool" },
          a: { shape: left, fill: normal },
          b: { shape: right, fill: normal },
        },
        apply: (g, { condition: c, a, b }) => g.where(c!, a!, b!),
      }),
    ),
}

const dimValue: OpCase = {
  gradient: "finite",
  sample: fc.tuple(grid(2, 3), fc.constantFrom("3*a + b", "floor((a*b + 3)/4) - 1", "a*b", "a - 7")).map(
    ([{ shape, sizes, rank }, expression]): Sample => ({
      sizes,
      inputs: { x: { shape, fill: normal } },
      apply: (g, { x }, dim) => g.mul(x!, g.dimValue(dim(expression), "f32", rank)),
    }),
  ),
}

const constant: OpCase = {
  gradient: "finite",
  sample: fc.tuple(grid(1, 3), fc.constantFrom(-0, 0.5, 3)).map(
    ([{ shape, sizes, rank }, value]): Sample => ({
      sizes,
      inputs: { x: { shape, fill: normal } },
      apply: (g, { x }) => g.add(x!, g.fill("f32", new Array<number>(rank).fill(1), value)),
    }),
  ),
}

export const ELEMENTWISE = {
  input: { reason: "every case has inputs" },
  weight: { reason: "the cases of quantized products and of skipRmsNorm have weights" },
  constant,
  dimValue,
  neg: unary("neg"),
  abs: unary("abs", { fill: awayFromZero }),
  sign: unary("sign", { gradient: "step" }),
  exp: unary("exp", { twice: true }),
  log: unary("log", { fill: positive, twice: true }),
  sqrt: unary("sqrt", { fill: positive, twice: true }),
  reciprocal: unary("reciprocal", { fill: awayFromZero, twice: true }),
  sin: unary("sin", { twice: true }),
  cos: unary("cos"),
  tanh: unary("tanh", { twice: true }),
  sigmoid: unary("sigmoid", { twice: true }),
  erf: unary("erf", { twice: true }),
  floor: unary("floor", { gradient: "step" }),
  // Quarters meet the halves that round to even.
  round: unary("round", { gradient: "step", fill: quarters(0) }),
  not: unary("not", { gradient: "integer", dtype: "bool", fill: bit }),
  silu: unary("silu", { twice: true }),
  gelu: unary("gelu", { twice: true }),
  geluTanh: unary("geluTanh", { twice: true }),
  cast,
  add: binary("add"),
  sub: binary("sub"),
  mul: binary("mul", { twice: true }),
  div: binary("div", { fills: [normal, awayFromZero], twice: true }),
  pow: binary("pow", { fills: [between(0.75, 2), normal], twice: true }),
  maximum: binary("maximum", { fills: [quarters(0), quarters(1 / 8)] }),
  minimum: binary("minimum", { fills: [quarters(0), quarters(1 / 8)] }),
  equal: comparison("equal"),
  less: comparison("less"),
  greater: comparison("greater"),
  and: binary("and", logic),
  or: binary("or", logic),
  where,
} satisfies { [name: string]: OpCase | { readonly reason: string } }
