/**
 * @file The reference interpreter: runs a graph node by node with the op table's evaluations. Slow, obvious, without
 * native code; it decides what every other backend must compute.
 */
import {
  type DimBindings,
  evalDim,
  evalShape,
  type Graph,
  isSource,
  modelOutputs,
  type Node,
  opOf,
  type Value,
} from "../graph/index.ts"
import type { HostTensor } from "../tensor/index.ts"
import { ShapeError } from "../util/index.ts"
import type { Feeds } from "./executor.ts"

/**
 * Binds the symbols of the graph's inputs to the sizes of the feeds.
 * @throws ShapeError when a feed is missing, unknown, or of another dtype, rank or size
 */
export function bindFeeds(graph: Graph, feeds: Feeds): Map<string, number> {
  const bindings = new Map<string, number>()
  const inputs = new Map<string, Value>()
  for (const node of graph.nodes) {
    if (node.op === "input") inputs.set((node.attrs as Node<"input">["attrs"]).name, node.outputs[0]!)
  }
  for (const name of Object.keys(feeds)) {
    if (!inputs.has(name))
      throw new ShapeError(`${graph.name}: expected feeds ${[...inputs.keys()].join(", ")}, got ${name}`)
  }
  const composite: [string, Value, HostTensor][] = []
  for (const [name, input] of inputs) {
    const feed = feeds[name]
    const wanted = `${input.dtype} [${input.shape.join(", ")}]`
    if (!feed) throw new ShapeError(`${graph.name}: expected a feed ${name} ${wanted}, got none`)
    const got = `${feed.dtype} [${feed.shape.join(", ")}]`
    const fail = (): never => {
      throw new ShapeError(`${graph.name}: expected ${name} ${wanted}, got ${got}`)
    }
    if (feed.dtype !== input.dtype || feed.shape.length !== input.shape.length) fail()
    for (const [axis, dim] of input.shape.entries()) {
      const size = feed.shape[axis]!
      if (typeof dim === "number" ? dim !== size : (bindings.get(dim) ?? size) !== size) fail()
      if (typeof dim === "string") {
        if (/^\w+$/.test(dim)) bindings.set(dim, size)
        else composite.push([name, input, feed])
      }
    }
  }
  for (const [name, input, feed] of composite) {
    const wanted = evalShape(input.shape, bindings)
    if (wanted.some((dim, axis) => dim !== feed.shape[axis])) {
      throw new ShapeError(`${graph.name}: expected ${name} [${wanted.join(", ")}], got [${feed.shape.join(", ")}]`)
    }
  }
  return bindings
}

/** Runs a graph, model graphs and lowered ones alike. Outputs include each cache slot's new rows. */
export function interpret(graph: Graph, feeds: Feeds, weights: (name: string) => HostTensor): Feeds {
  const bindings: DimBindings = bindFeeds(graph, feeds)
  const bind = (dim: number | string) => evalDim(dim, bindings)
  const results = new Map<Value, HostTensor>()
  for (const node of graph.nodes) {
    if (isSource(node)) {
      results.set(node.outputs[0]!, sourceTensor(node, feeds, weights))
      continue
    }
    const inputs = node.inputs.map((input) => results.get(input)!)
    const types = node.outputs.map(({ dtype, shape }) => ({ dtype, shape: evalShape(shape, bindings) }))
    const outputs = opOf(node.op).evaluate(inputs, node.attrs, types, bind)
    for (const [i, output] of node.outputs.entries()) results.set(output, outputs[i]!)
  }
  return Object.fromEntries([...modelOutputs(graph)].map(([name, value]) => [name, results.get(value)!]))
}

function sourceTensor(node: Node, feeds: Feeds, weights: (name: string) => HostTensor): HostTensor {
  if (node.op === "input") return feeds[(node.attrs as Node<"input">["attrs"]).name]!
  if (node.op === "constant") return (node.attrs as Node<"constant">["attrs"]).value
  return weights((node.attrs as Node<"weight">["attrs"]).name)
}
