/** @file The one-dimensional ConvNeXt block of the speech codec and the vocoder. */
import type { Graph, Value } from "../graph/index.ts"
import { conv1d, conv1dSpec } from "./conv.ts"
import { biasedLinearSpec, type GraphWeights, layerNorm, layerNormSpec, linear } from "./layers.ts"

/** A block without its gain, which the two users call by different names. */
export const convNextSpec = (channels: number, intermediate: number, kernel: number) => ({
  dwconv: conv1dSpec(1, channels, kernel),
  norm: layerNormSpec(channels),
  pwconv1: biasedLinearSpec(channels, intermediate),
  pwconv2: biasedLinearSpec(intermediate, channels),
})

const EPSILON = 1e-6

/**
 * x + gain · MLP(norm(depthwise conv(x))).
 * Source: ConvNeXtBlock of vocos 0.1.0 and of the ChatTTS DVAE.
 */
export function convNext(
  g: Graph,
  w: GraphWeights<ReturnType<typeof convNextSpec>>,
  x: Value, // [B, C, L]
  gain: Value, // [C]
  dilation = 1,
): Value {
  const channels = x.shape[1] as number
  const mixed = conv1d(g, w.dwconv, x, { dilation, groups: channels }) // [B, C, L]
  const normed = layerNorm(g, w.norm, g.transpose(mixed, [0, 2, 1]), EPSILON) // [B, L, C]
  const wide = g.gelu(linear(g, w.pwconv1, normed)) // [B, L, F]
  const change = g.mul(linear(g, w.pwconv2, wide), g.reshape(gain, [1, 1, channels])) // [B, L, C]
  return g.add(x, g.transpose(change, [0, 2, 1])) // [B, C, L]
}
