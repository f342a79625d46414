/** @file How a graph becomes a model: names, dims, initializers, opsets. Results are compared in test/ops. */
import { expect, test } from "vitest"
import { f32 } from "../tensor/index.ts"
import { Graph } from "./graph.ts"
import { lowerFor } from "./lowering.ts"
import { exportOnnx, type WeightData } from "./onnx-emit.ts"
import { intsOf, type Message, messageOf, messagesOf, readMessage, textOf, textsOf } from "./wire.test-util.ts"

const noWeights: WeightData = (name) => {
  throw new Error(`${name} was asked for`)
}

function emitted(g: Graph, weights: WeightData = noWeights) {
  const model = readMessage(exportOnnx(g, weights))
  const graph = messageOf(model, 7)
  return {
    domains: messagesOf(model, 8).map((opset) => textOf(opset, 1) ?? ""),
    nodes: messagesOf(graph, 1).map((node) => ({
      name: textOf(node, 3)!,
      type: textOf(node, 4)!,
      inputs: textsOf(node, 1),
      outputs: textsOf(node, 2),
    })),
    initializers: new Map(messagesOf(graph, 5).map((tensor) => [textOf(tensor, 8)!, tensor])),
    inputs: messagesOf(graph, 11).map((info) => [textOf(info, 1), dimsOf(info)]),
    outputs: messagesOf(graph, 12).map((info) => [textOf(info, 1), dimsOf(info)]),
  }
}

function dimsOf(info: Message) {
  const shape = messageOf(messageOf(messageOf(info, 2), 1), 2)
  return messagesOf(shape, 1).map((dim) => textOf(dim, 2) ?? intsOf(dim, 1)[0])
}

test("nodes and values are named by their paths, each once", () => {
  const g = new Graph("model")
  const x = g.input("x", "f32", ["B", 2])
  const y = g.scope("layers.0", () => g.exp(g.exp(x)))
  g.output("y", y)
  const { nodes, inputs, outputs } = emitted(g)
  expect(nodes).toEqual([
    { name: "/model/layers.0/Exp", type: "Exp", inputs: ["x"], outputs: ["/model/layers.0/exp/output_0"] },
    {
      name: "/model/layers.0/Exp_1",
      type: "Exp",
      inputs: ["/model/layers.0/exp/output_0"],
      outputs: ["y"],
    },
  ])
  expect(inputs).toEqual([["x", ["B", 2]]])
  expect(outputs).toEqual([["y", ["B", 2]]])
})

test("an input or a weight may be an output, and a value may be two", () => {
  const g = new Graph("model")
  const x = g.input("x", "f32", [2])
  for (const name of ["y", "z"]) g.output(name, x)
  g.output("w2", g.weight("w", [2]))
  const sum = g.add(x, x)
  for (const name of ["s", "t"]) g.output(name, sum)
  const { nodes } = emitted(g, () => new Uint8Array(8))
  expect(nodes.map(({ type, inputs, outputs }) => [type, inputs, outputs])).toEqual([
    ["Add", ["x", "x"], ["s"]],
    ["Identity", ["x"], ["y"]],
    ["Identity", ["x"], ["z"]],
    ["Identity", ["w"], ["w2"]],
    ["Identity", ["s"], ["t"]],
  ])
})

test("a symbolic dim is computed once, from the shape of the input that has it", () => {
  const g = new Graph("model")
  const x = g.input("x", "f32", ["B", "T", 4])
  for (const name of ["a", "b"]) g.output(name, g.reshape(x, ["4*B*T"]))
  g.output("half", g.dimValue("floor((T + 1)/2)", "i64", 0))
  const types = emitted(g).nodes.map(({ type }) => type)
  const count = (type: string) => types.filter((one) => one === type).length
  expect(["Shape", "Mul", "Reshape", "Div"].map(count)).toEqual([2, 2, 3, 1])
})

test("a dim of no symbols is a number, however it was written", () => {
  const g = new Graph("model")
  g.output("y", g.slice(g.input("x", "f32", ["T"]), 0, "T - T", "T - T + 0"))
  expect([...emitted(g).initializers.keys()]).toEqual(["/constant/i64/[0]"])
})

test("a dim that no input has is a fault of ours", () => {
  const g = new Graph("model")
  g.output("y", g.dimValue("Q", "i64", 0))
  expect(() => emitted(g)).toThrow("internal: no input of the graph has the dim Q")
})

test("equal scalars and shapes are stored once; -0 is not 0", () => {
  const g = new Graph("model")
  const x = g.input("x", "f32", [2, 3])
  const flat = g.reshape(g.reshape(x, [6]), [2, 3])
  g.output("y", g.reshape(flat, [6]))
  for (const alpha of [0.5, 0.5, 0, -0]) g.output(`m${g.outputs.size}`, g.matmul(x, x, { transB: true, alpha }))
  const { initializers } = emitted(g)
  expect([...initializers.keys()].filter((name) => name.startsWith("/constant/"))).toEqual([
    "/constant/i64/[6]",
    "/constant/i64/[2,3]",
    "/constant/f32/0.5",
    "/constant/f32/0",
    "/constant/f32/-0",
  ])
})

test("weights keep their names and stay in their file", () => {
  const g = new Graph("model")
  const w = g.weight("llm.w", [2, 2])
  g.output("y", g.add(w, g.add(w, g.constant(f32([1, 2], [1, 2])))))
  const { initializers } = emitted(g, () => ({ location: "weights.bin", offset: 64, sizeBytes: 16 }))
  expect([...initializers.keys()]).toEqual(["llm.w", "/model/constant/output_0"])
  const entries = messagesOf(initializers.get("llm.w")!, 13).map((entry) => [textOf(entry, 1), textOf(entry, 2)])
  expect(entries).toEqual([
    ["location", "weights.bin"],
    ["offset", "64"],
    ["length", "16"],
  ])
  expect(
    new Float32Array((initializers.get("/model/constant/output_0")!.get(9)![0] as Uint8Array).slice().buffer),
  ).toEqual(Float32Array.of(1, 2))
})

test("cache slots are inputs, and their new rows outputs", () => {
  const g = new Graph("model")
  const x = g.input("x", "f32", ["B", "T", 4])
  const mask = g.input("mask", "f32", [1, 1, "T", "S + T"])
  g.output("y", g.cachedAttention("layers.0", [x, x, x], { heads: 2, kvHeads: 2, scale: 1 }, mask))
  const { inputs, outputs } = emitted(lowerFor(g, { target: "portable" }))
  expect(inputs).toEqual([
    ["x", ["B", "T", 4]],
    ["mask", [1, 1, "T", "S + T"]],
    ["layers.0.keys", ["B", 2, "S", 2]],
    ["layers.0.values", ["B", 2, 2, "S"]],
  ])
  expect(outputs.map(([name]) => name)).toEqual(["y", "layers.0.newKeys", "layers.0.newValues"])
})

test("a portable model names ONNX's domain alone, one with fused kernels both", () => {
  const g = new Graph("model")
  g.output("y", g.silu(g.linear(g.input("x", "f32", ["B", 4]), g.weight("w", [4, 4]))))
  const weights = () => new Uint8Array(64)
  expect(emitted(lowerFor(g, { target: "portable" }), weights).domains).toEqual([""])
  expect(emitted(lowerFor(g, { target: "cpu" }), weights).domains).toEqual(["", "com.microsoft"])
})

test("a composite op must be expanded before", () => {
  const g = new Graph("model")
  g.output("y", g.silu(g.input("x", "f32", [2])))
  expect(() => emitted(g)).toThrow("internal: /model/silu was not expanded")
})
