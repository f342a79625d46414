/**
 * @file Rewriting: a graph is copied node by node, and each rule may put other nodes in a node's place. Expansion,
 * autodiff and every lowering are this one walk.
 */
import { Graph } from "./graph.ts"
import type { Node, Value } from "./node.ts"
import { modelOutputs } from "./onnx-emit.ts"
import { isSource, opOf } from "./ops/table.ts"

/** What a rule may look up of the old graph. */
export type RewriteContext = { readonly users: (value: Value) => readonly Node[] }

/** Returns the replacements of the node's outputs, or undefined to leave it to the next rule. Inputs are already new. */
export type RewriteRule = (
  g: Graph,
  node: Node,
  inputs: readonly Value[],
  context: RewriteContext,
) => readonly Value[] | undefined

/** Values needed by the outputs; what nothing needs is dropped by a rewrite. */
function liveNodes(graph: Graph): Set<Node> {
  const live = new Set<Node>()
  const pending = [...modelOutputs(graph).values()].map((value) => value.node)
  for (const slot of graph.cacheSlots) pending.push(slot.keys.node, slot.values.node)
  for (let node = pending.pop(); node; node = pending.pop()) {
    if (live.has(node)) continue
    live.add(node)
    for (const input of node.inputs) pending.push(input.node)
  }
  return live
}

/** Copies a graph, giving each node to the first rule that takes it. Inputs are kept even when unused. */
export function rewrite(graph: Graph, rules: readonly RewriteRule[]): Graph {
  const result = new Graph(graph.name)
  const replaced = new Map<Value, Value>()
  const live = liveNodes(graph)
  const users = new Map<Value, Node[]>()
  for (const node of live) for (const input of node.inputs) users.set(input, [...(users.get(input) ?? []), node])
  const context: RewriteContext = { users: (value) => users.get(value) ?? [] }
  const renamed = (value: Value): Value => {
    const found = replaced.get(value)
    if (!found) throw new Error(`internal: ${value.node.path} is used before it is computed`)
    return found
  }
  for (const node of graph.nodes) {
    if (!live.has(node) && node.op !== "input") continue
    const inputs = node.inputs.map(renamed)
    result.scope(node.path.slice(graph.name.length + 2, node.path.lastIndexOf("/")), () => {
      let outputs: readonly Value[] | undefined
      for (const rule of rules) {
        outputs = rule(result, node, inputs, context)
        if (outputs) break
      }
      outputs ??= copyNode(result, node, inputs)
      for (const [i, output] of node.outputs.entries()) replaced.set(output, outputs[i]!)
    })
  }
  for (const [name, value] of graph.outputs) result.output(name, renamed(value))
  for (const slot of graph.cacheSlots) {
    result.cacheSlots.push({
      ...slot,
      keys: renamed(slot.keys),
      values: renamed(slot.values),
      newKeys: renamed(slot.newKeys),
      newValues: renamed(slot.newValues),
      ...(slot.present && { present: { keys: renamed(slot.present.keys), values: renamed(slot.present.values) } }),
    })
  }
  return result
}

function copyNode(g: Graph, node: Node, inputs: readonly Value[]): readonly Value[] {
  if (node.op === "input") {
    const { name, dtype, shape } = node.attrs as Node<"input">["attrs"]
    return [g.input(name, dtype, shape)]
  }
  if (node.op === "weight") {
    const { name, dtype, shape } = node.attrs as Node<"weight">["attrs"]
    return [g.weight(name, shape, dtype)]
  }
  return g.applyAll(node.op, inputs, node.attrs)
}

/** Replaces composite ops that have no ONNX form by their expansions, until none is left. */
export const expandForOnnx: RewriteRule = (g, node, inputs) => {
  if (isSource(node)) return undefined
  const entry = opOf(node.op)
  if (entry.onnx !== "expand") return undefined
  return expandDeep(g, node, inputs, (inner) => opOf(inner.op).onnx === "expand")
}

/** Builds a node's expansion; composites inside it that `again` names are expanded in turn. */
export function expandDeep(
  g: Graph,
  node: Node,
  inputs: readonly Value[],
  again: (node: Node) => boolean,
): readonly Value[] {
  const entry = opOf(node.op)
  if (!entry.expand) throw new Error(`internal: ${node.op} has no expansion`)
  const before = g.nodes.length
  const outputs = entry.expand(g, inputs, node.attrs)
  const added = g.nodes.slice(before)
  if (!added.some(again)) return outputs
  // Rebuild the added nodes with the inner composites expanded.
  g.nodes.length = before
  const replaced = new Map<Value, Value>()
  const renamed = (value: Value) => replaced.get(value) ?? value
  for (const inner of added) {
    const innerInputs = inner.inputs.map(renamed)
    const made = again(inner)
      ? expandDeep(g, inner, innerInputs, again)
      : g.applyAll(inner.op, innerInputs, inner.attrs)
    for (const [i, output] of inner.outputs.entries()) replaced.set(output, made[i]!)
  }
  return outputs.map(renamed)
}
