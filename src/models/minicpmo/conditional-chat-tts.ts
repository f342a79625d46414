/**
 * @file ConditionalChatTTS, the speech decoder: a Llama over text slots and audio frames of R codes, started by one hidden
 * state of the language model. Which positions a row may look at is the caller's mask.
 * Source: ConditionalChatTTS and MultiModalProjector (modeling_minicpmo.py), LlamaModel (transformers 4.44).
 */
import { Graph, type Value } from "../../graph/index.ts"
import {
  biasedLinearSpec,
  bindWeights,
  embeddingSpec,
  type GraphWeights,
  linear,
  linearSpec,
  rmsNorm,
  rmsNormSpec,
} from "../../nn/index.ts"
import { weightSpec } from "../../tensor/index.ts"
import type { TtsConfig } from "./config-tts.ts"

/** Prefix of the speech decoder's tensors in official checkpoints; those of the codec lie under it. */
export const TTS_PREFIX = "tts"

/** Defaults of LlamaConfig, which `tts_config` has no fields for. */
const RMS_EPSILON = 1e-6
export const TTS_ROPE_THETA = 10_000
/** The floor of torch's `normalize`. */
const NORM_FLOOR = 1e-12

const blockSpec = ({ hiddenSize, intermediateSize }: TtsConfig) => ({
  inputLayernorm: rmsNormSpec(hiddenSize),
  selfAttn: {
    qProj: linearSpec(hiddenSize, hiddenSize, "normed"),
    kProj: linearSpec(hiddenSize, hiddenSize, "normed"),
    vProj: linearSpec(hiddenSize, hiddenSize, "normed"),
    oProj: linearSpec(hiddenSize, hiddenSize),
  },
  postAttentionLayernorm: rmsNormSpec(hiddenSize),
  mlp: {
    gateProj: linearSpec(hiddenSize, intermediateSize, "normed"),
    upProj: linearSpec(hiddenSize, intermediateSize, "normed"),
    downProj: linearSpec(intermediateSize, hiddenSize),
  },
})

/** The head of one codebook under weight norm: gains [V, 1] and directions [V, D]. */
const headSpec = (c: TtsConfig) => ({
  parametrizations: {
    weight: {
      original0: weightSpec([c.numAudioTokens, 1], { mean: 1 }),
      original1: weightSpec([c.numAudioTokens, c.hiddenSize]),
    },
  },
})

/** All of `tts.*` except the codec. */
export const conditionalChatTtsSpec = (c: TtsConfig) => ({
  embText: embeddingSpec(c.numTextTokens, c.hiddenSize),
  embCode: Array.from({ length: c.numVq }, () => embeddingSpec(c.numAudioTokens, c.hiddenSize)),
  headCode: Array.from({ length: c.numVq }, () => headSpec(c)),
  projector: {
    linear1: biasedLinearSpec(c.llmDim, c.hiddenSize),
    linear2: biasedLinearSpec(c.hiddenSize, c.hiddenSize),
  },
  model: {
    embedTokens: { weight: weightSpec([0], { ignored: "the decoder is fed embeddings of its own tables" }) },
    layers: Array.from({ length: c.numHiddenLayers }, () => blockSpec(c)),
    norm: rmsNormSpec(c.hiddenSize),
  },
})

/** What all blocks of one pass share. */
type Pass = {
  readonly cos: Value // [1, T, K/2]
  readonly sin: Value
  readonly mask: Value // [1, 1, T, S + T]
}

function block(
  g: Graph,
  w: GraphWeights<ReturnType<typeof blockSpec>>,
  x: Value, // [B, T, D]
  { cos, sin, mask }: Pass,
  c: TtsConfig,
  slot: string,
): Value {
  const heads = c.numAttentionHeads
  const normed = rmsNorm(g, w.inputLayernorm, x, RMS_EPSILON)
  const q = g.rotary(linear(g, w.selfAttn.qProj, normed), cos, sin, heads) // [B, T, D]
  const k = g.rotary(linear(g, w.selfAttn.kProj, normed), cos, sin, heads)
  const v = linear(g, w.selfAttn.vProj, normed)
  const attrs = { heads, kvHeads: heads, scale: 1 / Math.sqrt(c.headSize) }
  const h = g.add(x, linear(g, w.selfAttn.oProj, g.cachedAttention(slot, [q, k, v], attrs, mask)))
  const inner = rmsNorm(g, w.postAttentionLayernorm, h, RMS_EPSILON)
  const gated = g.mul(g.silu(linear(g, w.mlp.gateProj, inner)), linear(g, w.mlp.upProj, inner)) // [B, T, F]
  return g.add(h, linear(g, w.mlp.downProj, gated)) // [B, T, D]
}

