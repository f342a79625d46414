/**
 * @file The speech codec (DVAE): frames of R codes to log-mel and back. Two groups of channels carry the even and the odd
 * mel frame of a code frame; each group is two residual stages of finite scalar quantization.
 * Letters: R codebooks, C channels of a group, A code frames, L = 2A mel frames.
 * Source: DVAE and GFSQ (modeling_minicpmo.py); vector-quantize-pytorch 1.18.5 (ResidualFSQ, later ones round otherwise).
 */
import { Graph, type Value } from "../../graph/index.ts"
import {
  biasedLinearSpec,
  bindWeights,
  conv1d,
  conv1dSpec,
  convNext,
  convNextSpec,
  type GraphWeights,
  linear,
  unbiasedConv1dSpec,
} from "../../nn/index.ts"
import { f32, weightSpec } from "../../tensor/index.ts"
import { ConfigError } from "../../util/index.ts"
import { TTS_PREFIX } from "./conditional-chat-tts.ts"
import { countOf, knownShape, type ShapeOf } from "./tensor-shapes.ts"

export const DVAE_PREFIX = `${TTS_PREFIX}.dvae`

/** Values of one code digit: -1, -0.5, 0, 0.5, 1. Fixed by the official code, like the two groups. */
const LEVELS = 5
const HALF_WIDTH = (LEVELS - 1) / 2
/** The quantizer's bound lies this much beyond the outer levels. */
const BOUND_MARGIN = 1e-3
const GROUPS = 2
const DILATION = 2

/** Sizes of one ConvNeXt stack. */
export type DvaeStackConfig = {
  readonly inner: number
  readonly bottleneck: number
  readonly hidden: number
  readonly intermediate: number
  readonly outer: number
  readonly depth: number
  readonly kernel: number
}

export type DvaeConfig = {
  readonly melBins: number
  /** Channels of one group, C. */
  readonly channels: number
  /** Codebooks, R. */
  readonly codebooks: number
  /** Digits of a code. */
  readonly digits: number
  readonly encoder: DvaeStackConfig
  readonly decoder: DvaeStackConfig
}

/** @throws CheckpointError when a tensor is missing; ConfigError when the codebooks do not fall into two groups */
export function dvaeConfig(shapeOf: ShapeOf, codebooks: number): DvaeConfig {
  const shape = (name: string, rank: number) => knownShape(shapeOf, `${DVAE_PREFIX}.${name}`, rank) as number[]
  const stack = (side: "encoder" | "decoder"): DvaeStackConfig => {
    const [bottleneck, inner] = shape(`${side}.conv_in.0.weight`, 3)
    const [intermediate, hidden] = shape(`${side}.decoder_block.0.pwconv1.weight`, 2)
    return {
      inner: inner!,
      bottleneck: bottleneck!,
      hidden: hidden!,
      intermediate: intermediate!,
      outer: shape(`${side}.conv_out.weight`, 3)[0]!,
      depth: countOf(shapeOf, (i) => `${DVAE_PREFIX}.${side}.decoder_block.${i}.coef`),
      kernel: shape(`${side}.decoder_block.0.dwconv.weight`, 3)[2]!,
    }
  }
  if (codebooks % GROUPS !== 0) {
    throw new ConfigError(`tts_config.num_vq: expected a multiple of ${GROUPS}, got ${codebooks}`)
  }
  const [digits, channels] = shape("vq_layer.quantizer.rvqs.0.project_in.weight", 2)
  return {
    melBins: shape("coef", 3)[1]!,
    channels: channels!,
    codebooks,
    digits: digits!,
    encoder: stack("encoder"),
    decoder: stack("decoder"),
  }
}

const stackSpec = (c: DvaeStackConfig) => ({
  convIn: { 0: conv1dSpec(c.inner, c.bottleneck, 3), 2: conv1dSpec(c.bottleneck, c.hidden, 3) },
  decoderBlock: Array.from({ length: c.depth }, () => ({
    coef: weightSpec([c.hidden], { mean: 0.1 }),
    ...convNextSpec(c.hidden, c.intermediate, c.kernel),
  })),
  convOut: unbiasedConv1dSpec(c.hidden, c.outer, 1),
})

/** All of `tts.dvae.*`. */
export const dvaeSpec = (c: DvaeConfig) => ({
  coef: weightSpec([1, c.melBins, 1], { mean: 1 }),
  downsampleConv: {
    0: conv1dSpec(c.melBins, c.encoder.inner, 3),
    2: conv1dSpec(c.encoder.inner, c.encoder.inner, 4),
  },
  encoder: stackSpec(c.encoder),
  decoder: stackSpec(c.decoder),
  outConv: unbiasedConv1dSpec(c.decoder.outer, c.melBins, 3),
  vqLayer: {
    quantizer: {
      rvqs: Array.from({ length: GROUPS }, () => ({
        projectIn: biasedLinearSpec(c.channels, c.digits),
        projectOut: biasedLinearSpec(c.digits, c.channels),
      })),
    },
  },
})

/** How many mel frames on each side decide about a decoded one. */
export function dvaeReach({ decoder: { depth, kernel } }: DvaeConfig): number {
  const threeTaps = 3 // conv_in twice and out_conv
  return threeTaps + (depth * DILATION * (kernel - 1)) / 2
}

