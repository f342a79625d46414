/** @file Quantized linear layers, packed by hand: the lowering, its reference and ONNX Runtime compute one result. */
import { describe, expect, test } from "vitest"
import { Graph, type LinearStorage, lowerFor, storedNames, type Value } from "../../src/graph/index.ts"
import { f32, type HostTensor, rotateRows, tensor } from "../../src/tensor/index.ts"
import { cpuActivationBits, expectClose, ortSession, reference, runOrt } from "./harness.ts"

const INNER = 80 // two and a half blocks of 32
const OUTER = 24
const wave = (length: number, step: number) => Float32Array.from({ length }, (_, i) => Math.sin(step * i * i + i))
const weight = wave(OUTER * INNER, 0.37)
const bias = f32([OUTER], wave(OUTER, 2))

type Packed = { readonly tensors: { readonly [name: string]: HostTensor }; readonly meant: Float32Array }

/** What both layers' inputs are multiplied by; channel 5 vanishes. */
const balance = Float32Array.from({ length: INNER }, (_, i) => (i === 5 ? 0 : 2 ** ((i % 7) - 3)))

/** The weight as it is stored for a rotated input, before it is rounded. */
function prepare(rotation: number): Float32Array {
  const rows = weight.slice()
  rotateRows(rows, INNER, rotation)
  return rows
}

/** What a stored weight means to an input that nothing was done to. */
function undo(rows: Float32Array, rotation: number, balanced: boolean): Float32Array {
  rotateRows(rows, INNER, rotation)
  return balanced ? rows.map((value, at) => value * balance[at % INNER]!) : rows
}

/** Codes -8 to 7 plus 8, two to a byte, low nibble first; a scale per block; the last block is padded with zeros. */
function packInt4(name: string, blockSize: number, rotation = 1, balanced = false): Packed {
  const weight = prepare(rotation)
  const blocks = Math.ceil(INNER / blockSize)
  const codes = new Uint8Array((OUTER * blocks * blockSize) / 2).fill(0x88)
  const scales = new Float32Array(OUTER * blocks)
  const meant = new Float32Array(OUTER * INNER)
  for (let o = 0; o < OUTER; o++) {
    for (let i = 0; i < INNER; i++) {
      const block = o * blocks + Math.floor(i / blockSize)
      scales[block] = Math.fround(0.12 + 0.01 * (block % 5))
      const code = Math.max(-8, Math.min(7, Math.round(weight[o * INNER + i]! / scales[block])))
      meant[o * INNER + i] = code * scales[block]
      const at = o * blocks * blockSize + i
      const shift = at % 2 === 0 ? 0 : 4
      codes[at >> 1] = (codes[at >> 1]! & (0xf0 >> shift)) | ((code + 8) << shift)
    }
  }
  const stored = storedNames.int4(name)
  return {
    tensors: {
      [stored.codes]: tensor("u8", [OUTER, blocks, blockSize / 2], codes),
      [stored.scales]: f32([OUTER, blocks], scales),
    },
    meant: undo(meant, rotation, balanced),
  }
}

/** Codes -127 to 127 transposed to [I, O], a scale per output; rows rotated as their inputs will be. */
function packInt8(name: string, rotation: number, balanced = false): Packed {
  const rotated = prepare(rotation)
  const codes = new Int8Array(INNER * OUTER)
  const scales = new Float32Array(OUTER)
  const meant = new Float32Array(OUTER * INNER)
  for (let o = 0; o < OUTER; o++) {
    const row = rotated.subarray(o * INNER, (o + 1) * INNER)
    scales[o] = row.reduce((max, value) => Math.max(max, Math.abs(value)), 0) / 127
    for (let i = 0; i < INNER; i++) {
      const code = Math.round(row[i]! / scales[o]!)
      codes[i * OUTER + o] = code
      meant[o * INNER + i] = code * scales[o]!
    }
  }
  const stored = storedNames.int8(name)
  return {
    tensors: { [stored.codes]: tensor("i8", [INNER, OUTER], codes), [stored.scales]: f32([OUTER], scales) },
    meant: undo(meant, rotation, balanced),
  }
}

/** Two layers that read one input, one with a bias. */
function layers(first = "a", second = "b"): Graph {
  const g = new Graph("layers")
  const x = g.input("x", "f32", ["B", "T", INNER])
  const linear = (name: string, added?: Value) => g.linear(x, g.weight(name, [OUTER, INNER]), added)
  g.output("plain", linear(first))
  g.output("biased", linear(second, g.weight("bias", [OUTER])))
  return g
}

