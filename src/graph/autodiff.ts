/**
 * @file Reverse-mode differentiation: one walk over the op table, from the loss back. Gradients are ordinary nodes of
 * the same graph; the walk, not the rules, sums over broadcast dims.
 */
import { isFloat } from "../tensor/index.ts"
import { ShapeError } from "../util/index.ts"
import { dimsEqual, shapesEqual, showShape } from "./dim.ts"
import type { Graph } from "./graph.ts"
import type { Node, Value } from "./node.ts"
import { isSource, opOf } from "./ops/table.ts"
import { expandDeep, rewrite } from "./rewrite.ts"

/** A copy of the graph in which every op has a gradient rule of its own (or none). */
export function expandForGradient(graph: Graph): Graph {
  const composite = (node: Node) => opOf(node.op).gradient === "expand"
  return rewrite(graph, [(g, node, inputs) => (composite(node) ? expandDeep(g, node, inputs, composite) : undefined)])
}

/** Sums a gradient over the dims that broadcasting repeated. */
function unbroadcast(g: Graph, grad: Value, like: Value): Value {
  const axes = like.shape.flatMap((dim, axis) => (dim === 1 && !dimsEqual(grad.shape[axis]!, 1) ? [axis] : []))
  return axes.length === 0 ? grad : g.reduceSum(grad, axes, true)
}

/**
 * Adds the gradients of a scalar to its graph.
 * @param graph must contain no op whose gradient is "expand"; see expandForGradient
 * @param loss a float value of one element
 * @returns one gradient per target, of the target's shape; zeros where the loss does not depend on it
 * @throws ShapeError when the loss is no scalar, or when a path to a target passes an op without gradient
 */
export function gradients(graph: Graph, loss: Value, targets: readonly Value[]): Value[] {
  if (loss.shape.some((dim) => dim !== 1) || !isFloat(loss.dtype)) {
    throw new ShapeError(
      `gradients: expected a loss of one element, got ${loss.dtype} ${showShape(loss.shape)} (reduce it)`,
    )
  }
  const needed = dependents(graph, targets)
  const grads = new Map<Value, Value>()
  return graph.scope("gradients", () => {
    const ones = graph.fill(
      loss.dtype,
      loss.shape.map(() => 1),
      1,
    )
    if (needed.has(loss)) grads.set(loss, ones)
    for (const node of [...graph.nodes].reverse()) {
      const outputs = node.outputs.map((output) => grads.get(output))
      if (isSource(node) || outputs.every((grad) => grad === undefined)) continue
      const { gradient } = opOf(node.op)
      if (typeof gradient === "string") {
        throw new ShapeError(
          `${node.path}: expected an op with a gradient, got ${node.op} (detach it, or expand the graph first)`,
        )
      }
      const filled = outputs.map((grad, i) => grad ?? zerosLike(graph, node.outputs[i]!))
      const toInputs = gradient(graph, node, filled)
      if (toInputs.length !== node.inputs.length)
        throw new Error(`internal: ${node.op} gave ${toInputs.length} gradients`)
      for (const [i, input] of node.inputs.entries()) {
        const grad = toInputs[i]
        if (!grad || !needed.has(input)) continue
        const summed = unbroadcast(graph, grad, input)
        if (!shapesEqual(summed.shape, input.shape)) {
          throw new Error(
            `internal: ${node.op} gave ${showShape(summed.shape)} for input ${i} of ${showShape(input.shape)}`,
          )
        }
        const sofar = grads.get(input)
        grads.set(input, sofar ? graph.add(sofar, summed) : summed)
      }
    }
    return targets.map((target) => grads.get(target) ?? zerosLike(graph, target))
  })
}

function zerosLike(g: Graph, value: Value): Value {
  return g.expand(
    g.fill(
      value.dtype,
      value.shape.map(() => 1),
      0,
    ),
    value.shape,
  )
}

/** The values that depend on a target through float paths, targets included. */
function dependents(graph: Graph, targets: readonly Value[]): Set<Value> {
  const reached = new Set<Value>(targets)
  for (const node of graph.nodes) {
    if (!node.inputs.some((input) => reached.has(input))) continue
    // Comparisons and roundings end the dependence: their gradient is zero or undefined by convention.
    if (opOf(node.op).gradient === "none" && STEP_OPS.has(node.op)) continue
    for (const output of node.outputs) if (isFloat(output.dtype)) reached.add(output)
  }
  return reached
}

/** Piecewise constant ops: no gradient flows through them, and asking for one is no mistake. */
const STEP_OPS: ReadonlySet<string> = new Set(["sign", "floor", "round", "equal", "less", "greater", "argMax"])