function stack(
  g: Graph,
  w: GraphWeights<ReturnType<typeof stackSpec>>,
  x: Value, // [B, inner, L]
): Value {
  let y = conv1d(g, w.convIn[2], g.gelu(conv1d(g, w.convIn[0], x))) // [B, hidden, L]
  for (const [i, block] of w.decoderBlock.entries()) {
    const input = y
    y = g.scope(`${i}`, () => convNext(g, block, input, block.coef, DILATION))
  }
  return conv1d(g, w.convOut, y) // [B, outer, L]
}

/** How many codes of a codebook are sounds: 5^digits. */
export function soundCodes({ digits }: DvaeConfig): number {
  return LEVELS ** digits
}

/** Residual stage r refines with this scale. */
function stageScale(stage: number): number {
  return (LEVELS - 1) ** -stage
}

/** The values of every code's digits, lowest digit first, before the stage's scale.  // [codes, digits] */
export function fsqTable(digits: number): Float32Array {
  const table = new Float32Array(LEVELS ** digits * digits)
  for (let i = 0; i < table.length; i++) {
    const digit = Math.floor(Math.floor(i / digits) / LEVELS ** (i % digits)) % LEVELS
    table[i] = (digit - HALF_WIDTH) / HALF_WIDTH
  }
  return table
}

/** codes i64 [B, R, A] → features [B, A, 2C]. */
function dequantize(g: Graph, w: GraphWeights<ReturnType<typeof dvaeSpec>>, codes: Value, c: DvaeConfig): Value {
  const stages = c.codebooks / GROUPS
  const [batch, , frames] = codes.shape
  const table = g.constant(f32([LEVELS ** c.digits, c.digits], fsqTable(c.digits)))
  const groups = w.vqLayer.quantizer.rvqs.map(({ projectOut }, group) => {
    const parts = Array.from({ length: stages }, (_, stage) => {
      const codebook = group * stages + stage
      const line = g.reshape(g.slice(codes, 1, codebook, codebook + 1), [batch!, frames!])
      return g.scale(g.gather(table, line), stageScale(stage)) // [B, A, digits]
    })
    return linear(g, projectOut, parts.reduce(g.add)) // [B, A, C]
  })
  return g.concat(groups, 2)
}

/**
 * Codes to sound: input codes i64 [B, R, A], output mel [B, M, 2A] (natural log), and `features` [B, A, 2C] where asked.
 */
export function dvaeDecodeGraph(c: DvaeConfig, options: { readonly keepFeatures?: boolean } = {}): Graph {
  const g = new Graph("dvae.decode")
  const w = bindWeights(g, dvaeSpec(c), DVAE_PREFIX)
  const codes = g.input("codes", "i64", ["B", c.codebooks, "A"])
  const features = dequantize(g, w, codes, c)
  if (options.keepFeatures) g.output("features", features)
  const frames = g.reshape(features, ["B", "2*A", c.channels]) // group 0 is the even frame, group 1 the odd one
  const decoded = g.scope("decoder", () => stack(g, w.decoder, g.transpose(frames, [0, 2, 1]))) // [B, C, L]
  g.output("mel", g.mul(conv1d(g, w.outConv, decoded), w.coef))
  return g
}

/** latents [B, A, 2C] → codes i64 [B, R, A]. */
function quantize(g: Graph, w: GraphWeights<ReturnType<typeof dvaeSpec>>, latents: Value, c: DvaeConfig): Value {
  const stages = c.codebooks / GROUPS
  const [batch, frames] = latents.shape
  const places = Float32Array.from({ length: c.digits }, (_, digit) => LEVELS ** digit)
  const basis = g.constant(f32([1, 1, c.digits], places))
  const codes = w.vqLayer.quantizer.rvqs.flatMap(({ projectIn }, group) => {
    let rest = linear(g, projectIn, g.slice(latents, 2, group * c.channels, (group + 1) * c.channels)) // [B, A, digits]
    return Array.from({ length: stages }, (_, stage) => {
      const bounded = g.scale(g.tanh(g.scale(rest, 1 / stageScale(stage))), HALF_WIDTH * (1 + BOUND_MARGIN))
      const level = g.round(bounded) // -2 … 2
      rest = g.sub(rest, g.scale(level, stageScale(stage) / HALF_WIDTH))
      const code = g.reduceSum(g.mul(g.addScalar(level, HALF_WIDTH), basis), [2]) // [B, A]
      return g.reshape(g.cast(code, "i64"), [batch!, 1, frames!])
    })
  })
  return g.concat(codes, 1)
}

/**
 * Sound to codes: input mel [B, M, L] (natural log) with A = floor(L/2), output codes i64 [B, R, A], and `latents` [B, 2C, A] where asked.
 */
export function dvaeEncodeGraph(c: DvaeConfig, options: { readonly keepLatents?: boolean } = {}): Graph {
  const g = new Graph("dvae.encode")
  const w = bindWeights(g, dvaeSpec(c), DVAE_PREFIX)
  const mel = g.div(g.input("mel", "f32", ["B", c.melBins, "L"]), w.coef)
  const x = g.gelu(conv1d(g, w.downsampleConv[0], mel)) // [B, C, L]
  const halved = g.gelu(conv1d(g, w.downsampleConv[2], x, { stride: 2, padding: 1 })) // [B, C, A]
  const latents = g.scope("encoder", () => stack(g, w.encoder, halved)) // [B, 2C, A]
  if (options.keepLatents) g.output("latents", latents)
  g.output("codes", quantize(g, w, g.transpose(latents, [0, 2, 1]), c))
  return g
}
