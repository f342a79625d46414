/**
 * @file Qwen2, the language model: a stack of pre-norm blocks with rotary, grouped-query attention and a gated MLP.
 * Source: Qwen2Model in transformers (modeling_qwen2.py).
 */
import { Graph, type Value } from "../../graph/index.ts"
import {
  biasedLinearSpec,
  bindWeights,
  embedding,
  embeddingSpec,
  type GraphWeights,
  linear,
  linearSpec,
  rmsNorm,
  rmsNormSpec,
} from "../../nn/index.ts"
import { type TensorSpec, weightSpec } from "../../tensor/index.ts"
import type { Qwen2Config } from "./config.ts"

export const attentionSpec = (c: Qwen2Config) => ({
  qProj: biasedLinearSpec(c.hiddenSize, c.numAttentionHeads * c.headSize, "x"),
  kProj: biasedLinearSpec(c.hiddenSize, c.numKeyValueHeads * c.headSize, "x"),
  vProj: biasedLinearSpec(c.hiddenSize, c.numKeyValueHeads * c.headSize, "x"),
  oProj: linearSpec(c.numAttentionHeads * c.headSize, c.hiddenSize),
})

export const mlpSpec = (c: Qwen2Config) => ({
  gateProj: linearSpec(c.hiddenSize, c.intermediateSize, "x"), // [F, D]
  upProj: linearSpec(c.hiddenSize, c.intermediateSize, "x"), // [F, D]
  downProj: linearSpec(c.intermediateSize, c.hiddenSize), // [D, F]
})

export const blockSpec = (c: Qwen2Config) => ({
  inputLayernorm: rmsNormSpec(c.hiddenSize),
  selfAttn: attentionSpec(c),
  postAttentionLayernorm: rmsNormSpec(c.hiddenSize),
  mlp: mlpSpec(c),
})

/** The whole of `llm.*`. */
export const qwen2Spec = (c: Qwen2Config): Qwen2Spec => ({
  model: {
    embedTokens: embeddingSpec(c.vocabSize, c.hiddenSize),
    layers: Array.from({ length: c.numHiddenLayers }, () => blockSpec(c)),
    norm: rmsNormSpec(c.hiddenSize),
  },
  lmHead: c.tieWordEmbeddings
    ? { weight: weightSpec([0], { ignored: "the head is tied to the embeddings" }) }
    : linearSpec(c.hiddenSize, c.vocabSize),
})

export type Qwen2Spec = {
  readonly model: {
    readonly embedTokens: { readonly weight: TensorSpec }
    readonly layers: readonly ReturnType<typeof blockSpec>[]
    readonly norm: { readonly weight: TensorSpec }
  }
  readonly lmHead: { readonly weight: TensorSpec }
}

/** What all blocks of one pass share. */
type Pass = {
  readonly cos: Value // [1 or B, T, K/2]
  readonly sin: Value
  readonly mask: Value // [1 or B, 1, T, S + T]
}

function keysAndValues(
  g: Graph,
  w: GraphWeights<ReturnType<typeof attentionSpec>>,
  x: Value, // [B, T, D]
  { cos, sin }: Pick<Pass, "cos" | "sin">,
  c: Qwen2Config,
): readonly [k: Value, v: Value] {
  return [g.rotary(linear(g, w.kProj, x), cos, sin, c.numKeyValueHeads), linear(g, w.vProj, x)] // [B, T, G·K] each
}

function attention(
  g: Graph,
  w: GraphWeights<ReturnType<typeof attentionSpec>>,
  x: Value, // [B, T, D]
  { cos, sin, mask }: Pass,
  c: Qwen2Config,
  slot: string,
): Value {
  const q = g.rotary(linear(g, w.qProj, x), cos, sin, c.numAttentionHeads) // [B, T, H·K]
  const [k, v] = keysAndValues(g, w, x, { cos, sin }, c)
  const attrs = { heads: c.numAttentionHeads, kvHeads: c.numKeyValueHeads, scale: 1 / Math.sqrt(c.headSize) }
  return linear(g, w.oProj, g.cachedAttention(slot, [q, k, v], attrs, mask)) // [B, T, D]
}

/** Gated MLP (SwiGLU). */
export function mlp(g: Graph, w: GraphWeights<ReturnType<typeof mlpSpec>>, x: Value): Value {
  const gate = g.silu(linear(g, w.gateProj, x)) // [B, T, F]
  const up = linear(g, w.upProj, x) // [B, T, F]
  return linear(g, w.downProj, g.mul(gate, up)) // [B, T, D]
}

