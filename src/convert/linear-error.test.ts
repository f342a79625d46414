/**
 * @file What quantization does to a linear layer as it is lowered, on inputs like those of language models: normal
 * channels, and a few that are 100 times larger. Errors are relative to the output's root mean square.
 */
import { describe, expect, test } from "vitest"
import { Graph, lowerFor, storedNames } from "../graph/index.ts"
import { createReferenceExecutor, memoryWeights } from "../runtime/index.ts"
import { f32, f32Data, type HostTensor, hadamardBlock } from "../tensor/index.ts"
import type { StoredLinear } from "./bundle.ts"
import { localQuantizer } from "./quantize-rows.ts"
import { heavyTailed, normal, relativeError } from "./weights.test-util.ts"

const INNER = 1024
const OUTER = 96
const ROWS = 4

function inputs(outliers: readonly number[]): Float32Array {
  const x = normal(ROWS * INNER, 1, 77)
  for (let row = 0; row < ROWS; row++) for (const channel of outliers) x[row * INNER + channel]! *= 100
  return x
}

/** One linear layer, quantized or not. */
async function run(weight: Float32Array, x: Float32Array, form?: StoredLinear): Promise<Float32Array> {
  const tensors = new Map<string, HostTensor>([["w", f32([OUTER, INNER], weight)]])
  if (form) {
    const blocks = form.kind === "int4" ? INNER / form.blockSize : 1
    const codes = new Uint8Array(form.kind === "int4" ? (OUTER * INNER) / 2 : OUTER * INNER)
    const scales = new Float32Array(OUTER * blocks)
    const rows = { name: "w", firstRow: 0, tensor: f32([OUTER, INNER], weight.slice()) }
    await localQuantizer.quantize(rows, [{ form, codes, scales }])
    const names = storedNames[form.kind]("w")
    if (form.kind === "int4") {
      tensors.set(names.codes, { dtype: "u8", shape: [OUTER, blocks, form.blockSize / 2], data: codes })
      tensors.set(names.scales, f32([OUTER, blocks], scales))
    } else {
      tensors.set(names.codes, { dtype: "i8", shape: [INNER, OUTER], data: new Int8Array(codes.buffer) })
      tensors.set(names.scales, f32([OUTER], scales))
    }
  }
  const g = new Graph("linear")
  g.output("y", g.linear(g.input("x", "f32", ["T", INNER]), g.weight("w", [OUTER, INNER])))
  const executor = createReferenceExecutor()
  const program = await executor.compile(
    g,
    memoryWeights(tensors, () => form ?? { kind: "f32" }),
  )
  const { y } = await executor.run(program, { x: f32([ROWS, INNER], x) })
  return f32Data(y!)
}

const OUTLIERS = [3, 200, 201, 777]
const weights = { normal: normal(OUTER * INNER, 0.02), heavy: heavyTailed(OUTER * INNER, 0.02) }
const rotated: StoredLinear = { kind: "int8", rotation: hadamardBlock(INNER) }

describe("int8 linear layers", () => {
  test.each([
    ["normal", [], 0.014],
    ["heavy", [], 0.014],
    ["normal", OUTLIERS, 0.018],
    ["heavy", OUTLIERS, 0.019],
  ] as const)("%s weights, huge channels %j: error below %f", async (kind, outliers, bound) => {
    const x = inputs(outliers)
    expect(relativeError(await run(weights[kind], x, rotated), await run(weights[kind], x))).toBeLessThan(bound)
  })

  test("what the other channels say survives the huge ones; without rotation it does not", async () => {
    // Weights that do not look at the huge channels: the output is made of the small ones alone.
    const blind = weights.normal.slice()
    for (let row = 0; row < OUTER; row++) for (const channel of OUTLIERS) blind[row * INNER + channel] = 0
    const x = inputs(OUTLIERS)
    const want = await run(blind, x)
    expect(relativeError(await run(blind, x, rotated), want)).toBeLessThan(0.08)
    expect(relativeError(await run(blind, x, { kind: "int8", rotation: 1 }), want)).toBeGreaterThan(0.4)
  })
})

describe("int4 linear layers", () => {
  test.each([
    ["normal", 32, 0.085],
    ["normal", 64, 0.095],
    ["normal", 128, 0.105],
    ["heavy", 128, 0.175],
  ] as const)(
    "%s weights in blocks of %i, with huge channels or without: error below %f",
    async (kind, blockSize, bound) => {
      for (const outliers of [[], OUTLIERS]) {
        const x = inputs(outliers)
        const got = await run(weights[kind], x, { kind: "int4", blockSize })
        // A few channels decide the output then, so chance decides the error.
        const slack = outliers.length > 0 ? 1.25 : 1
        expect(relativeError(got, await run(weights[kind], x))).toBeLessThan(bound * slack)
      }
    },
  )
})

test("a quantized layer is lowered to what the executor runs", () => {
  const g = new Graph("linear")
  g.output("y", g.linear(g.input("x", "f32", ["T", INNER]), g.weight("w", [OUTER, INNER])))
  const ops = lowerFor(g, { target: "cpu", storage: () => rotated }).nodes.map(({ op }) => op)
  expect(ops).toContain("matMulIntegerToFloat")
})