/** Names of the cache slots, one per layer. */
export function ttsSlot(layer: number): string {
  return `layers.${layer}`
}

/** Where the heads with their weight norm folded in are stored: rows of all codebooks, [R·V, D]. */
export const FOLDED_HEADS = `${TTS_PREFIX}.head_code.weight`

/**
 * The whole decoder as one graph; heads are computed for all rows because a prefill has few.
 * Inputs: hidden [B, T, D] (embeddings), cos and sin [1, T, K/2], attentionMask [1, 1, T, S + T].
 * Outputs: hiddenStates [B, T, D] (normed), logits [B, T, R, V].
 * The head weight is `FOLDED_HEADS`, which the checkpoint does not have.
 */
export function conditionalChatTtsGraph(c: TtsConfig): Graph {
  const g = new Graph("tts")
  const w = bindWeights(g, conditionalChatTtsSpec(c), TTS_PREFIX)
  const tableShape = [1, "T", c.headSize / 2]
  let hidden = g.input("hidden", "f32", ["B", "T", c.hiddenSize])
  const pass: Pass = {
    cos: g.input("cos", "f32", tableShape),
    sin: g.input("sin", "f32", tableShape),
    mask: g.input("attentionMask", "f32", [1, 1, "T", "S + T"]),
  }
  for (let layer = 0; layer < c.numHiddenLayers; layer++) {
    const input = hidden
    hidden = g.scope(ttsSlot(layer), () => block(g, w.model.layers[layer]!, input, pass, c, ttsSlot(layer)))
  }
  const normed = rmsNorm(g, w.model.norm, hidden, RMS_EPSILON)
  g.output("hiddenStates", normed)
  const heads = g.weight(FOLDED_HEADS, [c.numVq * c.numAudioTokens, c.hiddenSize])
  g.output("logits", g.reshape(g.linear(normed, heads), ["B", "T", c.numVq, c.numAudioTokens]))
  return g
}

/**
 * The voice: state [B, D'] of the language model → projected [B, D], and speaker [B, D] of length 1, the embedding that
 * takes the place of `[spk_emb]`.
 */
export function ttsProjectorGraph(c: TtsConfig): Graph {
  const g = new Graph("tts.projector")
  const { projector } = bindWeights(g, conditionalChatTtsSpec(c), TTS_PREFIX)
  const inner = linear(g, projector.linear1, g.input("state", "f32", ["B", c.llmDim])) // [B, D]
  const projected = linear(g, projector.linear2, g.maximum(inner, g.fill("f32", [1, 1], 0))) // [B, D]
  const length = g.sqrt(g.reduceSum(g.mul(projected, projected), [1], true)) // [B, 1]
  g.output("projected", projected)
  g.output("speaker", g.div(projected, g.maximum(length, g.fill("f32", [1, 1], NORM_FLOOR))))
  return g
}

/**
 * Rows of a head under weight norm: gain · direction / |direction|.
 * Source: torch.nn.utils.parametrizations.weight_norm with dim 0; it has no epsilon.
 * @param gains [V, 1]
 * @param directions [V, D]
 */
export function foldWeightNorm(gains: Float32Array, directions: Float32Array): Float32Array {
  const width = directions.length / gains.length
  const folded = new Float32Array(directions.length)
  for (let row = 0; row < gains.length; row++) {
    let squares = 0
    for (let d = 0; d < width; d++) squares += directions[row * width + d]! ** 2
    const factor = gains[row]! / Math.sqrt(squares)
    for (let d = 0; d < width; d++) folded[row * width + d] = directions[row * width + d]! * factor
  }
  return folded
}
