import { expect, test } from "vitest"
import { exportOnnx, Graph } from "../graph/index.ts"
import { f32, type HostTensor } from "../tensor/index.ts"
import { BackendError, CheckpointError } from "../util/index.ts"
import { openOnnxNodeModel } from "./onnx-model.node.ts"

function doubling(): Uint8Array {
  const g = new Graph("doubling")
  const x = g.input("x", "f32", ["N"])
  g.output("y", g.add(x, x))
  return exportOnnx(g, () => new Uint8Array())
}

test("runs a model by the names of its inputs and outputs", async () => {
  await using model = await openOnnxNodeModel(doubling(), "doubling")
  expect([model.inputNames, model.outputNames]).toEqual([["x"], ["y"]])
  const outputs = await model.run({ x: f32([3], [1, -2, 0.25]) })
  expect(outputs).toEqual({ y: f32([3], [2, -4, 0.5]) })
})

test.each([
  ["nothing", new Uint8Array()],
  ["text", new TextEncoder().encode("not a model at all")],
  ["half a model", doubling().subarray(0, 60)],
])("refuses %s", async (_, bytes) => {
  const failure = openOnnxNodeModel(bytes, "vad.onnx")
  await expect(failure).rejects.toThrow(CheckpointError)
  await expect(failure).rejects.toThrow("vad.onnx: expected an ONNX model, got: ")
})

test("says which model a bad run was of", async () => {
  const model = await openOnnxNodeModel(doubling(), "doubling")
  const wrong: [{ [name: string]: HostTensor }, string][] = [
    [{}, "doubling: failed to run: "],
    [{ x: f32([1, 1], [1]) }, "doubling: failed to run: "],
    [{ x: { dtype: "bf16", shape: [1], data: new Uint16Array(1) } }, "expected a dtype that ONNX Runtime takes"],
  ]
  for (const [feeds, message] of wrong) {
    await expect(model.run(feeds)).rejects.toThrow(BackendError)
    await expect(model.run(feeds)).rejects.toThrow(message)
  }
  await model[Symbol.asyncDispose]()
  await model[Symbol.asyncDispose]()
  await expect(model.run({ x: f32([1], [1]) })).rejects.toThrow("doubling: expected a live model, got one that was")
})
