/** @file The fused kernels of the cpu target: where they appear, where they must not, and that nothing else changes. */
import { describe, expect, test } from "vitest"
import { Graph, lowerFor, type OpName, type Shape, type Value } from "../../src/graph/index.ts"
import { f32, type HostTensor, sizeOf } from "../../src/tensor/index.ts"
import { expectOrtAgrees } from "./harness.ts"

const noise = (shape: readonly number[], seed: number) =>
  f32(
    shape,
    Float32Array.from({ length: sizeOf(shape) }, (_, i) => Math.sin(i * i * 0.71 + seed)),
  )

/** Lowers for the cpu, compares with the reference, and counts ops. */
async function lowered(build: (g: Graph) => void): Promise<(op: OpName) => number> {
  const g = new Graph("model")
  build(g)
  const tensors: { [name: string]: HostTensor } = {}
  for (const { op, attrs, outputs } of g.nodes) {
    const { name } = attrs as { name?: string }
    if (op === "input" || op === "weight") tensors[name!] = noise(outputs[0]!.shape as number[], name!.length)
  }
  await expectOrtAgrees(g, "cpu", [tensors], 1e-5)
  const { nodes } = lowerFor(g, { target: "cpu" })
  return (op) => nodes.filter((node) => node.op === op).length
}

describe("a sum and its norm become one kernel", () => {
  const sum = (g: Graph, ...shape: Shape) => g.add(g.input("x", "f32", shape), g.input("skip", "f32", shape))
  const norm = (g: Graph, x: Value, name = "gain") => g.rmsNorm(x, g.weight(name, [8]), 1e-5)

  test("when the sum is used again, as in a residual stream", async () => {
    const count = await lowered((g) => {
      const residual = sum(g, 2, 3, 8)
      const hidden = g.linear(norm(g, residual), g.weight("w", [8, 8]))
      const next = g.add(residual, hidden)
      g.output("y", g.linear(norm(g, next, "next"), g.weight("w2", [8, 8])))
      g.output("residual", next)
    })
    expect([count("skipRmsNorm"), count("add"), count("sqrt")]).toEqual([2, 0, 0])
  })
  test("when only the norm is used", async () => {
    const count = await lowered((g) => g.output("y", norm(g, sum(g, 6, 8))))
    expect([count("skipRmsNorm"), count("add")]).toEqual([1, 0])
  })
  test("but not for a sum with broadcasting", async () => {
    const count = await lowered((g) =>
      g.output("y", norm(g, g.add(g.input("x", "f32", [2, 3, 8]), g.input("bias", "f32", [1, 1, 8])))),
    )
    expect(count("skipRmsNorm")).toBe(0)
  })
  test.each([[[8]], [[2, 1, 3, 8]]])("at a rank that the kernel does not take: %j", async (shape) => {
    const count = await lowered((g) => {
      const both = sum(g, ...shape)
      g.output("y", norm(g, both))
      g.output("sum", both)
    })
    expect(count("skipRmsNorm")).toBe(1)
  })
  test("but not for two norms of one sum", async () => {
    const count = await lowered((g) => {
      const both = sum(g, 2, 8)
      g.output("y", norm(g, both))
      g.output("z", norm(g, both, "other"))
    })
    expect(count("skipRmsNorm")).toBe(0)
  })
  test("but not with a gain that is computed", async () => {
    const count = await lowered((g) => g.output("y", g.rmsNorm(sum(g, 2, 8), g.exp(g.weight("gain", [8])), 1e-5)))
    expect(count("skipRmsNorm")).toBe(0)
  })
  test("and a norm of the norm is another one", async () => {
    const count = await lowered((g) => g.output("y", norm(g, norm(g, sum(g, 2, 8)), "again")))
    expect([count("skipRmsNorm"), count("fusedRmsNorm"), count("sqrt")]).toEqual([1, 1, 0])
  })
  test.each([[[8]], [[6, 8]], [[2, 1, 3, 8]]])("a norm alone is one as well: %j", async (shape) => {
    const count = await lowered((g) => g.output("y", norm(g, g.input("x", "f32", shape))))
    expect([count("skipRmsNorm"), count("fusedRmsNorm"), count("sqrt")]).toEqual([0, 1, 0])
  })
})

describe("a tower's block", () => {
  const layer = (g: Graph, x: Value, name: string, inner: number, outer: number) =>
    g.linear(x, g.weight(`${name}.w`, [outer, inner]), g.weight(`${name}.b`, [outer]))
  const norm = (g: Graph, x: Value, name: string) =>
    g.layerNorm(x, g.weight(`${name}.g`, [8]), g.weight(`${name}.o`, [8]), 1e-5)

  test("has one kernel each for attention, and for bias and activation", async () => {
    const count = await lowered((g) => {
      const x = g.input("x", "f32", [2, 5, 8])
      const h = norm(g, x, "n1")
      const [q, k, v] = ["q", "k", "v"].map((name) => layer(g, h, name, 8, 8))
      const attended = g.attention(q!, k!, v!, { heads: 2, kvHeads: 2, scale: 0.5 })
      const y = g.add(x, layer(g, attended, "out", 8, 8))
      const wide = g.geluTanh(layer(g, norm(g, y, "n2"), "fc1", 8, 24))
      const z = g.add(y, layer(g, g.gelu(layer(g, wide, "fc2", 24, 8)), "fc3", 8, 8))
      g.output("y", z)
      g.output("normed", norm(g, z, "n3"))
    })
    expect([count("multiHeadAttention"), count("biasGelu"), count("layerNorm")]).toEqual([1, 2, 3])
    expect([count("softmax"), count("gelu"), count("geluTanh")]).toEqual([0, 0, 0])
  })

  test("keeps sums that others read", async () => {
    const count = await lowered((g) => {
      const inner = layer(g, g.input("x", "f32", [2, 5, 8]), "fc", 8, 8)
      g.output("a", g.gelu(inner))
      g.output("b", g.exp(inner))
    })
    expect([count("biasGelu"), count("gelu")]).toEqual([0, 1])
  })

  test("attention with a mask or with shared keys is expanded", async () => {
    const count = await lowered((g) => {
      const [q, k, v] = ["q", "k", "v"].map((name) => g.input(name, "f32", [2, 3, 8]))
      const few = g.slice(k!, 2, 0, 4)
      const mask = g.input("mask", "f32", [1, 1, 1, 3])
      g.output("masked", g.attention(q!, k!, v!, { heads: 2, kvHeads: 2, scale: 0.5 }, mask))
      g.output("shared", g.attention(q!, few, few, { heads: 2, kvHeads: 1, scale: 0.5 }))
    })
    expect([count("multiHeadAttention"), count("softmax")]).toEqual([0, 2])
  })
})

