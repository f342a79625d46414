/** @file The walk of reverse-mode differentiation: sums, broadcasts, unused values, errors. Rules are tested per op. */
import { describe, expect, test } from "vitest"
import { f32, type HostTensor } from "../tensor/index.ts"
import { expandForGradient, gradients } from "./autodiff.ts"
import { evalShape } from "./dim.ts"
import { Graph } from "./graph.ts"
import type { Node, Value } from "./node.ts"
import { isSource, opOf } from "./ops/table.ts"
import { verify } from "./verify.ts"

/** Values of a graph whose symbols are all bound by hand. */
function evaluate(g: Graph, values: readonly Value[], feeds: { [name: string]: HostTensor }, bound = {}): number[][] {
  verify(g)
  const bindings = new Map(Object.entries(bound as { [name: string]: number }))
  const results = new Map<Value, HostTensor>()
  for (const node of g.nodes) {
    if (isSource(node)) {
      const { name, value } = node.attrs as { name?: string; value?: HostTensor }
      results.set(node.outputs[0]!, value ?? feeds[name!]!)
      continue
    }
    const types = node.outputs.map(({ dtype, shape }) => ({ dtype, shape: evalShape(shape, bindings) }))
    const inputs = node.inputs.map((input) => results.get(input)!)
    const outputs = opOf(node.op).evaluate(inputs, node.attrs, types, (dim) => evalShape([dim], bindings)[0]!)
    for (const [i, output] of node.outputs.entries()) results.set(output, outputs[i]!)
  }
  return values.map((value) => Array.from(results.get(value)!.data as Float32Array))
}

const x3 = { x: f32([3], [1, 2, 3]) }

describe("gradients", () => {
  test("of a value used twice add up", () => {
    const g = new Graph("model")
    const x = g.input("x", "f32", [3])
    const loss = g.reduceSum(g.add(g.mul(x, x), x), [0])
    const [dx] = gradients(g, loss, [x])
    expect(evaluate(g, [dx!], x3)).toEqual([[3, 5, 7]])
  })
  test("are summed over the dims that broadcasting repeated", () => {
    const g = new Graph("model")
    const x = g.input("x", "f32", ["B", 3])
    const gain = g.weight("gain", [1, 3])
    const bias = g.weight("bias", [1, 1])
    const loss = g.reduceSum(g.add(g.mul(x, gain), bias), [0, 1])
    const grads = gradients(g, loss, [x, gain, bias])
    expect(grads.map(({ shape }) => shape)).toEqual([
      ["B", 3],
      [1, 3],
      [1, 1],
    ])
    const feeds = { x: f32([2, 3], [1, 2, 3, 4, 5, 6]), gain: f32([1, 3], [7, 8, 9]), bias: f32([1, 1], [0]) }
    expect(evaluate(g, grads, feeds, { B: 2 })).toEqual([[7, 8, 9, 7, 8, 9], [5, 7, 9], [6]])
  })
  test("are zeros where the loss does not depend on the target, and ones for the loss itself", () => {
    const g = new Graph("model")
    const x = g.input("x", "f32", [3])
    const other = g.input("other", "f32", ["T", 2])
    const loss = g.reduceSum(x, [0])
    const [dOther, dLoss] = gradients(g, loss, [other, loss])
    const feeds = { ...x3, other: f32([2, 2], [1, 2, 3, 4]) }
    expect(evaluate(g, [dOther!, dLoss!], feeds, { T: 2 })).toEqual([[0, 0, 0, 0], [1]])
  })
  test("of a target inside the graph end there", () => {
    const g = new Graph("model")
    const x = g.input("x", "f32", [3])
    const hidden = g.exp(x)
    const loss = g.reduceSum(g.mul(hidden, hidden), [0])
    const [dHidden] = gradients(g, loss, [hidden])
    const got = evaluate(g, [dHidden!], { x: f32([3], [0, 0, 0]) })
    expect(got).toEqual([[2, 2, 2]])
  })
  test("pass no step op, and mind none on the way of other values", () => {
    const g = new Graph("model")
    const x = g.input("x", "f32", [3])
    const steps = g.add(g.round(x), g.cast(g.greater(x, g.fill("f32", [1], 2)), "f32"))
    const [dx] = gradients(g, g.reduceSum(g.mul(x, steps), [0]), [x])
    expect(evaluate(g, [dx!], x3)).toEqual([[1, 2, 4]])
  })
  test("are nodes of the graph, under its path", () => {
    const g = new Graph("model")
    const x = g.input("x", "f32", [3])
    const before = g.nodes.length
    gradients(g, g.reduceSum(g.exp(x), [0]), [x])
    const added = g.nodes.slice(before + 2)
    expect(added.length).toBeGreaterThan(0)
    expect(added.every(({ path }) => path.startsWith("/model/gradients/"))).toBe(true)
  })
})

