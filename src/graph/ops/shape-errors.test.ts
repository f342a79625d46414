/** @file What every op says to inputs and attributes that it cannot take. */
import { describe, expect, test } from "vitest"
import type { DType } from "../../tensor/index.ts"
import { ShapeError } from "../../util/index.ts"
import type { Shape } from "../dim.ts"
import { Graph } from "../graph.ts"
import type { OpName, Value } from "../node.ts"

type Bad = readonly [build: (g: Graph) => unknown, text: string]

const f = (g: Graph, ...shape: Shape) => g.input(`f32 ${shape.join("x")}`, "f32", shape)
const as = (g: Graph, dtype: DType, ...shape: Shape) => g.input(`${dtype} ${shape.join("x")}`, dtype, shape)
const conv = { stride: 1, padding: 0, dilation: 1, groups: 1 }

function unary(op: OpName, bad: DType = "bool"): Bad[] {
  return [
    [(g) => g.apply(op, [as(g, bad, 2)], {}), `expected a number type that the op accepts, got ${bad}`],
    [(g) => g.apply(op, [], {}), "expected 1 inputs, got 0"],
  ]
}

function binary(op: OpName, good: DType = "f32", bad: DType = "bool"): Bad[] {
  const both = (g: Graph, a: Value, b: Value) => g.apply(op, [a, b], {})
  return [
    [(g) => both(g, as(g, good, 2), as(g, "i32", 2)), `expected operands of one dtype, got ${good} and i32 (cast one)`],
    [(g) => both(g, as(g, bad, 2), as(g, bad, 2)), `expected ${good === "bool" ? "bool" : "numbers"}, got ${bad}`],
    [
      (g) => both(g, as(g, good, 2, 3), as(g, good, 3)),
      "expected operands of equal rank, got [2, 3] and [3] (reshape the smaller one, broadcasting is explicit)",
    ],
    [
      (g) => both(g, as(g, good, 2, "T"), as(g, good, 2, "S")),
      "expected equal or size-1 dims on axis 1, got [2, T] and [2, S]",
    ],
  ]
}

function alongAxis(op: "softmax" | "logSoftmax"): Bad[] {
  return [
    [(g) => g[op](f(g, 2), 1), "expected an axis below 1, got 1"],
    [(g) => g[op](as(g, "i64", 2), 0), "expected f32, got i64"],
  ]
}

function reduction(op: "reduceSum" | "reduceMean" | "reduceMax"): Bad[] {
  return [
    [(g) => g[op](f(g, 2, 3), []), "expected different axes below 2, got []"],
    [(g) => g[op](f(g, 2, 3), [2]), "expected different axes below 2, got [2]"],
    [(g) => g[op](f(g, 2, 3), [-1]), "expected different axes below 2, got [-1]"],
    [(g) => g[op](f(g, 2, 3), [1, 1]), "expected different axes below 2, got [1, 1]"],
  ]
}

function product(op: "matmul" | "fusedMatMul"): Bad[] {
  const apply = (g: Graph, a: Value, b: Value, transB = false) =>
    g.apply(op, [a, b], { transA: false, transB, alpha: 1 })
  return [
    [(g) => apply(g, f(g, 3), f(g, 3)), "expected matrices of equal rank ≥ 2, got [3] · [3]"],
    [(g) => apply(g, f(g, 1, 2, 3), f(g, 3, 4)), "expected matrices of equal rank ≥ 2, got [1, 2, 3] · [3, 4]"],
    [(g) => apply(g, f(g, 2, 3), f(g, 4, 5), true), "expected equal inner dims, got [2, 3] · [4, 5]ᵀ"],
    [(g) => apply(g, f(g, 2, 3), as(g, "i8", 3, 5)), "expected operands of one dtype, got f32 and i8 (cast one)"],
    [(g) => apply(g, f(g, 2, 4, 3), f(g, 5, 3, 4)), "expected equal or size-1 dims on axis 0, got [2] and [5]"],
  ]
}

