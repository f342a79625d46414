/** @file Gradients through whole blocks, as training takes them, against finite differences and on ONNX Runtime. */
import fc from "fast-check"
import { test } from "vitest"
import type { Graph, Value } from "../../src/graph/index.ts"
import { awayFromZero, below, between, bit, floats, positive, sizesOf, someSize } from "./arbitraries.ts"
import { checkOp, type OpCase, type OpInput } from "./harness.ts"

type Named = { readonly [name: string]: Value }

const weights = (shapes: { readonly [name: string]: readonly number[] }) =>
  Object.fromEntries(Object.entries(shapes).map(([name, shape]) => [name, floats(shape, between(-0.5, 0.5))])) as {
    readonly [name: string]: OpInput
  }

const block: { readonly [name: string]: (g: Graph, v: Named) => Value } = {
  mlp: (g, { x, gate, up, down, bias }) => {
    const hidden = g.mul(g.silu(g.linear(x!, gate!)), g.linear(x!, up!, bias))
    return g.linear(hidden, down!)
  },
  attention: (g, v) => {
    const normed = g.rmsNorm(v.x!, v.norm!, 0.1)
    const q = g.rotary(g.linear(normed, v.q!, v.qBias), v.cos!, v.sin!, 4)
    const k = g.rotary(g.linear(normed, v.k!), v.cos!, v.sin!, 2)
    const attended = g.attention(q, k, g.linear(normed, v.v!), { heads: 4, kvHeads: 2, scale: 0.5 }, v.mask)
    return g.add(v.x!, g.linear(attended, v.o!))
  },
  convolution: (g, { x, w, depthwise, gain, bias }) => {
    const mixed = g.gelu(g.conv1d(x!, w!, undefined, { padding: 1, stride: 2 }))
    const rows = g.transpose(g.conv1d(mixed, depthwise!, undefined, { padding: 1, groups: 6 }), [0, 2, 1])
    return g.layerNorm(rows, gain!, bias!, 0.1)
  },
  "cross-entropy": (g, { x, table, ids, labels }) => {
    const logits = g.matmul(g.mul(g.gather(table!, ids!), x!), table!, { transB: true }) // [T, 7]
    const logProbs = g.logSoftmax(logits, 1)
    return g.reduceMean(g.where(labels!, logProbs, g.fill("f32", [1, 1], 0)), [0, 1], true)
  },
}

const table: OpInput = { ...floats([1, "t", 2], between(-0.7, 0.7)), smooth: false }
const inputs: { readonly [name: string]: { readonly [name: string]: OpInput } } = {
  mlp: { x: floats(["b", "t", 4]), ...weights({ gate: [6, 4], up: [6, 4], bias: [6], down: [4, 6] }) },
  attention: {
    x: floats(["b", "t", 8]),
    norm: floats([8], positive),
    ...weights({ q: [16, 8], qBias: [16], k: [8, 8], v: [8, 8], o: [8, 16] }),
    cos: table,
    sin: table,
    mask: { shape: ["b", 1, "t", "t"], fill: (random) => (random() < 0.2 ? -9 : 0), smooth: false },
  },
  convolution: {
    x: floats(["b", 3, "l"]),
    ...weights({ w: [6, 3, 3], depthwise: [6, 1, 3], bias: [6] }),
    gain: floats([6], awayFromZero),
  },
  "cross-entropy": {
    x: floats(["t", 4]),
    ids: { shape: ["t"], fill: below("n"), dtype: "i64" },
    table: floats([7, 4]),
    labels: { shape: ["t", 7], fill: bit, dtype: "bool" },
  },
}

const AN_OP: { readonly [name: string]: string } = {
  mlp: "silu",
  attention: "attention",
  convolution: "conv1d",
  "cross-entropy": "gather",
}

test.each(Object.keys(block))("%s", { timeout: 60_000 }, async (name) => {
  const sizes = sizesOf({ b: someSize, t: someSize, l: fc.constantFrom(3, 4, 7), n: fc.constantFrom(1, 7) })
  const sample = sizes.map((drawn) => ({ sizes: drawn, inputs: inputs[name]!, apply: block[name]! }))
  const opCase: OpCase = { sample, gradient: "finite", runs: 6, tolerance: 2e-5, twice: name === "mlp" }
  await checkOp(AN_OP[name]!, opCase)
})
