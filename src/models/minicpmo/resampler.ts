/**
 * @file The resampler: learned queries read a slice's patches by cross attention, so that a slice of any size becomes the
 * same number of rows of the language model. Positions are added to keys alone.
 * Source: Resampler of MiniCPM-o (resampler.py).
 */
import { dimMul, Graph, type Value } from "../../graph/index.ts"
import {
  biasedLinearSpec,
  bindWeights,
  type GraphWeights,
  layerNorm,
  layerNormSpec,
  linear,
  linearSpec,
} from "../../nn/index.ts"
import { type TensorSpec, weightSpec } from "../../tensor/index.ts"
import type { ResamplerConfig } from "./config-vision.ts"

type NormSpec = ReturnType<typeof layerNormSpec>

export type ResamplerSpec = {
  readonly query: TensorSpec
  readonly kvProj?: { readonly weight: TensorSpec }
  readonly attn: {
    /** Query, key and value projections, one below the other. */
    readonly inProjWeight: TensorSpec
    readonly inProjBias: TensorSpec
    readonly outProj: ReturnType<typeof biasedLinearSpec>
  }
  readonly lnQ: NormSpec
  readonly lnKv: NormSpec
  readonly lnPost: NormSpec
  readonly proj: TensorSpec
}

/** The whole of `resampler.*`; a tower as wide as the language model needs no `kv_proj` and has none. */
export const resamplerSpec = ({ hiddenSize, visionSize, queryNum }: ResamplerConfig): ResamplerSpec => ({
  query: weightSpec([queryNum, hiddenSize]),
  ...(visionSize === hiddenSize ? {} : { kvProj: linearSpec(visionSize, hiddenSize) }),
  attn: {
    inProjWeight: weightSpec([3 * hiddenSize, hiddenSize], {
      deviation: 1 / Math.sqrt(hiddenSize),
      quantizable: true,
    }),
    inProjBias: weightSpec([3 * hiddenSize]),
    outProj: biasedLinearSpec(hiddenSize, hiddenSize),
  },
  lnQ: layerNormSpec(hiddenSize),
  lnKv: layerNormSpec(hiddenSize),
  lnPost: layerNormSpec(hiddenSize),
  proj: weightSpec([hiddenSize, hiddenSize], { deviation: 1 / Math.sqrt(hiddenSize) }),
})

/** Prefix of the resampler's tensors in official checkpoints. */
export const RESAMPLER_PREFIX = "resampler"

/** Cross attention with packed projections; the queries are the same for every slice and are projected once. */
function attention(
  g: Graph,
  w: GraphWeights<ResamplerSpec["attn"]>,
  [q, k, v]: readonly [Value, Value, Value], // [1, Q, D], [B, P, D], [B, P, D]
  mask: Value | undefined, // [B, 1, 1, P]
  { hiddenSize: width, queryNum, numAttentionHeads: heads }: ResamplerConfig,
): Value {
  const project = (index: number, x: Value) => {
    const [start, end] = [index * width, (index + 1) * width]
    return g.linear(x, g.slice(w.inProjWeight, 0, start, end), g.slice(w.inProjBias, 0, start, end))
  }
  const attrs = { heads, kvHeads: heads, scale: 1 / Math.sqrt(width / heads) }
  const queries = g.expand(project(0, q), [k.shape[0]!, queryNum, width])
  const mixed = g.attention(queries, project(1, k), project(2, v), attrs, mask)
  return linear(g, w.outProj, mixed) // [B, Q, D]
}

/**
 * The resampler as a graph.
 * Inputs: hidden [B, P, Dv] of the tower, positions [B, P, D] (sines and cosines of column and row); with `masked` also
 * keyMask [B, 1, 1, P], very negative where a patch is padding.
 * Output: embeds [B, Q, D], which take the place of token embeddings unchanged.
 */
export function resamplerGraph(c: ResamplerConfig, options: { readonly masked?: boolean } = {}): Graph {
  const { hiddenSize: width, visionSize, queryNum, layerNormEps } = c
  const g = new Graph("resampler")
  const w = bindWeights(g, resamplerSpec(c), RESAMPLER_PREFIX)
  const hidden = g.input("hidden", "f32", ["B", "P", visionSize])
  const positions = g.input("positions", "f32", ["B", "P", width])
  const mask = options.masked ? g.input("keyMask", "f32", ["B", 1, 1, "P"]) : undefined

  const values = layerNorm(g, w.lnKv, w.kvProj ? linear(g, w.kvProj, hidden) : hidden, layerNormEps) // [B, P, D]
  const queries = g.reshape(layerNorm(g, w.lnQ, w.query, layerNormEps), [1, queryNum, width])
  const attended = g.scope("attn", () => attention(g, w.attn, [queries, g.add(values, positions), values], mask, c))
  // Quirk of the checkpoint: `proj` is applied as it is stored, x · proj, not transposed like a linear layer.
  const rows = g.reshape(layerNorm(g, w.lnPost, attended, layerNormEps), [dimMul("B", queryNum), width])
  g.output("embeds", g.reshape(g.matmul(rows, w.proj), ["B", queryNum, width]))
  return g
}