describe("factors of balanced inputs", () => {
  const factors = (g: Graph) => g.reshape(g.weight("factors", [8]), [1, 1, 8])
  test.each(["rmsNorm", "layerNorm"] as const)("go into the gain of a %s that nothing else reads", async (op) => {
    const lines = (g: Graph) => (op === "rmsNorm" ? ["gain"] : ["gain", "offset"]).map((name) => g.weight(name, [8]))
    const build = (extra: boolean) => (g: Graph) => {
      const normed = g.apply(op, [g.add(g.input("x", "f32", [2, 3, 8]), g.input("y", "f32", [2, 3, 8])), ...lines(g)], {
        epsilon: 1e-5,
      })
      g.output("z", g.mul(normed, factors(g)))
      if (extra) g.output("e", g.exp(normed))
    }
    const alone = await lowered(build(false))
    expect(alone("mul")).toBe(op === "rmsNorm" ? 1 : 2) // of weights
    expect(alone(op === "rmsNorm" ? "skipRmsNorm" : op)).toBe(1)
    const both = await lowered(build(true))
    expect(both("mul")).toBe(1)
    expect(both(op === "rmsNorm" ? "skipRmsNorm" : op)).toBe(1)
  })
})

describe("linear layers multiply by the weight as it is stored", () => {
  test.each([2, 3, 4])("at rank %i, with and without a bias", async (rank) => {
    const count = await lowered((g) => {
      const x = g.input("x", "f32", [3, 2, 1, 4].slice(4 - rank))
      const hidden = g.linear(x, g.weight("w", [6, 4]), g.weight("b", [6]))
      g.output("y", g.linear(hidden, g.weight("v", [5, 6])))
    })
    expect([count("fusedMatMul"), count("linear"), count("transpose")]).toEqual([2, 0, 0])
  })
})

describe("rotary embedding is one kernel", () => {
  const rotated = (batch: number) => (g: Graph) => {
    const tables = ["cos", "sin"].map((name) => g.input(name, "f32", [batch, 3, 2]))
    g.output("y", g.rotary(g.input("x", "f32", [2, 3, 8]), tables[0]!, tables[1]!, 2))
  }
  test("for one table of positions", async () => {
    expect((await lowered(rotated(1)))("rotaryEmbedding")).toBe(1)
  })
  test("but not for a table per row of the batch", async () => {
    expect((await lowered(rotated(2)))("rotaryEmbedding")).toBe(0)
  })
})

test("products, gates and attention use the fused kernels", async () => {
  const count = await lowered((g) => {
    const [q, k, v] = ["q", "k", "v"].map((name) => g.input(name, "f32", [2, 3, 8]))
    const mask = g.input("attention mask", "f32", [1, 1, 3, 3])
    const attended = g.attention(g.silu(q!), k!, v!, { heads: 4, kvHeads: 4, scale: 0.5 }, mask)
    g.output("y", attended)
  })
  expect([count("quickGelu"), count("fusedMatMul"), count("matmul"), count("attention")]).toEqual([1, 2, 0, 0])
})

test("what nothing needs is dropped, except inputs", async () => {
  const count = await lowered((g) => {
    const x = g.input("x", "f32", [2])
    g.input("unused", "f32", [3])
    g.exp(g.weight("w", [4]))
    g.output("y", g.neg(x))
  })
  expect([count("exp"), count("weight"), count("input")]).toEqual([0, 0, 2])
})

test("nodes keep their paths, however often a graph is rewritten", () => {
  const g = new Graph("model")
  const x = g.input("x", "f32", ["B", 8])
  g.output(
    "y",
    g.scope("mlp", () => g.silu(g.linear(g.rmsNorm(x, g.weight("gain", [8]), 1e-5), g.weight("w", [8, 8])))),
  )
  g.output("z", g.layerNorm(x, g.weight("a", [8]), g.weight("b", [8]), 1e-5))
  const paths = lowerFor(g, { target: "cpu" }).nodes.map(({ path }) => path)
  for (const path of paths) expect(path).toMatch(/^\/model\/(mlp\/)?\w+$/)
  expect(paths).toContain("/model/mlp/fusedRmsNorm")
  expect(paths.some((path) => /^\/model\/\w+$/.test(path))).toBe(true)
})
