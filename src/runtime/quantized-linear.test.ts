import { expect, test } from "vitest"
import { Graph, type LinearStorage, linearWeight, storedNames } from "../graph/index.ts"
import { f32, f32Data, type HostTensor, tensor } from "../tensor/index.ts"
import { createRandom } from "../util/index.ts"
import { createOrtNodeExecutor } from "./index.node.ts"
import { createReferenceExecutor, memoryWeights } from "./index.ts"

const INNER = 32
const random = createRandom(5)
const whole = (low: number, high: number) => low + Math.floor(random() * (high - low + 1))

/** A weight with its codes in both quantized forms; every code is a whole number of int4's range. */
function weight(name: string, shape: readonly number[]): [string, HostTensor][] {
  const outer = shape[0]!
  const codes = Int8Array.from({ length: outer * INNER }, () => whole(-8, 7))
  const scales = Float32Array.from({ length: outer }, () => 2 ** whole(-3, 0))
  const columns = new Int8Array(codes.length)
  const nibbles = new Uint8Array(codes.length / 2)
  for (let o = 0; o < outer; o++) {
    for (let i = 0; i < INNER; i++) {
      const at = o * INNER + i
      columns[i * outer + o] = codes[at]!
      nibbles[at >> 1]! |= (codes[at]! + 8) << (4 * (at & 1))
    }
  }
  const [int8, int4] = [storedNames.int8(name), storedNames.int4(name)]
  return [
    [
      name,
      f32(
        shape,
        Float32Array.from(codes, (code, at) => code * scales[Math.floor(at / INNER)]!),
      ),
    ],
    [int8.codes, tensor("i8", [INNER, outer], columns)],
    [int8.scales, f32([outer], scales)],
    [int4.codes, tensor("u8", [outer, 1, INNER / 2], nibbles)],
    [int4.scales, f32([outer, 1], scales)],
  ]
}

/** Packed projections, a patch convolution's kernel, and a plain weight. */
function graph(): Graph {
  const g = new Graph("g")
  const x = g.input("x", "f32", ["B", "T", INNER])
  const packed = g.weight("packed", [12, INNER])
  const bias = g.weight("bias", [12])
  g.output("first", g.linear(x, g.slice(packed, 0, 0, 4), g.slice(bias, 0, 0, 4)))
  g.output("rest", g.linear(x, g.slice(packed, 0, 4, 12), g.slice(bias, 0, 4, 12)))
  g.output("flat", g.linear(x, g.reshape(g.weight("kernel", [6, 2, 4, 4]), [6, INNER])))
  g.output("uncut", g.linear(x, g.weight("plain", [3, INNER])))
  return g
}

const tensors = new Map([
  ...weight("packed", [12, INNER]),
  ...weight("kernel", [6, 2, 4, 4]),
  ...weight("plain", [3, INNER]),
  [
    "bias",
    f32(
      [12],
      Float32Array.from({ length: 12 }, (_, i) => i),
    ),
  ] as const,
])
/** Values that 8-bit codes hold exactly, whatever block shares a scale. */
const x = f32(
  [2, 3, INNER],
  Float32Array.from({ length: 6 * INNER }, () => 127 * whole(-1, 1)),
)

const FORMS: LinearStorage[] = [
  { kind: "int8", rotation: 1 },
  { kind: "int4", blockSize: INNER, rotation: 1 },
]

test.each(FORMS.flatMap((form) => ["reference", "cpu"].map((device) => ({ form, device }))))(
  "rows of a packed weight and a flattened kernel compute with $form.kind codes on $device",
  async ({ form, device }) => {
    const floats = createReferenceExecutor()
    const want = await floats.run(await floats.compile(graph(), memoryWeights(tensors)), { x })
    const executor = device === "cpu" ? createOrtNodeExecutor({ device: "cpu", threads: 1 }) : createReferenceExecutor()
    // Without the floats: whoever reads them fails.
    const quantized = new Map([...tensors].filter(([name]) => name === "bias" || name.includes(".int")))
    const program = await executor.compile(
      graph(),
      memoryWeights(quantized, () => form),
    )
    const got = await executor.run(program, { x })
    for (const name of ["first", "rest", "flat", "uncut"]) {
      expect(got[name]!.shape).toEqual(want[name]!.shape)
      const expected = f32Data(want[name]!)
      for (const [i, value] of f32Data(got[name]!).entries()) expect(value, name).toBeCloseTo(expected[i]!, 2)
    }
  },
)

test("only weights, whole, flattened or cut by rows, count as stored", () => {
  const g = new Graph("g")
  const w = g.weight("w", [6, 2, 4])
  const flat = g.reshape(w, [6, 8])
  expect(linearWeight(flat)).toEqual({ name: "w", outer: 6, inner: 8, start: 0, end: 6 })
  expect(linearWeight(g.slice(flat, 0, 2, 5))).toEqual({ name: "w", outer: 6, inner: 8, start: 2, end: 5 })
  expect(linearWeight(g.slice(flat, 1, 0, 4))).toBeUndefined()
  expect(linearWeight(g.reshape(w, [12, 4]))).toBeUndefined()
  expect(linearWeight(g.slice(g.slice(flat, 0, 2, 5), 0, 1, 2))).toBeUndefined()
  expect(linearWeight(g.scale(flat, 2))).toBeUndefined()
})
