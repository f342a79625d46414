/** @file All ops have a case; what happens at NaN, infinity, kinks and ties; integers. */
import { describe, expect, test } from "vitest"
import { expandForGradient, Graph, gradients, OPS, type OpName, type Value } from "../../src/graph/index.ts"
import { f32, type HostTensor } from "../../src/tensor/index.ts"
import { ELEMENTWISE } from "./elementwise.ts"
import { checkSamples, expectClose, expectOrtAgrees, type OpCase, reference, sourceNamed } from "./harness.ts"
import { ATTENTION, CONVOLUTIONS, PRODUCTS } from "./linear.ts"
import { REDUCE } from "./reduce.ts"
import { INTEGER_SAMPLES, SHAPE } from "./shape.ts"
import { TARGET } from "./target.ts"

/** An op without a case does not compile. */
const CASES: { readonly [K in OpName]: OpCase | { readonly reason: string } } = {
  ...ELEMENTWISE,
  ...SHAPE,
  ...REDUCE,
  ...PRODUCTS,
  ...CONVOLUTIONS,
  ...ATTENTION,
  ...TARGET,
}

test("every op of the table has a case, and the other way round", () => {
  expect(new Set(Object.keys(CASES))).toEqual(new Set(Object.keys(OPS)))
})

test("integers go through the shape ops, sums and maxima", () => checkSamples(INTEGER_SAMPLES))

const { NaN: NAN, POSITIVE_INFINITY: INF } = Number
const ODD = [NAN, INF, -INF, 0, -0, 1e30, -1e30, 80, -80, 0.5, -0.5, 2.5, 1, -1]

async function expectSame(build: (g: Graph) => Value, feeds: { readonly [name: string]: HostTensor }): Promise<void> {
  const graph = new Graph("op")
  graph.output("y", build(graph))
  for (const target of ["portable", "cpu"] as const) await expectOrtAgrees(graph, target, [feeds], 1e-6)
}

describe("NaN, infinities and signed zeros are as in ONNX Runtime", () => {
  const unary = [
    "neg",
    "abs",
    "sign",
    "exp",
    "log",
    "sqrt",
    "reciprocal",
    "sin",
    "cos",
    "tanh",
    "sigmoid",
    "erf",
  ] as const
  const more = ["floor", "round", "silu", "gelu", "geluTanh"] as const
  test.each([...unary, ...more])("%s", async (op) => {
    // One element at a time: the tolerance is relative to the largest element.
    for (const value of ODD) {
      await expectSame((g) => g.apply(op, [g.input("x", "f32", [1])], {}), { x: f32([1], [value]) })
    }
  })

  const compare = ["equal", "less", "greater"] as const
  test.each([...(["add", "sub", "mul", "div", "pow", "maximum", "minimum"] as const), ...compare])("%s", async (op) => {
    const odd = ODD.filter((value) => Math.abs(value) < 10 || !Number.isFinite(value)) // pow of the others overflows
    const row = f32([1, odd.length], odd)
    const build = (g: Graph) => {
      const operands = [g.input("a", "f32", [odd.length, 1]), g.input("b", "f32", [1, odd.length])]
      return g.apply(op, operands, {})
    }
    await expectSame(build, { a: f32([odd.length, 1], odd), b: row })
  })

  const rows = [
    [NAN, 1, 2, 3],
    [1, NAN, 2, 3],
    [INF, 1, 2, 3],
    [-INF, 1, 2, 3],
    [-INF, -INF, -INF, -INF],
    [INF, -INF, 0, 0],
    [0, 0, 0, 0],
  ]
  const lines: { readonly [name: string]: (g: Graph, x: Value) => Value } = {
    reduceSum: (g, x) => g.reduceSum(x, [1]),
    reduceMean: (g, x) => g.reduceMean(x, [1]),
    argMax: (g, x) => g.argMax(x, 1),
    softmax: (g, x) => g.softmax(x, 1),
    logSoftmax: (g, x) => g.logSoftmax(x, 1),
    rmsNorm: (g, x) => g.rmsNorm(x, g.fill("f32", [4], 1), 1e-5),
    layerNorm: (g, x) => g.layerNorm(x, g.fill("f32", [4], 1), g.fill("f32", [4], 0), 1e-5),
    matmul: (g, x) => g.matmul(x, x, { transB: true }),
    linear: (g, x) => g.linear(x, x),
    "cast to bool": (g, x) => g.cast(x, "bool"),
    "cast to f16": (g, x) => g.cast(g.cast(x, "f16"), "f32"),
    where: (g, x) => g.where(g.less(x, g.fill("f32", [1, 1], 2)), x, g.neg(x)),
  }
  test.each(Object.keys(lines))("%s", async (name) => {
    const feeds = { x: f32([rows.length, 4], rows.flat()) }
    await expectSame((g) => lines[name]!(g, g.input("x", "f32", [rows.length, 4])), feeds)
  })

  test("reduceMax says NaN where any element is; ONNX Runtime only where the first is", () => {
    const graph = new Graph("op")
    graph.output("y", graph.reduceMax(graph.input("x", "f32", [2, 3]), [1]))
    const { y } = reference(graph, { x: f32([2, 3], [1, NAN, 2, 1, INF, 2]) })
    expect(Array.from(y!.data as Float32Array)).toEqual([NAN, INF])
  })

  test("a mask of -infinity hides keys from attention", async () => {
    const feeds = {
      q: f32([1, 2, 2], [1, 2, 3, 4]),
      k: f32([1, 3, 2], [1, 0, 0, 1, 1, 1]),
      v: f32([1, 3, 2], [1, 2, 3, 4, 5, 6]),
      mask: f32([1, 1, 2, 3], [-INF, 0, -INF, 0, 0, -INF]),
    }
    const build = (g: Graph) => {
      const [q, k, v] = ["q", "k", "v"].map((name) => g.input(name, "f32", [1, name === "q" ? 2 : 3, 2]))
      const mask = g.input("mask", "f32", [1, 1, 2, 3])
      return g.attention(q!, k!, v!, { heads: 1, kvHeads: 1, scale: 1 }, mask)
    }
    await expectSame(build, feeds)
    const graph = new Graph("op")
    graph.output("y", build(graph))
    expect(Array.from(reference(graph, feeds).y!.data.slice(0, 2) as Float32Array)).toEqual([3, 4])
  })
})