const activationBits = await cpuActivationBits()
const x = f32([2, 3, INNER], wave(6 * INNER, 1.7))

async function check(storage: LinearStorage, pack: (name: string) => Packed, rounding: number): Promise<Graph> {
  const packed = [pack("a"), pack("b")]
  const stored = { x, bias, balance: f32([INNER], balance), ...packed[0]!.tensors, ...packed[1]!.tensors }
  const lowered = lowerFor(layers(), { target: "cpu", storage: () => storage, activationBits })
  const want = reference(lowered, stored)
  const session = await ortSession(lowered, stored)
  const got = await runOrt(session, lowered, stored)
  await session.release()
  expectClose(got, want, rounding, "onnxruntime")
  // What the codes mean, in float: int8 rounds inputs to 1/63 of a row's largest at least, int4 to 1/127 of a block's.
  const meant = Object.fromEntries(["a", "b"].map((name, i) => [name, f32([OUTER, INNER], packed[i]!.meant)]))
  expectClose(
    want,
    reference(layers(), { x, bias, ...meant }),
    storage.kind === "int8" ? 2.5 / 2 ** activationBits : 0.02,
    "codes",
  )
  return lowered
}

describe("int4", () => {
  // ONNX Runtime rounds the inputs of each block to 8 bits; the reference does not.
  test.each([16, 32, 64, 128])("in blocks of %i", async (blockSize) => {
    const lowered = await check({ kind: "int4", blockSize, rotation: 1 }, (name) => packInt4(name, blockSize), 0.01)
    expect(lowered.nodes.filter(({ op }) => op === "matMulNBits").length).toBe(2)
    expect(lowered.nodes.some(({ op }) => op === "linear")).toBe(false)
  })
})

describe.each([
  { storage: { kind: "int4", blockSize: 16, rotation: 16, balance: "balance" }, rounding: 0.01 },
  { storage: { kind: "int8", rotation: 16, balance: "balance" }, rounding: 2e-5 },
] as const)("$storage.kind, balanced and rotated", ({ storage, rounding }) => {
  test("gives the product of the unbalanced weight, and prepares a shared input once", async () => {
    const pack = (name: string) => (storage.kind === "int4" ? packInt4(name, 16, 16, true) : packInt8(name, 16, true))
    const lowered = await check(storage, pack, rounding)
    for (const op of ["mul", "rotateBlocks"] as const) {
      const prepared = lowered.nodes.filter((node) => node.op === op && node.outputs[0]!.shape.at(-1) === INNER)
      expect(prepared.length, op).toBe(1)
    }
  })
})

describe("int8", () => {
  test.each([1, 4, 16])("rotated in blocks of %i", async (rotation) => {
    const lowered = await check({ kind: "int8", rotation }, (name) => packInt8(name, rotation), 2e-5)
    expect(lowered.nodes.filter(({ op }) => op === "matMulIntegerToFloat").length).toBe(2)
    // Both layers read the rows that were quantized once.
    expect(lowered.nodes.filter(({ op }) => op === "quantizeRows").length).toBe(1)
  })
  test("rows of zeros stay zeros", async () => {
    const zeros = { ...x, data: new Float32Array(x.data.length) } as HostTensor
    const stored = { x: zeros, bias, ...packInt8("a", 16).tensors, ...packInt8("b", 16).tensors }
    const lowered = lowerFor(layers(), { target: "cpu", storage: () => ({ kind: "int8", rotation: 16 }) })
    const session = await ortSession(lowered, stored)
    const { plain } = await runOrt(session, lowered, stored)
    await session.release()
    expect(plain!.data.every((value) => value === 0)).toBe(true)
  })
})

test("layers keep float weights where the storage says so", async () => {
  const { tensors, meant } = packInt4("a", 32)
  const float = f32([OUTER, INNER], weight)
  const stored = { x, bias, b: float, ...tensors }
  const storage = (name: string): LinearStorage =>
    name === "a" ? { kind: "int4", blockSize: 32, rotation: 1 } : { kind: "f32" }
  const lowered = lowerFor(layers(), { target: "cpu", storage })
  const session = await ortSession(lowered, stored)
  const got = await runOrt(session, lowered, stored)
  await session.release()
  expectClose(got, reference(layers(), { x, bias, a: f32([OUTER, INNER], meant), b: float }), 0.02, "onnxruntime")
})
