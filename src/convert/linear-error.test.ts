/**
 * @file What quantization does to a linear layer as it is lowered, on inputs like those of language models: normal
 * channels, and a few that are 128 times larger. Errors are relative to the output's root mean square.
 *
 * Columns of a balanced weight are equally large, so each channel of its input is as large as what it adds to the
 * output. Rotated, a block of inputs has no element beyond 4 times its root mean square (unless it happens to look like
 * a row of the Hadamard matrix), and so rounding to 8 bits loses 4/127/√12 = 0.9 % of what the block says. One scale for
 * the row instead of one for each block can lose that for every block while only one of them says anything: times
 * √blocks. The weights' own rounding was measured without huge channels (quantize-int4.test.ts: 0.1 of normal weights in
 * blocks of 128, and rotated weights are close to normal).
 */
import { describe, expect, test } from "vitest"
import { type ActivationBits, Graph, lowerFor, storedNames } from "../graph/index.ts"
import { createOrtNodeExecutor } from "../runtime/index.node.ts"
import { createReferenceExecutor, memoryWeights } from "../runtime/index.ts"
import { f32, f32Data, type HostTensor, hadamardBlock } from "../tensor/index.ts"
import type { StoredLinear } from "./bundle.ts"
import { addSquares, factorsOf } from "./input-balance.ts"
import { localQuantizer } from "./quantize-rows.ts"
import { heavyTailed, normal, relativeError } from "./weights.test-util.ts"

const INNER = 1024
const OUTER = 96
const ROWS = 4
const HUGE = 128
const OUTLIERS = [3, 200, 201, 777]
const DEVICES = { reference: createReferenceExecutor, cpu: () => createOrtNodeExecutor({ device: "cpu", threads: 1 }) }
type Device = keyof typeof DEVICES

function inputs(outliers: readonly number[]): Float32Array {
  const x = normal(ROWS * INNER, 1, 77)
  for (let row = 0; row < ROWS; row++) for (const channel of outliers) x[row * INNER + channel]! *= HUGE
  return x
}

/** The weight with the outliers' columns multiplied by a factor. */
function withColumns(weight: Float32Array, factor: number): Float32Array {
  const scaled = weight.slice()
  for (let row = 0; row < OUTER; row++) for (const channel of OUTLIERS) scaled[row * INNER + channel]! *= factor
  return scaled
}

/** The arrays of a quantized weight, by their stored names. */
async function stored(weight: Float32Array, form: StoredLinear): Promise<Map<string, HostTensor>> {
  const blocks = form.kind === "int4" ? INNER / form.blockSize : 1
  const codes = new Uint8Array(form.kind === "int4" ? (OUTER * INNER) / 2 : OUTER * INNER)
  const scales = new Float32Array(OUTER * blocks)
  const squares = new Float64Array(INNER)
  addSquares(squares, weight)
  const balance = factorsOf(squares)
  const rows = { name: "w", firstRow: 0, tensor: f32([OUTER, INNER], weight.slice()) }
  await localQuantizer.quantize(form.balance ? { ...rows, balance } : rows, [{ form, codes, scales }])
  const names = storedNames[form.kind]("w")
  const codeTensor: HostTensor =
    form.kind === "int4"
      ? { dtype: "u8", shape: [OUTER, blocks, form.blockSize / 2], data: codes }
      : { dtype: "i8", shape: [INNER, OUTER], data: new Int8Array(codes.buffer) }
  const scaleTensor = f32(form.kind === "int4" ? [OUTER, blocks] : [OUTER], scales)
  return new Map([
    [names.codes, codeTensor],
    [names.scales, scaleTensor],
    ["balance", f32([INNER], balance)],
  ])
}

/** One linear layer, quantized or not. */
async function run(weight: Float32Array, x: Float32Array, form?: StoredLinear, device: Device = "reference") {
  const tensors = form ? await stored(weight, form) : new Map([["w", f32([OUTER, INNER], weight)]])
  const g = new Graph("linear")
  g.output("y", g.linear(g.input("x", "f32", ["T", INNER]), g.weight("w", [OUTER, INNER])))
  await using executor = DEVICES[device]()
  const program = await executor.compile(
    g,
    memoryWeights(tensors, () => form ?? { kind: "f32" }),
  )
  const { y } = await executor.run(program, { x: f32([ROWS, INNER], x) })
  return f32Data(y!)
}

const WEIGHTS = { normal: normal(OUTER * INNER, 0.02), heavy: heavyTailed(OUTER * INNER, 0.02) }
const input = { balance: "balance", rotation: hadamardBlock(INNER) }
/** Bits of int8's inputs on each device. */
const BITS: { readonly [D in Device]: ActivationBits } = { reference: 8, cpu: await cpuBits() }