function block(
  g: Graph,
  w: GraphWeights<ReturnType<typeof blockSpec>>,
  x: Value, // [B, T, D]
  pass: Pass,
  c: Qwen2Config,
  slot: string,
): Value {
  const attended = g.scope("attn", () =>
    attention(g, w.selfAttn, rmsNorm(g, w.inputLayernorm, x, c.rmsNormEps), pass, c, slot),
  )
  const h = g.add(x, attended)
  const gated = g.scope("mlp", () => mlp(g, w.mlp, rmsNorm(g, w.postAttentionLayernorm, h, c.rmsNormEps)))
  return g.add(h, gated) // [B, T, D]
}

/** Names of the cache slots, one per layer. */
export function qwen2Slot(layer: number): string {
  return `layers.${layer}`
}

/** Prefix of the language model's tensors in official checkpoints. */
export const LLM_PREFIX = "llm"

/**
 * Layers [first, end) as one graph; a long stack is cut into several so that a step stays short.
 * Inputs: hidden [B, T, D], cos and sin [R, T, K/2], attentionMask [R, 1, T, S + T]; R is B when batched, else 1.
 * Output: hiddenStates [B, T, D] (not normed), and `hiddenStates.<i>` after layer i where asked.
 */
export function qwen2LayersGraph(
  c: Qwen2Config,
  range: { readonly first: number; readonly end: number },
  options: { readonly batched?: boolean; readonly keepHidden?: readonly number[] } = {},
): Graph {
  const g = new Graph(`llm.layers.${range.first}-${range.end}`)
  const w = bindWeights(g, qwen2Spec(c), LLM_PREFIX)
  const tableRows = options.batched ? "B" : 1
  const tableShape = [tableRows, "T", c.headSize / 2]
  let hidden = g.input("hidden", "f32", ["B", "T", c.hiddenSize])
  const pass: Pass = {
    cos: g.input("cos", "f32", tableShape),
    sin: g.input("sin", "f32", tableShape),
    mask: g.input("attentionMask", "f32", [tableRows, 1, "T", "S + T"]),
  }
  for (let layer = range.first; layer < range.end; layer++) {
    const weights = w.model.layers[layer]!
    const input = hidden
    hidden = g.scope(`layers.${layer}`, () => block(g, weights, input, pass, c, qwen2Slot(layer)))
    if (options.keepHidden?.includes(layer)) g.output(`hiddenStates.${layer}`, hidden)
  }
  g.output("hiddenStates", hidden)
  return g
}

/**
 * What later positions need of the last layer: its keys and values alone. Inputs: hidden [1, T, D], cos and sin
 * [1, T, K/2]. No output beside the cache rows.
 */
export function qwen2LastKeysGraph(c: Qwen2Config): Graph {
  const last = c.numHiddenLayers - 1
  const g = new Graph("llm.lastKeys")
  const { selfAttn, inputLayernorm } = bindWeights(g, qwen2Spec(c), LLM_PREFIX).model.layers[last]!
  const hidden = g.input("hidden", "f32", [1, "T", c.hiddenSize])
  const tables = {
    cos: g.input("cos", "f32", [1, "T", c.headSize / 2]),
    sin: g.input("sin", "f32", [1, "T", c.headSize / 2]),
  }
  g.scope(`layers.${last}`, () => {
    const rows = keysAndValues(g, selfAttn, rmsNorm(g, inputLayernorm, hidden, c.rmsNormEps), tables, c)
    g.cacheRows(qwen2Slot(last), rows, c.numKeyValueHeads)
  })
  return g
}

/** The final norm: hidden [B, T, D] → normed [B, T, D]. What the speech decoder hears, and what the head reads. */
export function qwen2NormGraph(c: Qwen2Config): Graph {
  const g = new Graph("llm.norm")
  const w = bindWeights(g, qwen2Spec(c), LLM_PREFIX)
  g.output("normed", rmsNorm(g, w.model.norm, g.input("hidden", "f32", ["B", "T", c.hiddenSize]), c.rmsNormEps))
  return g
}

/** The head: normed [B, T, D] → logits [B, T, V]. */
export function qwen2HeadGraph(c: Qwen2Config): Graph {
  const g = new Graph("llm.head")
  const w = bindWeights(g, qwen2Spec(c), LLM_PREFIX)
  const normed = g.input("normed", "f32", ["B", "T", c.hiddenSize])
  g.output("logits", linear(g, c.tieWordEmbeddings ? w.model.embedTokens : w.lmHead, normed))
  return g
}

/** Token embeddings as a graph: inputIds i64 [B, T] → embeds [B, T, D]. Training uses it; inference reads rows itself. */
export function qwen2EmbeddingGraph(c: Qwen2Config): Graph {
  const g = new Graph("llm.embedTokens")
  const w = bindWeights(g, qwen2Spec(c), LLM_PREFIX)
  g.output("embeds", embedding(g, w.model.embedTokens, g.input("inputIds", "i64", ["B", "T"])))
  return g
}
