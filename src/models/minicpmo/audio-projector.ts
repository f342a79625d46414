/**
 * @file From encoder frames to tokens of the language model: two linear layers on every frame, then the mean of each
 * `poolStep` frames. Source: MultiModalProjector and the average pooling of the official modeling_minicpmo.py.
 */
import { dimFloorDiv, dimMul, Graph, type Value } from "../../graph/index.ts"
import { biasedLinearSpec, bindWeights, type GraphWeights, linear } from "../../nn/index.ts"
import type { AudioConfig } from "./config-audio.ts"

/** The whole of `audio_projection_layer.*`. */
export const audioProjectorSpec = (c: AudioConfig) => ({
  linear1: biasedLinearSpec(c.hiddenSize, c.tokenSize),
  linear2: biasedLinearSpec(c.tokenSize, c.tokenSize),
})

/** Prefix of the projector's tensors in official checkpoints. */
export const AUDIO_PROJECTOR_PREFIX = "audio_projection_layer"

/** Projection before pooling, in the official order: equal in theory, not to the last bit. */
export function audioProjector(
  g: Graph,
  w: GraphWeights<ReturnType<typeof audioProjectorSpec>>,
  hidden: Value, // [B, A, D]
  poolStep: number,
): { readonly projected: Value; readonly tokens: Value } {
  const inner = linear(g, w.linear1, hidden)
  const relu = g.maximum(inner, g.fill("f32", [1, 1, 1], 0))
  const projected = linear(g, w.linear2, relu) // [B, A, E]
  const [batch, frames, width] = projected.shape
  const count = dimFloorDiv(frames!, poolStep)
  const whole = g.slice(projected, 1, 0, dimMul(count, poolStep)) // frames that fill no window are dropped
  const tokens = g.reduceMean(g.reshape(whole, [batch!, count, poolStep, width!]), [2])
  return { projected, tokens } // [B, A, E], [B, floor(A / poolStep), E]
}

/** Input: hidden [B, T, D]. Output: tokens [B, floor(T / poolStep), E]; with `inspect` also projected [B, T, E]. */
export function audioProjectorGraph(c: AudioConfig, options: { readonly inspect?: boolean } = {}): Graph {
  const g = new Graph("audioProjector")
  const w = bindWeights(g, audioProjectorSpec(c), AUDIO_PROJECTOR_PREFIX)
  const { projected, tokens } = audioProjector(g, w, g.input("hidden", "f32", ["B", "T", c.hiddenSize]), c.poolStep)
  g.output("tokens", tokens)
  if (options.inspect) g.output("projected", projected)
  return g
}
