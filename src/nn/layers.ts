/** @file Layers as weight specs and functions: linear, embedding, norms. The letters are those of tensor/dims.ts. */
import type { Graph, Value } from "../graph/index.ts"
import { mapSpec, type SpecTree, type TensorSpec, type Weights, weightSpec } from "../tensor/index.ts"

/** Weights of a spec as graph values. */
export type GraphWeights<S> = Weights<S, Value>

/** Declares every tensor of a spec in the graph under its checkpoint name; unused ones vanish when it is lowered. */
export function bindWeights<S extends SpecTree>(g: Graph, spec: S, prefix: string): GraphWeights<S> {
  return mapSpec(spec, prefix, (name, { shape }) => g.weight(name, shape))
}

export type LinearSpec = { readonly weight: TensorSpec; readonly bias?: TensorSpec }

/**
 * A dense layer of `outer` outputs; its weight [O, I] may be stored quantized.
 * @param input a name for what it reads, where sibling layers read the same value: they then prepare it once
 */
export function linearSpec(inner: number, outer: number, input?: string): { readonly weight: TensorSpec } {
  const options = { deviation: 1 / Math.sqrt(inner), quantizable: true, ...(input ? { input } : {}) }
  return { weight: weightSpec([outer, inner], options) }
}

export function biasedLinearSpec(
  inner: number,
  outer: number,
  input?: string,
): { readonly weight: TensorSpec; readonly bias: TensorSpec } {
  return { ...linearSpec(inner, outer, input), bias: weightSpec([outer]) }
}

/** x · weightᵀ + bias. */
export function linear(
  g: Graph,
  w: { readonly weight: Value; readonly bias?: Value },
  x: Value, // [..., I]
): Value {
  return g.linear(x, w.weight, w.bias) // [..., O]
}

export function embeddingSpec(count: number, width: number): { readonly weight: TensorSpec } {
  return { weight: weightSpec([count, width]) }
}

export function embedding(
  g: Graph,
  w: { readonly weight: Value },
  ids: Value, // i64, any shape
): Value {
  return g.gather(w.weight, ids) // [..., D]
}

export function rmsNormSpec(width: number): { readonly weight: TensorSpec } {
  return { weight: weightSpec([width], { mean: 1 }) }
}

export function rmsNorm(g: Graph, w: { readonly weight: Value }, x: Value, epsilon: number): Value {
  return g.rmsNorm(x, w.weight, epsilon)
}

export function layerNormSpec(width: number): { readonly weight: TensorSpec; readonly bias: TensorSpec } {
  return { weight: weightSpec([width], { mean: 1 }), bias: weightSpec([width]) }
}

export function layerNorm(
  g: Graph,
  w: { readonly weight: Value; readonly bias: Value },
  x: Value,
  epsilon: number,
): Value {
  return g.layerNorm(x, w.weight, w.bias, epsilon)
}
