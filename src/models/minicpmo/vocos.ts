/**
 * @file Vocos, the vocoder: log-mel to the linear output of its head, log magnitudes and phases of each frame. The
 * inverse transform that follows is `audio`'s.
 * Source: VocosBackbone and ISTFTHead of vocos 0.1.0.
 */
import { Graph } from "../../graph/index.ts"
import {
  biasedLinearSpec,
  bindWeights,
  conv1d,
  conv1dSpec,
  convNext,
  convNextSpec,
  layerNorm,
  layerNormSpec,
  linear,
} from "../../nn/index.ts"
import { weightSpec } from "../../tensor/index.ts"
import { countOf, knownShape, type ShapeOf } from "./tensor-shapes.ts"

/** The vocoder's file inside a model folder; its tensors have no prefix. */
export const VOCOS_FILE = "assets/Vocos.pt"

const EPSILON = 1e-6

export type VocosConfig = {
  readonly melBins: number
  readonly hidden: number
  readonly intermediate: number
  readonly depth: number
  /** Taps of the first convolution and of those in the blocks. */
  readonly embedKernel: number
  readonly kernel: number
  readonly fftSize: number
}

/** @throws CheckpointError when a tensor is missing */
export function vocosConfig(shapeOf: ShapeOf): VocosConfig {
  const shape = (name: string, rank: number) => knownShape(shapeOf, name, rank) as number[]
  const [hidden, melBins, embedKernel] = shape("backbone.embed.weight", 3)
  return {
    melBins: melBins!,
    hidden: hidden!,
    intermediate: shape("backbone.convnext.0.pwconv1.weight", 2)[0]!,
    depth: countOf(shapeOf, (i) => `backbone.convnext.${i}.gamma`),
    embedKernel: embedKernel!,
    kernel: shape("backbone.convnext.0.dwconv.weight", 3)[2]!,
    fftSize: shape("head.out.weight", 2)[0]! - 2,
  }
}

/** All of the vocoder's file. */
export const vocosSpec = (c: VocosConfig) => ({
  featureExtractor: {
    melSpec: {
      spectrogram: { window: weightSpec([0], { ignored: "front end of training" }) },
      melScale: { fb: weightSpec([0], { ignored: "front end of training" }) },
    },
  },
  backbone: {
    embed: conv1dSpec(c.melBins, c.hidden, c.embedKernel),
    norm: layerNormSpec(c.hidden),
    convnext: Array.from({ length: c.depth }, () => ({
      gamma: weightSpec([c.hidden], { mean: 0.1 }),
      ...convNextSpec(c.hidden, c.intermediate, c.kernel),
    })),
    finalLayerNorm: layerNormSpec(c.hidden),
  },
  head: {
    out: biasedLinearSpec(c.hidden, c.fftSize + 2),
    istft: { window: weightSpec([c.fftSize], { mean: 1, deviation: 0 }) }, // official: Hann; any that is never 0 works
  },
})

/** How many mel frames on each side decide about a frame of the head. */
export function vocosReach({ depth, kernel, embedKernel }: VocosConfig): number {
  return (embedKernel - 1) / 2 + (depth * (kernel - 1)) / 2
}

/** Input mel [B, M, L], output head [B, L, fftSize + 2], and `backbone` [B, L, D] where asked. */
export function vocosGraph(c: VocosConfig, options: { readonly keepBackbone?: boolean } = {}): Graph {
  const g = new Graph("vocos")
  const { backbone, head } = bindWeights(g, vocosSpec(c), "")
  const embedded = conv1d(g, backbone.embed, g.input("mel", "f32", ["B", c.melBins, "L"])) // [B, D, L]
  const normed = layerNorm(g, backbone.norm, g.transpose(embedded, [0, 2, 1]), EPSILON)
  let x = g.transpose(normed, [0, 2, 1]) // [B, D, L]
  for (const [i, block] of backbone.convnext.entries()) {
    const input = x
    x = g.scope(`convnext.${i}`, () => convNext(g, block, input, block.gamma))
  }
  const states = layerNorm(g, backbone.finalLayerNorm, g.transpose(x, [0, 2, 1]), EPSILON) // [B, L, D]
  if (options.keepBackbone) g.output("backbone", states)
  g.output("head", linear(g, head.out, states))
  return g
}