const convSettings = "expected stride, dilation and groups of at least 1 and padding of at least 0, got"
const attention = { heads: 2, kvHeads: 1, scale: 1, cached: false, masked: false }
const nBits = { bits: 4, blockSize: 32, inner: 64, outer: 3 } as const

const BAD: { readonly [K in OpName]: readonly Bad[] } = {
  input: [
    [(g) => g.input("x", "f32", [2, -1]), "expected dims that are integers of at least 0, got [2, -1]"],
    [(g) => [g.input("x", "f32", [2]), g.input("x", "f32", [3])], "expected x to stay f32 [2], got f32 [3]"],
  ],
  weight: [
    [(g) => g.weight("w", [2.5]), "expected dims that are integers of at least 0, got [2.5]"],
    [(g) => [g.weight("w", [2]), g.weight("w", [2], "i8")], "expected w to stay f32 [2], got i8 [2]"],
  ],
  constant: [[(g) => g.apply("constant", [f(g, 1)], { value: 0 as never }), "expected 0 inputs, got 1"]],
  dimValue: [[(g) => g.apply("dimValue", [f(g, 1)], { dim: 1, dtype: "f32", rank: 0 }), "expected 0 inputs, got 1"]],
  neg: unary("neg"),
  abs: unary("abs"),
  sign: unary("sign"),
  exp: unary("exp", "i64"),
  log: unary("log", "i64"),
  sqrt: unary("sqrt", "i64"),
  reciprocal: unary("reciprocal", "i64"),
  sin: unary("sin", "i64"),
  cos: unary("cos", "i64"),
  tanh: unary("tanh", "i64"),
  sigmoid: unary("sigmoid", "i64"),
  erf: unary("erf", "i64"),
  floor: unary("floor", "i64"),
  round: unary("round", "i64"),
  not: unary("not", "f32"),
  silu: unary("silu", "i64"),
  gelu: unary("gelu", "i64"),
  geluTanh: unary("geluTanh", "i64"),
  cast: [[(g) => g.apply("cast", [], { to: "f32" }), "expected 1 inputs, got 0"]],
  add: binary("add"),
  sub: binary("sub"),
  mul: binary("mul"),
  div: binary("div"),
  pow: binary("pow"),
  maximum: binary("maximum"),
  minimum: binary("minimum"),
  equal: binary("equal"),
  less: binary("less"),
  greater: binary("greater"),
  and: binary("and", "bool", "f32"),
  or: binary("or", "bool", "f32"),
  where: [
    [(g) => g.where(f(g, 2), f(g, 2), f(g, 2)), "expected a bool condition, got f32"],
    [
      (g) => g.where(as(g, "bool", 2), f(g, 2), as(g, "i64", 2)),
      "expected branches of one dtype, got f32 and i64 (cast one)",
    ],
    [
      (g) => g.where(as(g, "bool", 2), f(g, 3), f(g, 1)),
      "expected equal or size-1 dims on axis 0, got [2] and [3] and [1]",
    ],
  ],
  reshape: [
    [(g) => g.reshape(f(g, "T", 6), [6, "S"]), "expected a shape with 6*T elements, got [6, S] for [T, 6]"],
    [(g) => g.reshape(f(g, 4), [-2, -2]), "expected dims that are integers of at least 0, got [-2, -2]"],
  ],
  transpose: [
    [(g) => g.transpose(f(g, 2, 3), [0, 0]), "expected a permutation of 2 axes, got [0, 0]"],
    [(g) => g.transpose(f(g, 2, 3), [0]), "expected a permutation of 2 axes, got [0]"],
  ],
  expand: [
    [(g) => g.expand(f(g, 2, 3), [2, 6]), "expected size-1 or equal dims, got [2, 3] for [2, 6]"],
    [(g) => g.expand(f(g, 3), [2, 3]), "expected size-1 or equal dims, got [3] for [2, 3]"],
  ],
  concat: [
    [(g) => g.concat([], 0), "expected 1 to 64 inputs, got 0"],
    [(g) => g.concat([f(g, 2)], 1), "expected an axis below 1, got 1"],
    [(g) => g.concat([f(g, 2, 3), f(g, 3, 3)], 1), "expected equal dims except axis 1, got f32 [2, 3] and f32 [3, 3]"],
    [(g) => g.concat([f(g, 2), as(g, "i64", 2)], 0), "expected equal dims except axis 0, got f32 [2] and i64 [2]"],
  ],
  slice: [
    [(g) => g.slice(f(g, 2), 1, 0, 1), "expected an axis below 1, got 1"],
    [(g) => g.slice(f(g, 4), 0, 1, 5), "expected 0 ≤ start ≤ end ≤ 4, got 1 to 5"],
    [(g) => g.slice(f(g, 4), 0, 3, 2), "expected 0 ≤ start ≤ end ≤ 4, got 3 to 2"],
    [(g) => g.slice(f(g, "T"), 0, "T + 1", "T"), "expected dims that are integers of at least 0, got [-1]"],
  ],
  pad: [
    [(g) => g.pad(f(g, 2), 1, 0, 1), "expected an axis below 1, got 1"],
    [(g) => g.pad(f(g, 2), 0, -1, 1), "expected paddings of at least 0, got -1 and 1"],
  ],
  gather: [
    [(g) => g.gather(f(g, 2), f(g, 2)), "expected i64 indices, got f32"],
    [(g) => g.gather(f(g, 2), as(g, "i64", 2), 1), "expected an axis below 1, got 1"],
  ],
  scatterAdd: [
    [(g) => g.scatterAdd(f(g, 2), f(g, 2), 3), "expected i64 indices [R] and rows [R, …], got f32 [2] and [2]"],
    [(g) => g.scatterAdd(as(g, "i64", 2), f(g), 3), "expected i64 indices [R] and rows [R, …], got i64 [2] and []"],
    [
      (g) => g.scatterAdd(as(g, "i64", 2), f(g, 3, 2), 3),
      "expected i64 indices [R] and rows [R, …], got i64 [2] and [3, 2]",
    ],
    [(g) => g.scatterAdd(as(g, "i64", 2), as(g, "bool", 2), 3), "expected rows of numbers, got bool"],
  ],
  reduceSum: reduction("reduceSum"),
  reduceMean: reduction("reduceMean"),
  reduceMax: reduction("reduceMax"),
  argMax: [[(g) => g.argMax(f(g, 2), 1), "expected an axis below 1, got 1"]],
  softmax: alongAxis("softmax"),
  logSoftmax: alongAxis("logSoftmax"),
  rmsNorm: [
    [(g) => g.rmsNorm(f(g, 2, 3), f(g, 2), 1), "expected a vector [3] for [2, 3], got [2]"],
    [(g) => g.rmsNorm(f(g), f(g, 1), 1), "expected x [..., D], got []"],
    [(g) => g.rmsNorm(f(g, 2), as(g, "f16", 2), 1), "expected operands of one dtype, got f32 and f16 (cast one)"],
  ],
  layerNorm: [[(g) => g.layerNorm(f(g, 2, 3), f(g, 3), f(g, 1, 3), 1), "expected a vector [3] for [2, 3], got [1, 3]"]],
  matmul: product("matmul"),
  fusedMatMul: product("fusedMatMul"),
  linear: [
    [(g) => g.linear(f(g, 3), f(g, 4, 3)), "expected rows [..., I], got [3]"],
    [(g) => g.linear(f(g, 2, 3), f(g, 3, 4)), "expected a weight [O, 3] for [2, 3], got [3, 4]"],
    [(g) => g.linear(f(g, 2, 3), f(g, 1, 4, 3)), "expected a weight [O, 3] for [2, 3], got [1, 4, 3]"],
    [(g) => g.linear(f(g, 2, 3), f(g, 4, 3), f(g, 3)), "expected a bias [4], got [3]"],
    [(g) => g.linear(f(g, 2, 3), as(g, "i8", 4, 3)), "expected operands of one dtype, got f32 and i8 (cast one)"],
  ],
  conv1d: [
    [
      (g) => g.conv1d(f(g, 1, 4, 9), f(g, 2, 4, 3), undefined, { groups: 2 }),
      "expected x [B, C, L] and weight [O, C/2, k], got [1, 4, 9] and [2, 4, 3]",
    ],
    [
      (g) => g.conv1d(f(g, 4, 9), f(g, 2, 4, 3), undefined),
      "expected x [B, C, L] and weight [O, C/1, k], got [4, 9] and [2, 4, 3]",
    ],
    [
      (g) => g.conv1d(f(g, 1, 4, 9), f(g, 3, 2, 3), undefined, { groups: 2 }),
      "expected a weight [O, C/g, k] of known sizes, O in 2 groups and k ≥ 1, got [3, 2, 3]",
    ],
    [(g) => g.conv1d(f(g, 1, 4, 9), f(g, 2, 4, 3), f(g, 4)), "expected a bias [2], got [4]"],
    [
      (g) => g.conv1d(f(g, 1, 4, 2), f(g, 2, 4, 5), undefined),
      "expected a length of at least the kernel, got [1, 4, 2]",
    ],
    [(g) => g.conv1d(f(g, 1, 4, 9), f(g, 2, 4, 3), undefined, { stride: 0 }), `${convSettings} 0, 1, 1 and 0`],
    [(g) => g.conv1d(f(g, 1, 4, 9), f(g, 2, 4, 3), undefined, { padding: -1 }), `${convSettings} 1, 1, 1 and -1`],
  ],
  conv1dInputGrad: [
    [
      (g) => g.apply("conv1dInputGrad", [f(g, 2, 4, 3), f(g, 1, 2, 9)], { ...conv, length: 9 }),
      "expected weight [O, C/1, k] and gradient [B, O, length after the convolution], got [2, 4, 3] and [1, 2, 9]",
    ],
    [
      (g) => g.apply("conv1dInputGrad", [f(g, 2, 4, 3), f(g, 1, 3, 7)], { ...conv, length: 9 }),
      "expected weight [O, C/1, k] and gradient [B, O, length after the convolution], got [2, 4, 3] and [1, 3, 7]",
    ],
  ],
  conv1dWeightGrad: [
    [
      (g) => g.apply("conv1dWeightGrad", [f(g, 1, 4, 9), f(g, 1, 2, 9)], { ...conv, kernel: 3 }),
      "expected x [B, C, L] and gradient [B, O, length after the convolution], got [1, 4, 9] and [1, 2, 9]",
    ],
    [
      (g) => g.apply("conv1dWeightGrad", [f(g, 2, 4, 9), f(g, 1, 2, 7)], { ...conv, kernel: 3 }),
      "expected x [B, C, L] and gradient [B, O, length after the convolution], got [2, 4, 9] and [1, 2, 7]",
    ],
  ],
  rotary: [
    [
      (g) => g.rotary(f(g, 1, 5, 6), f(g, 1, 5, 3), f(g, 1, 5, 3), 2),
      "expected [B, T, 2·K] with an even K, got [1, 5, 6]",
    ],
    [
      (g) => g.rotary(f(g, 1, 1, 5, 8), f(g, 1, 5, 2), f(g, 1, 5, 2), 2),
      "expected [B, T, 2·K] with an even K, got [1, 1, 5, 8]",
    ],
    [(g) => g.rotary(f(g, 3, 5, 8), f(g, 2, 5, 2), f(g, 2, 5, 2), 2), "expected a table [1 or 3, 5, 2], got [2, 5, 2]"],
  ],
  attention: [
    [
      (g) => g.apply("attention", [f(g, 1, 5, 8), f(g, 1, 6, 4), f(g, 1, 6, 4)], { ...attention, masked: true }),
      "expected 4 inputs, got 3",
    ],
    [
      (g) => g.attention(f(g, 1, 5, 7), f(g, 1, 6, 4), f(g, 1, 6, 4), attention),
      "expected queries [B, T, 2·K] and heads in groups of 1, got [1, 5, 7]",
    ],
    [
      (g) => g.attention(f(g, 1, 5, 6), f(g, 1, 6, 4), f(g, 1, 6, 4), { ...attention, heads: 3, kvHeads: 2 }),
      "expected queries [B, T, 3·K] and heads in groups of 2, got [1, 5, 6]",
    ],
    [
      (g) => g.attention(f(g, 1, 5, 8), f(g, 1, 6, 4), f(g, 1, 7, 4), attention),
      "expected values [1, 6, 4], got [1, 7, 4]",
    ],
    [
      (g) => {
        const [q, k, past] = [f(g, 1, 5, 8), f(g, 1, 5, 4), f(g, 1, 2, "S", 4)]
        g.apply("attention", [q, k, k, past, past], { ...attention, cached: true })
      },
      "expected cached keys [1, 1, S, 4], got [1, 2, S, 4]",
    ],
    [
      (g) => {
        const [q, k, past] = [f(g, 1, 5, 8), f(g, 1, 5, 4), f(g, 1, 1, "S", 4)]
        g.apply("attention", [q, k, k, past, past], { ...attention, cached: true })
      },
      "expected cached values [1, 1, 4, S], got [1, 1, S, 4]",
    ],
    [
      (g) => {
        const [q, k] = [f(g, 1, 5, 8), f(g, 1, 5, 4)]
        const past = [f(g, 1, 1, "S", 4), f(g, 1, 1, 4, "S")]
        g.apply("attention", [q, k, k, ...past, f(g, 1, 1, 5, "S")], { ...attention, cached: true, masked: true })
      },
      "expected a mask [1 or 1, 1, 1 or 5, S + 5], got [1, 1, 5, S]",
    ],
    [
      (g) => g.attention(f(g, 1, 5, 8), f(g, 1, 6, 4), f(g, 1, 6, 4), attention, f(g, 1, 5, 6)),
      "expected a mask [1 or 1, 1, 1 or 5, 6], got [1, 5, 6]",
    ],
  ],
  matMulNBits: [
    [
      (g) => g.apply("matMulNBits", [f(g, 2, 63), as(g, "u8", 3, 2, 16), f(g, 3, 2)], nBits),
      "expected [..., 64], got [2, 63]",
    ],
    [
      (g) => g.apply("matMulNBits", [f(g, 2, 64), as(g, "u8", 3, 2, 32), f(g, 3, 2)], nBits),
      "expected weights [3, 2, 16] and scales [3, 2], got [3, 2, 32] and [3, 2]",
    ],
    [
      (g) => g.apply("matMulNBits", [f(g, 2, 64), as(g, "i8", 3, 2, 16), f(g, 3, 2)], nBits),
      "expected f32 [..., I], u8 weights and f32 scales, got f32, i8 and f32",
    ],
  ],
  quantizeRows: [
    [(g) => g.applyAll("quantizeRows", [as(g, "i64", 2, 4)], { bits: 8 }), "expected f32 [..., I], got i64 [2, 4]"],
    [(g) => g.applyAll("quantizeRows", [f(g)], { bits: 8 }), "expected f32 [..., I], got f32 []"],
  ],
  writeRows: [
    [
      (g) => g.apply("writeRows", [f(g, 2, 8), f(g, 3, 4), as(g, "i64", 1)], { axis: 1 }),
      "expected a cache, rows that differ from it in axis 1 alone and a position i64 [1], got f32 [2, 8], f32 [3, 4] and i64 [1]",
    ],
    [
      (g) => g.apply("writeRows", [f(g, 2, 8), f(g, 2, 4), as(g, "i64", 2)], { axis: 1 }),
      "expected a cache, rows that differ from it in axis 1 alone and a position i64 [1], got f32 [2, 8], f32 [2, 4] and i64 [2]",
    ],
  ],
  rotateBlocks: [
    [(g) => g.apply("rotateBlocks", [as(g, "i64", 2, 4)], { block: 4 }), "expected f32 [..., I], got i64 [2, 4]"],
    [(g) => g.apply("rotateBlocks", [f(g)], { block: 1 }), "expected f32 [..., I], got f32 []"],
    [
      (g) => g.apply("rotateBlocks", [f(g, 2, 12)], { block: 8 }),
      "expected rows of whole blocks of 8 (a power of 2), got [2, 12]",
    ],
    [
      (g) => g.apply("rotateBlocks", [f(g, 2, 12)], { block: 6 }),
      "expected rows of whole blocks of 6 (a power of 2), got [2, 12]",
    ],
  ],
  matMulIntegerToFloat: [
    [
      (g) => g.apply("matMulIntegerToFloat", [f(g, 2, 4), as(g, "i8", 4, 3), f(g, 3)], { bits: 8 }),
      "expected u8 [..., I], i8 [I, O] and scales [O], got f32 [2, 4], i8 [4, 3] and [3]",
    ],
    [
      (g) => g.apply("matMulIntegerToFloat", [as(g, "u8", 2, 4), as(g, "i8", 3, 3), f(g, 3)], { bits: 8 }),
      "expected u8 [..., I], i8 [I, O] and scales [O], got u8 [2, 4], i8 [3, 3] and [3]",
    ],
  ],
  fusedRmsNorm: [
    [
      (g) => g.apply("fusedRmsNorm", [f(g, 2, 4), f(g, 3)], { epsilon: 1 }),
      "expected a vector [4] for [2, 4], got [3]",
    ],
  ],
  skipRmsNorm: [
    [
      (g) => g.applyAll("skipRmsNorm", [f(g, 2, 4), f(g, 1, 4), f(g, 4)], { epsilon: 1 }),
      "expected x and skip of one shape and a gain of its width, got [2, 4], [1, 4], [4]",
    ],
  ],
  multiHeadAttention: [
    [
      (g) => g.apply("multiHeadAttention", [f(g, 1, 2, 6), f(g, 1, 3, 6), f(g, 1, 4, 6)], { heads: 2, scale: 1 }),
      "expected values [1, 3, 6], got [1, 4, 6]",
    ],
  ],
  biasGelu: [
    [
      (g) => g.apply("biasGelu", [f(g, 2, 4), f(g, 3)], { approximate: "none" }),
      "expected f32 [..., D] and a bias [D], got [2, 4] and [3]",
    ],
  ],
  quickGelu: [[(g) => g.apply("quickGelu", [as(g, "i64", 2)], { alpha: 1 }), "expected f32, got i64"]],
  rotaryEmbedding: [
    [
      (g) => g.apply("rotaryEmbedding", [f(g, 2, 5, 4), f(g, 2, 5, 2), f(g, 2, 5, 2)], { heads: 1 }),
      "expected tables [1, T, K/2], got [2, 5, 2]",
    ],
  ],
}

describe.each(Object.entries(BAD))("%s", (op, bad) => {
  test.each(bad.map(([build, text]) => ({ build, text })))("$text", ({ build, text }) => {
    const error = thrownBy(() => {
      const g = new Graph("model")
      g.scope("layers.7", () => build(g))
    })
    expect(error).toBeInstanceOf(ShapeError)
    expect((error as Error).message).toBe(`/model/layers.7/${op}: ${text}`)
  })
})

function thrownBy(run: () => unknown): unknown {
  try {
    run()
  } catch (error) {
    return error
  }
  return undefined
}
