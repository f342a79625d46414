/**
 * @file SigLIP, the vision tower: patches of any grid plus learned, bucketed positions, then pre-norm blocks with
 * bidirectional attention. It has no class token and no pooling head; which position a patch has is the host's business.
 * Source: SiglipVisionTransformer of MiniCPM-o (modeling_navit_siglip.py).
 */
import { dimMul, Graph, type Value } from "../../graph/index.ts"
import {
  biasedLinearSpec,
  bindWeights,
  embedding,
  embeddingSpec,
  type GraphWeights,
  layerNorm,
  layerNormSpec,
  linear,
} from "../../nn/index.ts"
import { mapSpec, weightSpec } from "../../tensor/index.ts"
import type { SiglipConfig } from "./config-vision.ts"

/** Red, green, blue. */
const CHANNELS = 3

const attentionSpec = ({ hiddenSize }: SiglipConfig) => ({
  qProj: biasedLinearSpec(hiddenSize, hiddenSize, "normed"),
  kProj: biasedLinearSpec(hiddenSize, hiddenSize, "normed"),
  vProj: biasedLinearSpec(hiddenSize, hiddenSize, "normed"),
  outProj: biasedLinearSpec(hiddenSize, hiddenSize),
})

const blockSpec = (c: SiglipConfig) => ({
  layerNorm1: layerNormSpec(c.hiddenSize),
  selfAttn: attentionSpec(c),
  layerNorm2: layerNormSpec(c.hiddenSize),
  mlp: {
    fc1: biasedLinearSpec(c.hiddenSize, c.intermediateSize), // [F, D]
    fc2: biasedLinearSpec(c.intermediateSize, c.hiddenSize), // [D, F]
  },
})

const patchEmbeddingSpec = ({ hiddenSize, patchSize }: SiglipConfig) => ({
  weight: weightSpec([hiddenSize, CHANNELS, patchSize, patchSize], {
    deviation: 1 / Math.sqrt(CHANNELS * patchSize ** 2),
    quantizable: true, // as rows of 3·p·p
  }),
  bias: weightSpec([hiddenSize]),
})

/** A layer that files may still have, although nothing runs it. */
const droppedSpec = (c: SiglipConfig) =>
  mapSpec(blockSpec(c), "", () => weightSpec([0], { ignored: "drop_vision_last_layer takes this layer away" }))

/** The whole of `vpm.*`. */
export const siglipSpec = (c: SiglipConfig) => ({
  embeddings: {
    patchEmbedding: patchEmbeddingSpec(c),
    positionEmbedding: embeddingSpec(c.positionsPerSide ** 2, c.hiddenSize),
  },
  encoder: {
    layers: [
      ...Array.from({ length: c.numHiddenLayers }, () => blockSpec(c)),
      ...Array.from({ length: c.droppedLayers }, () => droppedSpec(c)),
    ],
  },
  postLayernorm: layerNormSpec(c.hiddenSize),
})

/** Prefix of the vision tower's tensors in official checkpoints. */
export const SIGLIP_PREFIX = "vpm"

/** A convolution whose stride is its kernel is a linear layer over flattened (channel, row, column) patches. */
function patchEmbedding(
  g: Graph,
  w: GraphWeights<ReturnType<typeof patchEmbeddingSpec>>,
  strips: Value, // [B, 3, p, p·P]
  { hiddenSize, patchSize: p }: SiglipConfig,
): Value {
  const batch = strips.shape[0]!
  const split = g.reshape(strips, [batch, CHANNELS, p, "P", p])
  const patches = g.reshape(g.transpose(split, [0, 3, 1, 2, 4]), [batch, "P", CHANNELS * p * p])
  return g.linear(patches, g.reshape(w.weight, [hiddenSize, CHANNELS * p * p]), w.bias) // [B, P, D]
}

function attention(
  g: Graph,
  w: GraphWeights<ReturnType<typeof attentionSpec>>,
  x: Value, // [B, P, D]
  mask: Value | undefined, // [B, 1, 1, P]
  { numAttentionHeads: heads, headSize }: SiglipConfig,
): Value {
  const [q, k, v] = [w.qProj, w.kProj, w.vProj].map((projection) => linear(g, projection, x))
  const mixed = g.attention(q!, k!, v!, { heads, kvHeads: heads, scale: 1 / Math.sqrt(headSize) }, mask)
  return linear(g, w.outProj, mixed) // [B, P, D]
}

function block(
  g: Graph,
  w: GraphWeights<ReturnType<typeof blockSpec>>,
  x: Value, // [B, P, D]
  mask: Value | undefined,
  c: SiglipConfig,
): Value {
  const attended = g.scope("attn", () =>
    attention(g, w.selfAttn, layerNorm(g, w.layerNorm1, x, c.layerNormEps), mask, c),
  )
  const h = g.add(x, attended)
  const fed = g.scope("mlp", () => {
    const wide = g.geluTanh(linear(g, w.mlp.fc1, layerNorm(g, w.layerNorm2, h, c.layerNormEps))) // [B, P, F]
    return linear(g, w.mlp.fc2, wide)
  })
  return g.add(h, fed) // [B, P, D]
}

/**
 * Layers [first, end) as one graph; a long stack is cut into several so that a step stays short. The first part starts
 * from pixels, the last one ends with the norm.
 * Inputs of the first part: strips [B, 3, p, p·P], positionIds i64 [B, P]; of the others: hidden [B, P, D]. With
 * `masked` also keyMask [B, 1, 1, P], added to the scores: very negative where a patch is padding.
 * Output: hiddenStates [B, P, D].
 */
export function siglipGraph(
  c: SiglipConfig,
  range: { readonly first: number; readonly end: number },
  options: { readonly masked?: boolean } = {},
): Graph {
  const g = new Graph(`vpm.layers.${range.first}-${range.end}`)
  const w = bindWeights(g, siglipSpec(c), SIGLIP_PREFIX)
  let hidden: Value
  if (range.first === 0) {
    const strips = g.input("strips", "f32", ["B", CHANNELS, c.patchSize, dimMul(c.patchSize, "P")])
    const positionIds = g.input("positionIds", "i64", ["B", "P"])
    hidden = g.scope("embeddings", () => {
      const patches = patchEmbedding(g, w.embeddings.patchEmbedding, strips, c)
      return g.add(patches, embedding(g, w.embeddings.positionEmbedding, positionIds))
    })
  } else hidden = g.input("hidden", "f32", ["B", "P", c.hiddenSize])
  const mask = options.masked ? g.input("keyMask", "f32", ["B", 1, 1, "P"]) : undefined
  for (let layer = range.first; layer < range.end; layer++) {
    const input = hidden
    hidden = g.scope(`layers.${layer}`, () => block(g, w.encoder.layers[layer]!, input, mask, c))
  }
  if (range.end === c.numHiddenLayers) hidden = layerNorm(g, w.postLayernorm, hidden, c.layerNormEps)
  g.output("hiddenStates", hidden)
  return g
}