/** d Σ y / d x at given elements. */
function slopes(build: (g: Graph, x: Value) => Value, x: readonly number[], name = "x"): number[] {
  const graph = new Graph("op")
  const y = build(graph, graph.input("x", "f32", [x.length]))
  graph.output("loss", graph.reduceSum(y, [0]))
  const expanded = expandForGradient(graph)
  const [grad] = gradients(expanded, expanded.outputs.get("loss")!, [sourceNamed(expanded, name)])
  expanded.output("grad", grad!)
  return Array.from(reference(expanded, { x: f32([x.length], x) }).grad!.data as Float32Array)
}

describe("gradients at kinks and ties", () => {
  const two = (g: Graph) => g.fill("f32", [1], 2)
  test.each<[string, (g: Graph, x: Value) => Value, number[], number[]]>([
    ["abs is flat at 0", (g, x) => g.abs(x), [-1, 0, -0, 1], [-1, 0, 0, 1]],
    ["maximum halves a tie", (g, x) => g.maximum(x, two(g)), [1, 2, 3], [0, 0.5, 1]],
    ["minimum halves a tie", (g, x) => g.minimum(x, two(g)), [1, 2, 3], [1, 0.5, 0]],
    ["maximum of a value with itself is the value", (g, x) => g.maximum(x, x), [1, 2], [1, 1]],
    ["reduceMax shares among all maxima", (g, x) => g.reduceMax(x, [0], true), [3, 1, 3, 3], [1 / 3, 0, 1 / 3, 1 / 3]],
    ["floor is flat", (g, x) => g.mul(x, g.floor(x)), [1.5, 2, -0.5], [1, 2, -1]],
    ["round is flat", (g, x) => g.mul(x, g.round(x)), [1.5, 2.5, -0.4], [2, 2, -0]],
    ["sign is flat", (g, x) => g.mul(x, g.sign(x)), [-2, 0, 2], [-1, 0, 1]],
    ["comparisons are flat", (g, x) => g.mul(x, g.cast(g.less(x, two(g)), "f32")), [1, 2, 3], [1, 0, 0]],
    ["sqrt is vertical at 0", (g, x) => g.sqrt(x), [0, 4], [INF, 0.25]],
    ["a square is flat at 0, as a power too", (g, x) => g.pow(x, two(g)), [0, -3, 3], [0, -6, 6]],
    ["a branch not taken gives nothing, not NaN", (g, x) => branch(g, x), [-1, 4], [0, 0.25]],
  ])("%s", (_, build, x, want) => {
    const got = slopes(build, x)
    expectClose({ grad: f32([got.length], got) }, { grad: f32([want.length], want) }, 1e-6, "gradient")
  })

  /** sqrt(x) where x > 0, guarded on both sides of the root. */
  function branch(g: Graph, x: Value): Value {
    const zero = g.fill("f32", [1], 0)
    const inside = g.where(g.greater(x, zero), x, g.fill("f32", [1], 1))
    return g.where(g.greater(x, zero), g.sqrt(inside), zero)
  }
})