async function cpuBits(): Promise<ActivationBits> {
  await using executor = DEVICES.cpu()
  return executor.activationBits()
}

const INT8: StoredLinear = { kind: "int8", ...input }
const int4 = (blockSize: number): StoredLinear => ({ kind: "int4", blockSize, ...input })

/** Rounding of values whose blocks say equally much, to codes of so many bits. */
const rounded = (bits: ActivationBits) => 4 / (2 ** (bits - 1) - 1) / Math.sqrt(12)
const ROUNDED = rounded(8)
const casesOf = (device: Device) => {
  const inputs = rounded(BITS[device])
  return [
    { form: INT8, weights: ROUNDED, inputs, oneBlock: inputs * Math.sqrt(INNER / 128) },
    { form: int4(128), weights: 0.105, inputs: ROUNDED, oneBlock: ROUNDED },
    { form: int4(32), weights: 0.085, inputs: ROUNDED, oneBlock: ROUNDED },
  ] as const
}

describe.each(Object.keys(DEVICES) as Device[])("on %s", (device) => {
  describe.each(casesOf(device))(
    "$form.kind, blocks of $form.blockSize",
    ({ form, weights, inputs: rounding, oneBlock }) => {
      test.each(["normal", "heavy"] as const)("%s weights, normal inputs", async (kind) => {
        const x = inputs([])
        const error = relativeError(await run(WEIGHTS[kind], x, form, device), await run(WEIGHTS[kind], x))
        expect(error).toBeLessThan(Math.hypot(weights, rounding))
        expect(error).toBeGreaterThan(0.005) // it is quantized at all
      })

      test.each([
        ["as small as the channels are huge", 1 / HUGE, rounding],
        ["zero", 0, rounding],
        ["in between", 1 / 16, oneBlock],
        // A few channels decide the output then, so chance decides the error.
        ["like the others", 1, oneBlock + 0.3 * weights],
      ])("huge channels, weights of theirs %s", async (_, factor, outliers) => {
        const weight = withColumns(WEIGHTS.normal, factor)
        const x = inputs(OUTLIERS)
        const error = relativeError(await run(weight, x, form, device), await run(weight, x))
        expect(error).toBeLessThan(Math.hypot(weights, outliers) * (factor === 1 / 16 ? 1.1 : 1))
      })
    },
  )

  test("without balance and rotation, small channels beside huge ones are lost", async () => {
    const weight = withColumns(WEIGHTS.normal, 1 / HUGE)
    const x = inputs(OUTLIERS)
    const want = await run(weight, x)
    expect(relativeError(await run(weight, x, { kind: "int8", rotation: 1 }, device), want)).toBeGreaterThan(0.3)
    if (device === "reference") return // it does not round what int4 weights meet
    expect(relativeError(await run(weight, x, { kind: "int4", blockSize: 128, rotation: 1 }, device), want)) //
      .toBeGreaterThan(0.15)
  })
})

describe("factorsOf", () => {
  test("powers of two that make columns equal to within √2; zeros vanish; what is no number is left alone", () => {
    const columns = Float64Array.of(1, 4, 1e-6, 900, 0, 1e-300)
    const factors = factorsOf(columns.map((length) => length ** 2))
    const mean = Math.sqrt(columns.reduce((sum, length) => sum + length ** 2, 0) / columns.length)
    for (const i of [0, 1, 2, 3]) {
      expect(Number.isInteger(Math.log2(factors[i]!))).toBe(true)
      expect(Math.abs(Math.log2(columns[i]! / mean / factors[i]!))).toBeLessThanOrEqual(0.5)
    }
    expect(factors[4]).toBe(0)
    expect(factors[5]).toBe(0) // its square is zero
    expect(Array.from(factorsOf(Float64Array.of(1, Number.NaN)))).toEqual([1, 1])
    expect(Array.from(factorsOf(Float64Array.of(0, 0)))).toEqual([0, 0])
    expect(Array.from(factorsOf(Float64Array.of(1e-80, 1, 1)))).toEqual([2 ** -60, 1, 1])
  })
})

test("a quantized layer is lowered to what the executor runs", () => {
  const g = new Graph("linear")
  g.output("y", g.linear(g.input("x", "f32", ["T", INNER]), g.weight("w", [OUTER, INNER])))
  const ops = lowerFor(g, { target: "cpu", storage: () => INT8 }).nodes.map(({ op }) => op)
  expect(ops).toContain("matMulIntegerToFloat")
})
