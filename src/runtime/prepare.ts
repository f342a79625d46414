/** @file What every backend does around a run: cache feeds, the mask, and taking the new rows out of the outputs. */
import {
  CACHE_POSITION,
  type Graph,
  type LinearStorage,
  linearWeight,
  type Node,
  newRowsName,
  type Shape,
} from "../graph/index.ts"
import type { HostTensor } from "../tensor/index.ts"
import { f32Data, tensor } from "../tensor/index.ts"
import { ShapeError } from "../util/index.ts"
import type { Feeds, RunOptions, WeightStore } from "./executor.ts"

/** Name of the mask input that executors fill from the cache. */
export const ATTENTION_MASK = "attentionMask"

/** True when some linear layer's weight is stored as one of these kinds. */
export function hasStorage(graph: Graph, weights: WeightStore, kinds: readonly LinearStorage["kind"][]): boolean {
  return graph.nodes.some(({ op, inputs }) => {
    const weight = op === "linear" ? linearWeight(inputs[1]!) : undefined
    return weight !== undefined && kinds.includes(weights.storage(weight.name).kind)
  })
}

/** Adds the cache's tensors and the mask to the feeds. */
export function withCache(graph: Graph, feeds: Feeds, { cache, valid }: RunOptions): Feeds {
  if (graph.cacheSlots.length === 0) return feeds
  if (!cache) throw new ShapeError(`${graph.name}: expected a cache for ${graph.cacheSlots.length} slots, got none`)
  const all: { [name: string]: HostTensor } = { ...feeds }
  if (graph.cacheSlots.some(({ present }) => present)) {
    // The device writes the new rows where there is room for them.
    cache.reserve(cache.length + newSteps(graph, feeds))
    all[CACHE_POSITION] = tensor("i64", [1], BigInt64Array.of(BigInt(cache.length)))
  }
  for (const { name } of graph.cacheSlots) {
    const { keys, values } = cache.feed(name)
    all[`${name}.keys`] = keys
    all[`${name}.values`] = values
  }
  const mask = inputShape(graph, ATTENTION_MASK)
  if (mask && !feeds[ATTENTION_MASK]) all[ATTENTION_MASK] = cache.mask(newSteps(graph, feeds), mask[0] !== 1, valid)
  return all
}

function inputShape(graph: Graph, wanted: string): Shape | undefined {
  for (const node of graph.nodes) {
    if (node.op !== "input") continue
    const { name, shape } = node.attrs as Node<"input">["attrs"]
    if (name === wanted) return shape
  }
  return undefined
}

/** T of this run: the size of the axis that the new keys call their second. */
function newSteps(graph: Graph, feeds: Feeds): number {
  const steps = graph.cacheSlots[0]!.newKeys.shape[1]!
  if (typeof steps === "number") return steps
  for (const node of graph.nodes) {
    if (node.op !== "input") continue
    const { name, shape } = node.attrs as Node<"input">["attrs"]
    const axis = shape.indexOf(steps)
    if (axis >= 0 && feeds[name]) return feeds[name].shape[axis]!
  }
  throw new ShapeError(`${graph.name}: expected a feed with the dim ${steps}, got none`)
}

/** Moves the slots' new rows into the cache and returns the remaining outputs. */
export function takeNewRows(graph: Graph, outputs: Feeds, { cache, valid, advance = true }: RunOptions): Feeds {
  if (graph.cacheSlots.length === 0 || !cache) return outputs
  const steps = outputs[newRowsName(graph.cacheSlots[0]!, "keys")]!.shape[1]!
  for (const slot of graph.cacheSlots) {
    const rows = (part: "keys" | "values") => f32Data(outputs[newRowsName(slot, part)]!)
    cache.stage(slot.name, steps, { keys: rows("keys"), values: rows("values") })
  }
  if (advance) cache.advance(steps, valid)
  return Object.fromEntries(Object.entries(outputs).filter(([name]) => graph.outputs.has(name)))
}
