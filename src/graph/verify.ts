/** @file The graph's specification, executable: checks every node again and names the first illegal one by its path. */
import { ShapeError } from "../util/index.ts"
import { type Dim, dimSymbols, shapesEqual, showShape } from "./dim.ts"
import type { Graph } from "./graph.ts"
import type { Node, Value } from "./node.ts"
import { modelOutputs } from "./onnx-emit.ts"
import { inferOutputs, isSource } from "./ops/table.ts"

/** Attributes that hold a dim which no output shows. */
const DIM_ATTRIBUTES = ["dim", "start", "end", "before", "after"]

/**
 * @throws ShapeError naming the first node whose inputs come later or from elsewhere, whose types are not those of its
 * op, whose source name is taken, or whose dims use a symbol that no input has; or an output that is no value of the
 * graph or has a source's name
 */
export function verify(graph: Graph): void {
  const computed = new Set<Value>()
  const names = new Map<string, Node>()
  const symbols = new Set<string>()
  for (const node of graph.nodes) {
    if (node.op !== "input") continue
    for (const dim of node.outputs[0]!.shape) if (/^[A-Za-z_]\w*$/.test(String(dim))) symbols.add(String(dim))
  }
  for (const node of graph.nodes) {
    const fail = (message: string): never => {
      throw new ShapeError(`${node.path}: ${message}`)
    }
    const requireKnown = (dim: Dim, place: string) => {
      for (const symbol of dimSymbols(dim)) {
        if (!symbols.has(symbol)) fail(`expected dims that an input has, got ${symbol} in ${place}`)
      }
    }
    for (const [i, input] of node.inputs.entries()) {
      if (!computed.has(input)) fail(`expected input ${i} to be computed earlier in this graph, got ${input.node.path}`)
    }
    const types = inferOutputs(node.op, node.inputs, node.attrs, fail)
    if (types.length !== node.outputs.length) fail(`expected ${types.length} outputs, got ${node.outputs.length}`)
    for (const [i, output] of node.outputs.entries()) {
      const { dtype, shape } = types[i]!
      if (output.dtype !== dtype || !shapesEqual(output.shape, shape)) {
        fail(`expected output ${i} ${dtype} ${showShape(shape)}, got ${output.dtype} ${showShape(output.shape)}`)
      }
      for (const dim of output.shape) requireKnown(dim, showShape(output.shape))
      computed.add(output)
    }
    for (const key of DIM_ATTRIBUTES) {
      const dim = (node.attrs as { readonly [key: string]: Dim })[key]
      if (dim !== undefined) requireKnown(dim, key)
    }
    if (isSource(node) && "name" in node.attrs) {
      const name = String(node.attrs.name)
      const other = names.get(name)
      if (other) fail(`expected names of inputs and weights to be unique, got ${name} of ${other.path} again`)
      names.set(name, node)
    }
  }
  for (const [name, value] of modelOutputs(graph)) {
    if (!computed.has(value))
      throw new ShapeError(`/${graph.name}: expected output ${name} to be a value of this graph`)
    const other = names.get(name)
    if (other)
      throw new ShapeError(
        `/${graph.name}: expected output ${name} to have a name of its own, got that of ${other.path}`,
      )
  }
}
