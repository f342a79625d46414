/**
 * @file The vocabulary: every op's name and the type of its attributes. The op table must have an entry for each line
 * here, or it does not compile.
 */
import type { DType, HostTensor } from "../../tensor/index.ts"
import type { Dim, Shape } from "../dim.ts"

type None = { readonly [key: string]: never }

/** Matrix product of the last two axes: alpha · op(a) · op(b). */
export type MatmulAttrs = { readonly transA: boolean; readonly transB: boolean; readonly alpha: number }
export type ConvAttrs = {
  readonly stride: number
  readonly padding: number
  readonly dilation: number
  readonly groups: number
}
export type ReduceAttrs = { readonly axes: readonly number[]; readonly keepDims: boolean }
export type AttentionAttrs = {
  readonly heads: number
  readonly kvHeads: number
  readonly scale: number
  /** Inputs 3 and 4 are cached keys [B, G, S, K] and values [B, G, K, S]. */
  readonly cached: boolean
  /** The last input is an additive mask [B or 1, 1, T, S + T]. */
  readonly masked: boolean
}
/**
 * Bits of the unsigned codes that meet 8-bit weights. 7 for processors that add two products in 16 bits and saturate:
 * 127 · 127 · 2 fits, 255 · 127 · 2 does not.
 */
export type ActivationBits = 7 | 8

export type MatMulNBitsAttrs = {
  readonly bits: 4 | 8
  readonly blockSize: number
  readonly inner: number
  readonly outer: number
}

export type OpAttrs = {
  // Sources: no inputs.
  input: { readonly name: string; readonly dtype: DType; readonly shape: Shape }
  weight: { readonly name: string; readonly dtype: DType; readonly shape: readonly number[] }
  constant: { readonly value: HostTensor }
  /** A dim's value at run time as a tensor of `rank` size-1 dims. */
  dimValue: { readonly dim: Dim; readonly dtype: DType; readonly rank: number }

  // Elementwise, one input.
  neg: None
  abs: None
  sign: None
  exp: None
  log: None
  sqrt: None
  reciprocal: None
  sin: None
  cos: None
  tanh: None
  sigmoid: None
  erf: None
  floor: None
  /** Half to even. */
  round: None
  not: None
  silu: None
  /** Exact, with erf. */
  gelu: None
  /** tanh approximation. */
  geluTanh: None
  cast: { readonly to: DType }

  // Elementwise, two inputs of equal rank; size-1 dims broadcast.
  add: None
  sub: None
  mul: None
  div: None
  pow: None
  maximum: None
  minimum: None
  equal: None
  less: None
  greater: None
  and: None
  or: None
  /** condition (bool), a, b. */
  where: None

  // Shape.
  reshape: { readonly shape: Shape }
  transpose: { readonly perm: readonly number[] }
  expand: { readonly shape: Shape }
  concat: { readonly axis: number }
  slice: { readonly axis: number; readonly start: Dim; readonly end: Dim }
  /** Zeros before and after along one axis. */
  pad: { readonly axis: number; readonly before: Dim; readonly after: Dim }
  /** x, indices (i64, any rank): the axis is replaced by the indices' shape. */
  gather: { readonly axis: number }
  /** indices [R], rows [R, …] → [size, …]: rows added up at their indices along axis 0. */
  scatterAdd: { readonly size: Dim }

  // Reductions and normalization.
  reduceSum: ReduceAttrs
  reduceMean: ReduceAttrs
  /** At ties the gradient goes to every maximum in equal parts. */
  reduceMax: ReduceAttrs
  argMax: { readonly axis: number }
  softmax: { readonly axis: number }
  logSoftmax: { readonly axis: number }
  /** x [..., D], weight [D]. */
  rmsNorm: { readonly epsilon: number }
  /** x [..., D], weight [D], bias [D]. */
  layerNorm: { readonly epsilon: number }

  // Linear algebra.
  matmul: MatmulAttrs
  /** x [..., I], weight [O, I], bias? [O]. */
  linear: None
  /** x [B, C, L], weight [O, C/groups, k], bias? [O]. */
  conv1d: ConvAttrs
  /** weight, gradient of the output → gradient of x, `length` long. */
  conv1dInputGrad: ConvAttrs & { readonly length: Dim }
  /** x, gradient of the output → gradient of the weight, `kernel` wide. */
  conv1dWeightGrad: ConvAttrs & { readonly kernel: number }
  /** x [B, T, H·K], cos and sin [B or 1, T, K/2]: pairs (d, d + K/2) rotated within each head. */
  rotary: { readonly heads: number }
  /** q [B, T, H·K], k and v [B, T, G·K], cached keys and values?, mask? → [B, T, H·K]. */
  attention: AttentionAttrs

  // Target ops: made by lowerings only, never by model code.
  fusedMatMul: MatmulAttrs
  /** x [..., I], packed weight u8 [O, I/block, block·bits/8], scales f32 [O, I/block]. */
  matMulNBits: MatMulNBitsAttrs
  /** x [..., I], each run of `block` channels times the orthonormal Hadamard matrix. */
  rotateBlocks: { readonly block: number }
  /** x [..., I] → u8 [..., I] of so many bits, zero point in their middle, and row scales [..., 1]. */
  quantizeRows: { readonly bits: ActivationBits }
  /** a u8 [..., I] of so many bits, b i8 [I, O], column scales [O] → f32 [..., O]. */
  matMulIntegerToFloat: { readonly bits: ActivationBits }
  /** cache, rows, position (i64 [1]): the cache with rows in place of its own along the axis, from that position on. */
  writeRows: { readonly axis: number }
  /** rmsNorm, as one kernel. */
  fusedRmsNorm: { readonly epsilon: number }
  /** x, skip [..., D], weight [D] → rmsNorm(x + skip), x + skip. */
  skipRmsNorm: { readonly epsilon: number }
  /** x·sigmoid(alpha·x). */
  quickGelu: { readonly alpha: number }
  /** rotary, as one kernel. */
  rotaryEmbedding: { readonly heads: number }
  /** q [B, T, H·K], k and v [B, S, H·K] → [B, T, H·K]. */
  multiHeadAttention: { readonly heads: number; readonly scale: number }
  /** gelu(x + bias): x [..., D], bias [D]. */
  biasGelu: { readonly approximate: "none" | "tanh" }
}
