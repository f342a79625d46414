/**
 * @file Whisper's encoder as MiniCPM-o uses it: two convolutions halve the frame rate, then pre-norm blocks. Who attends
 * to whom is the caller's choice: a mask over the whole segment, or a cache of the frames heard so far.
 * Source: MiniCPMWhisperEncoder (official modeling_minicpmo.py) over WhisperEncoder in transformers.
 * A, the encoder frames of L mel frames, is floor((L - 1)/2) + 1.
 */
import { Graph, type Value } from "../../graph/index.ts"
import {
  biasedLinearSpec,
  bindWeights,
  conv1d,
  conv1dSpec,
  embeddingSpec,
  type GraphWeights,
  layerNorm,
  layerNormSpec,
  linear,
  linearSpec,
} from "../../nn/index.ts"
import { AUDIO_NORM_EPSILON, type AudioConfig } from "./config-audio.ts"

const attentionSpec = (c: AudioConfig) => ({
  qProj: biasedLinearSpec(c.hiddenSize, c.hiddenSize, "normed"),
  kProj: linearSpec(c.hiddenSize, c.hiddenSize, "normed"), // no bias: it would shift all scores of a row alike
  vProj: biasedLinearSpec(c.hiddenSize, c.hiddenSize, "normed"),
  outProj: biasedLinearSpec(c.hiddenSize, c.hiddenSize),
})

const blockSpec = (c: AudioConfig) => ({
  selfAttnLayerNorm: layerNormSpec(c.hiddenSize),
  selfAttn: attentionSpec(c),
  finalLayerNorm: layerNormSpec(c.hiddenSize),
  fc1: biasedLinearSpec(c.hiddenSize, c.ffnSize),
  fc2: biasedLinearSpec(c.ffnSize, c.hiddenSize),
})

/** The whole of `apm.*`. The positions are a stored sinusoid; the stored values are used. */
export const whisperEncoderSpec = (c: AudioConfig) => ({
  conv1: conv1dSpec(c.melBins, c.hiddenSize, 3),
  conv2: conv1dSpec(c.hiddenSize, c.hiddenSize, 3),
  embedPositions: embeddingSpec(c.maxPositions, c.hiddenSize),
  layers: Array.from({ length: c.numLayers }, () => blockSpec(c)),
  layerNorm: layerNormSpec(c.hiddenSize),
})

type EncoderWeights = GraphWeights<ReturnType<typeof whisperEncoderSpec>>

/** Prefix of the encoder's tensors in official checkpoints. */
export const AUDIO_ENCODER_PREFIX = "apm"

/** A as a dim. */
const AUDIO_FRAMES = "floor((L - 1)/2) + 1"

/** Name of a layer's cache slot. */
export function audioSlot(layer: number): string {
  return `layers.${layer}`
}

/** Attention of one layer over queries, keys and values [B, A, D]. */
type Attend = (layer: number, q: Value, k: Value, v: Value) => Value

const attentionAttrs = (c: AudioConfig) => ({
  heads: c.numHeads,
  kvHeads: c.numHeads,
  scale: 1 / Math.sqrt(c.hiddenSize / c.numHeads),
})

/** Mel frames to encoder frames: frame a sees mel frames 2a - 2 to 2a + 2; beyond the ends both convolutions see zeros. */
function audioFront(
  g: Graph,
  w: EncoderWeights,
  mel: Value, // [B, M, L]
  positionIds: Value, // i64 [A]
): { readonly conv2: Value; readonly frames: Value } {
  const halved = g.gelu(conv1d(g, w.conv1, mel)) // [B, D, L]
  const conv2 = conv1d(g, w.conv2, halved, { stride: 2 }) // [B, D, A]
  const x = g.transpose(g.gelu(conv2), [0, 2, 1]) // [B, A, D]
  const positions = g.gather(w.embedPositions.weight, positionIds) // [A, D]
  return { conv2, frames: g.add(x, g.reshape(positions, [1, ...positions.shape])) }
}

