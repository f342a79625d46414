/** @file Cases of the ops that only lowerings make. Portable models cannot hold them; both targets keep them as they are. */
import fc from "fast-check"
import type { ActivationBits } from "../../src/graph/index.ts"
import { anySize, between, floats, normal, positive, sizesOf, someSize, whole } from "./arbitraries.ts"
import { cpuActivationBits, type Fill, type OpCase, type Sample } from "./harness.ts"
import { productCase, rotaryCase } from "./linear.ts"

const rows = sizesOf({ a: someSize, b: someSize })

const activationBits = fc.constantFrom<ActivationBits[]>(7, 8)
/** 7 on processors whose 8-bit products saturate. */
const exactBits = await cpuActivationBits()

/** ONNX Runtime rounds the activations of each block to 8 bits (accuracy level 4): these survive it. */
const threeLevels: Fill = (random) => 2 * whole(-1, 1)(random, {})

function nBits(bits: 4 | 8): fc.Arbitrary<Sample> {
  return fc
    .tuple(rows, fc.constantFrom(16, 32, 64), fc.constantFrom(1, 2, 3), fc.constantFrom(1, 3, 8), fc.boolean())
    .map(([sizes, blockSize, blocks, outer, ragged]): Sample => {
      const inner = blocks * blockSize - (ragged ? 8 : 0)
      const bytes = (blockSize * bits) / 8
      return {
        sizes,
        inputs: {
          x: floats(["a", "b", inner], threeLevels),
          packed: { shape: [outer, blocks, bytes], fill: whole(0, 255), dtype: "u8", weight: true },
          scales: { shape: [outer, blocks], fill: between(0.1, 0.2), weight: true },
        },
        apply: (g, { x, packed, scales }) =>
          g.apply("matMulNBits", [x!, packed!, scales!], { bits, blockSize, inner, outer }),
      }
    })
}

export const TARGET = {
  fusedMatMul: productCase("fusedMatMul", "none"),
  matMulNBits: {
    gradient: "none",
    runs: 30,
    sample: fc.boolean().chain((four) => nBits(four ? 4 : 8)),
  },
  quantizeRows: {
    gradient: "none",
    runs: 40,
    sample: fc
      .tuple(sizesOf({ a: anySize, b: anySize }), fc.constantFrom(1, 2, 5, 33), fc.boolean(), activationBits)
      .map(
        ([sizes, width, zero, bits]): Sample => ({
          sizes,
          inputs: { x: floats(["a", "b", width], zero ? () => 0 : (random) => (random() - 0.5) * 20) },
          apply: (g, { x }) => g.applyAll("quantizeRows", [x!], { bits }),
        }),
      ),
  },
  writeRows: {
    gradient: "none",
    sample: fc.tuple(rows, fc.constantFrom(0, 1, 3), fc.constantFrom(1, 2, 5), fc.constantFrom(0, 1, 4)).map(
      ([sizes, position, count, rest]): Sample => ({
        sizes,
        inputs: {
          cache: floats(["a", "b", position + count + rest, 2]),
          rows: floats(["a", "b", count, 2]),
          position: { shape: [1], fill: () => position, dtype: "i64" },
        },
        apply: (g, { cache, rows, position }) => g.apply("writeRows", [cache!, rows!, position!], { axis: 2 }),
      }),
    ),
  },
  rotateBlocks: {
    gradient: "none",
    sample: fc.tuple(rows, fc.constantFrom([1, 1], [6, 2], [8, 4], [32, 32])).map(
      ([sizes, [width, block]]): Sample => ({
        sizes,
        inputs: { x: floats(["a", "b", width!]) },
        apply: (g, { x }) => g.apply("rotateBlocks", [x!], { block: block! }),
      }),
    ),
  },
  matMulIntegerToFloat: {
    gradient: "none",
    sample: fc.tuple(rows, fc.constantFrom(1, 4, 33), fc.constantFrom(1, 3, 16), activationBits).map(
      ([sizes, inner, outer, bits]): Sample => ({
        sizes,
        refusedByOrt: bits > exactBits ? "pairs of products saturate on this processor" : undefined,
        inputs: {
          codes: { shape: ["a", "b", inner], fill: whole(1, 2 ** bits - 1), dtype: "u8" },
          weight: { shape: [inner, outer], fill: whole(-127, 127), dtype: "i8", weight: true },
          scales: { shape: [outer], fill: positive, weight: true },
        },
        apply: (g, { codes, weight, scales }) => g.apply("matMulIntegerToFloat", [codes!, weight!, scales!], { bits }),
      }),
    ),
  },
  fusedRmsNorm: {
    gradient: "none",
    sample: fc.tuple(rows, fc.constantFrom(1, 3, 8, 16)).map(
      ([sizes, width]): Sample => ({
        sizes,
        inputs: { x: floats(["a", "b", width]), weight: { ...floats([width]), weight: true } },
        apply: (g, { x, weight }) => g.apply("fusedRmsNorm", [x!, weight!], { epsilon: 1e-3 }),
      }),
    ),
  },
  skipRmsNorm: {
    gradient: "none",
    sample: fc.tuple(rows, fc.constantFrom(1, 3, 8, 16)).map(
      ([sizes, width]): Sample => ({
        sizes,
        inputs: {
          x: floats(["a", "b", width]),
          skip: floats(["a", "b", width]),
          weight: { ...floats([width]), weight: true },
        },
        apply: (g, { x, skip, weight }) => g.applyAll("skipRmsNorm", [x!, skip!, weight!], { epsilon: 1e-3 }),
      }),
    ),
  },
  quickGelu: {
    gradient: "none",
    sample: fc.tuple(sizesOf({ a: anySize, b: anySize }), fc.constantFrom(1, 1.702)).map(
      ([sizes, alpha]): Sample => ({
        sizes,
        inputs: { x: floats(["a", "b"], normal) },
        apply: (g, { x }) => g.apply("quickGelu", [x!], { alpha }),
      }),
    ),
  },
  multiHeadAttention: {
    gradient: "none",
    runs: 40,
    sample: fc
      .tuple(
        sizesOf({ B: someSize, T: someSize, S: someSize }),
        fc.constantFrom([1, 4], [2, 3], [3, 8]),
        fc.constantFrom(0.25, 1),
      )
      .map(
        ([sizes, [heads, size], scale]): Sample => ({
          sizes,
          inputs: {
            q: floats(["B", "T", heads! * size!]),
            k: floats(["B", "S", heads! * size!]),
            v: floats(["B", "S", heads! * size!]),
          },
          apply: (g, { q, k, v }) => g.apply("multiHeadAttention", [q!, k!, v!], { heads: heads!, scale }),
        }),
      ),
  },
  biasGelu: {
    gradient: "none",
    sample: fc.tuple(rows, fc.constantFrom(1, 3, 8, 33), fc.constantFrom<("none" | "tanh")[]>("none", "tanh")).map(
      ([sizes, width, approximate]): Sample => ({
        sizes,
        inputs: { x: floats(["a", "b", width], normal), bias: { ...floats([width]), weight: true } },
        apply: (g, { x, bias }) => g.apply("biasGelu", [x!, bias!], { approximate }),
      }),
    ),
  },
  rotaryEmbedding: rotaryCase("rotaryEmbedding", "none", fc.constant(1), someSize),
} satisfies { [name: string]: OpCase }