describe("what has no gradient", () => {
  test("a loss of several elements", () => {
    const g = new Graph("model")
    const x = g.input("x", "f32", ["T"])
    expect(() => gradients(g, x, [x])).toThrow("gradients: expected a loss of one element, got f32 [T] (reduce it)")
  })
  test("a loss of integers", () => {
    const g = new Graph("model")
    const x = g.input("x", "i64", [1])
    expect(() => gradients(g, x, [x])).toThrow("gradients: expected a loss of one element, got i64 [1] (reduce it)")
  })
  test("a fused op", () => {
    const g = new Graph("model")
    const x = g.input("x", "f32", [3])
    const y = g.scope("mlp", () => g.apply("quickGelu", [x], { alpha: 1 }))
    expect(() => gradients(g, g.reduceSum(y, [0]), [x])).toThrow(
      "/model/mlp/quickGelu: expected an op with a gradient, got quickGelu (detach it, or expand the graph first)",
    )
  })
  test("a composite op before it is expanded", () => {
    const g = new Graph("model")
    const x = g.input("x", "f32", [3])
    g.output("loss", g.reduceSum(g.silu(x), [0]))
    expect(() => gradients(g, g.outputs.get("loss")!, [x])).toThrow(
      "/model/silu: expected an op with a gradient, got silu (detach it, or expand the graph first)",
    )
    const expanded = expandForGradient(g)
    const input = expanded.nodes.find((node): node is Node<"input"> => node.op === "input")!.outputs[0]!
    const [dx] = gradients(expanded, expanded.outputs.get("loss")!, [input])
    expect(evaluate(expanded, [dx!], { x: f32([3], [0, 0, 0]) })).toEqual([[0.5, 0.5, 0.5]])
  })
  test("but a fused op off the path is left alone", () => {
    const g = new Graph("model")
    const x = g.input("x", "f32", [3])
    const fixed = g.apply("quickGelu", [g.input("y", "f32", [3])], { alpha: 1 })
    const [dx] = gradients(g, g.reduceSum(g.mul(x, fixed), [0]), [x])
    expect(evaluate(g, [dx!], { ...x3, y: f32([3], [0, 0, 0]) })).toEqual([[0, 0, 0]])
  })
})

test("expanding for the gradient leaves no composite op", () => {
  const g = new Graph("model")
  const x = g.input("x", "f32", ["B", "T", 8])
  const table = g.input("table", "f32", [1, "T", 2])
  const q = g.rotary(g.silu(g.gelu(g.geluTanh(x))), table, table, 2)
  const normed = g.layerNorm(g.rmsNorm(q, g.weight("a", [8]), 1e-5), g.weight("b", [8]), g.weight("c", [8]), 1e-5)
  g.output("y", g.attention(normed, normed, normed, { heads: 2, kvHeads: 2, scale: 1 }))
  const expanded = expandForGradient(g)
  verify(expanded)
  expect(expanded.nodes.filter(({ op }) => opOf(op).gradient === "expand")).toEqual([])
})
