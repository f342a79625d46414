/** @file Each kind of illegal node is named by its path. */
import { describe, expect, test } from "vitest"
import { f32 } from "../tensor/index.ts"
import { Graph } from "./graph.ts"
import type { Node, Value } from "./node.ts"
import { verify } from "./verify.ts"

function small(): { g: Graph; x: Value; y: Value } {
  const g = new Graph("model")
  const x = g.input("x", "f32", ["B", 4])
  const y = g.scope("layers.0", () => g.exp(x))
  g.output("y", y)
  return { g, x, y }
}

/** Replaces the last node by one with other fields: what a faulty rewrite would leave behind. */
function spoil(g: Graph, change: (node: Node) => Partial<{ -readonly [K in keyof Node]: Node[K] }>): void {
  const node = g.nodes.pop()!
  g.nodes.push(Object.assign(node, change(node)))
}

test("a graph as the builder makes it is legal", () => {
  const { g } = small()
  expect(() => verify(g)).not.toThrow()
})

describe("illegal", () => {
  test("an input that comes later", () => {
    const { g } = small()
    g.nodes.reverse()
    expect(() => verify(g)).toThrow(
      "/model/layers.0/exp: expected input 0 to be computed earlier in this graph, got /model/input",
    )
  })
  test("an input of another graph", () => {
    const { g } = small()
    const other = new Graph("other").input("x", "f32", ["B", 4])
    spoil(g, () => ({ inputs: [other] }))
    expect(() => verify(g)).toThrow(
      "/model/layers.0/exp: expected input 0 to be computed earlier in this graph, got /other/input",
    )
  })
  test("too many inputs", () => {
    const { g, x } = small()
    spoil(g, () => ({ inputs: [x, x] }))
    expect(() => verify(g)).toThrow("/model/layers.0/exp: expected 1 inputs, got 2")
  })
  test("inputs that the op does not take", () => {
    const { g, x } = small()
    spoil(g, () => ({ op: "not", inputs: [x] }))
    expect(() => verify(g)).toThrow("/model/layers.0/exp: expected a number type that the op accepts, got f32")
  })
  test("another shape than the op's", () => {
    const { g, y } = small()
    Object.assign(y, { shape: ["B", 5] })
    expect(() => verify(g)).toThrow("/model/layers.0/exp: expected output 0 f32 [B, 4], got f32 [B, 5]")
  })
  test("another dtype than the op's", () => {
    const { g, y } = small()
    Object.assign(y, { dtype: "i64" })
    expect(() => verify(g)).toThrow("/model/layers.0/exp: expected output 0 f32 [B, 4], got i64 [B, 4]")
  })
  test("another number of outputs than the op's", () => {
    const { g, y } = small()
    spoil(g, () => ({ outputs: [y, y] }))
    expect(() => verify(g)).toThrow("/model/layers.0/exp: expected 1 outputs, got 2")
  })
  test("a dim that no input has", () => {
    const { g, x } = small()
    g.expand(g.reshape(x, [1, "4*B"]), ["Q", "4*B"])
    expect(() => verify(g)).toThrow("/model/expand: expected dims that an input has, got Q in [Q, 4*B]")
  })
  test("an attribute with a dim that no input has", () => {
    const { g, x } = small()
    g.slice(x, 0, "Q", "Q + 1")
    expect(() => verify(g)).toThrow("/model/slice: expected dims that an input has, got Q in start")
    const other = small()
    other.g.dimValue("2*Q", "f32", 1)
    expect(() => verify(other.g)).toThrow("/model/dimValue: expected dims that an input has, got Q in dim")
  })
  test("an input dim that only an expression has", () => {
    const g = new Graph("model")
    g.input("x", "f32", ["B + 1"])
    expect(() => verify(g)).toThrow("/model/input: expected dims that an input has, got B in [B + 1]")
  })
  test("a name that is taken", () => {
    const { g } = small()
    spoil(g, ({ outputs }) => ({
      op: "weight",
      inputs: [],
      attrs: { name: "x", dtype: "f32", shape: ["B", 4] },
      outputs,
    }))
    expect(() => verify(g)).toThrow(
      "/model/layers.0/exp: expected names of inputs and weights to be unique, got x of /model/input again",
    )
  })
  test("an output with the name of an input", () => {
    const { g, x } = small()
    g.output("x", g.neg(x))
    expect(() => verify(g)).toThrow("/model: expected output x to have a name of its own, got that of /model/input")
  })
  test("an output of another graph", () => {
    const { g } = small()
    g.output("z", new Graph("other").constant(f32([1], [1])))
    expect(() => verify(g)).toThrow("/model: expected output z to be a value of this graph")
  })
})