function block(
  g: Graph,
  w: EncoderWeights["layers"][number],
  x: Value, // [B, A, D]
  attend: (q: Value, k: Value, v: Value) => Value,
): Value {
  const attended = g.scope("selfAttn", () => {
    const h = layerNorm(g, w.selfAttnLayerNorm, x, AUDIO_NORM_EPSILON)
    const { qProj, kProj, vProj, outProj } = w.selfAttn
    return linear(g, outProj, attend(linear(g, qProj, h), linear(g, kProj, h), linear(g, vProj, h)))
  })
  const y = g.add(x, attended)
  const fed = g.scope("mlp", () => {
    const h = layerNorm(g, w.finalLayerNorm, y, AUDIO_NORM_EPSILON)
    return linear(g, w.fc2, g.gelu(linear(g, w.fc1, h)))
  })
  return g.add(y, fed) // [B, A, D]
}

/** Layers [first, end); after the last one comes the final norm. */
function audioLayers(
  g: Graph,
  w: EncoderWeights,
  frames: Value, // [B, A, D]
  range: LayerRange,
  attend: Attend,
): { readonly hidden: Value; readonly afterLayers: readonly Value[] } {
  const afterLayers: Value[] = []
  let x = frames
  for (let layer = range.first; layer < range.end; layer++) {
    const input = x
    x = g.scope(`layers.${layer}`, () => block(g, w.layers[layer]!, input, (q, k, v) => attend(layer, q, k, v)))
    afterLayers.push(x)
  }
  const hidden = range.end === w.layers.length ? layerNorm(g, w.layerNorm, x, AUDIO_NORM_EPSILON) : x
  return { hidden, afterLayers }
}

/** Layers [first, end). */
export type LayerRange = { readonly first: number; readonly end: number }

/** The convolutions alone: mel [B, M, L], positionIds i64 [A] → frames [B, A, D]. */
export function audioFrontGraph(c: AudioConfig): Graph {
  const g = new Graph("apm.front")
  const w = bindWeights(g, whisperEncoderSpec(c), AUDIO_ENCODER_PREFIX)
  const mel = g.input("mel", "f32", ["B", c.melBins, "L"])
  g.output("frames", audioFront(g, w, mel, g.input("positionIds", "i64", [AUDIO_FRAMES])).frames)
  return g
}

/**
 * Layers over new frames and a cache of the earlier ones.
 * Inputs: frames [B, T, D], attentionMask [1, 1, T, S + T]. Output: hidden [B, T, D], normed when the range holds the
 * last layer.
 */
export function audioLayersGraph(c: AudioConfig, range: LayerRange): Graph {
  const g = new Graph(`apm.layers.${range.first}-${range.end}`)
  const w = bindWeights(g, whisperEncoderSpec(c), AUDIO_ENCODER_PREFIX)
  const frames = g.input("frames", "f32", ["B", "T", c.hiddenSize])
  const mask = g.input("attentionMask", "f32", [1, 1, "T", "S + T"])
  const attend: Attend = (layer, ...qkv) => g.cachedAttention(audioSlot(layer), qkv, attentionAttrs(c), mask)
  g.output("hidden", audioLayers(g, w, frames, range, attend).hidden)
  return g
}

/**
 * The encoder over padded segments at once, without a cache: what training differentiates and what the stepwise run is
 * held against. Inputs: mel [B, M, L], positionIds i64 [A], attentionMask [B, 1, A, A]. Output: hidden [B, A, D]; with
 * `inspect` also conv2 [B, D, A] before its gelu and `layers.<i>` [B, A, D].
 */
export function whisperEncoderGraph(c: AudioConfig, options: { readonly inspect?: boolean } = {}): Graph {
  const g = new Graph("apm")
  const w = bindWeights(g, whisperEncoderSpec(c), AUDIO_ENCODER_PREFIX)
  const mel = g.input("mel", "f32", ["B", c.melBins, "L"])
  const mask = g.input("attentionMask", "f32", ["B", 1, AUDIO_FRAMES, AUDIO_FRAMES])
  const { conv2, frames } = audioFront(g, w, mel, g.input("positionIds", "i64", [AUDIO_FRAMES]))
  const attend: Attend = (_, q, k, v) => g.attention(q, k, v, attentionAttrs(c), mask)
  const { hidden, afterLayers } = audioLayers(g, w, frames, { first: 0, end: c.numLayers }, attend)
  g.output("hidden", hidden)
  if (options.inspect) {
    g.output("conv2", conv2)
    for (const [layer, value] of afterLayers.entries()) g.output(`layers.${layer}`, value)
  }
  return g
}
