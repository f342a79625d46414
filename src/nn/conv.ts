/** @file One-dimensional convolution as weight spec and function. */
import type { Graph, Value } from "../graph/index.ts"
import { type TensorSpec, weightSpec } from "../tensor/index.ts"

export type ConvSpec = { readonly weight: TensorSpec; readonly bias?: TensorSpec }

/** A convolution without bias; `inner` counts the channels of one group. */
export function unbiasedConv1dSpec(inner: number, outer: number, kernel: number): { readonly weight: TensorSpec } {
  return { weight: weightSpec([outer, inner, kernel], { deviation: 1 / Math.sqrt(inner * kernel) }) }
}

/** A convolution with bias; `inner` counts the channels of one group. */
export function conv1dSpec(
  inner: number,
  outer: number,
  kernel: number,
): { readonly weight: TensorSpec; readonly bias: TensorSpec } {
  return { ...unbiasedConv1dSpec(inner, outer, kernel), bias: weightSpec([outer]) }
}

export type Conv1dOptions = {
  readonly stride?: number
  /** Zeros on both sides; as many as keep the length (at stride 1) when absent. */
  readonly padding?: number
  readonly dilation?: number
  readonly groups?: number
}

export function conv1d(
  g: Graph,
  w: { readonly weight: Value; readonly bias?: Value },
  x: Value, // [B, C, L]
  options: Conv1dOptions = {},
): Value {
  const { dilation = 1 } = options
  const padding = (dilation * ((w.weight.shape[2] as number) - 1)) / 2
  return g.conv1d(x, w.weight, w.bias, { padding, ...options }) // [B, O, L']
}
