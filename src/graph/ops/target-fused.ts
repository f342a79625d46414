/**
 * @file Ops that only lowerings make, for towers: attention over whole sequences, and bias with activation, each one kernel
 * of ONNX Runtime's CPU provider. Its kernel of residual sum and layer norm is left alone: it takes four times as long as
 * both by themselves (docs/lab-log.md).
 */
import { f32Data } from "../../tensor/index.ts"
import { shapesEqual, showShape } from "../dim.ts"
import type { OpDef } from "../node.ts"
import { attention } from "./attention.ts"
import type { OpAttrs } from "./attrs.ts"
import { UNARY } from "./elementwise.ts"

const MICROSOFT = "com.microsoft"

const multiHeadAttention: OpDef<OpAttrs["multiHeadAttention"]> = {
  arity: 3,
  infer: (inputs, { heads, scale }, fail) => {
    return attention.infer(inputs, { heads, kvHeads: heads, scale, cached: false, masked: false }, fail)
  },
  evaluate: (inputs, { heads, scale }, types, bind) =>
    attention.evaluate(inputs, { heads, kvHeads: heads, scale, cached: false, masked: false }, types, bind),
  onnx: (emit, node) => {
    const { heads, scale } = node.attrs
    const attributes = { num_heads: { int: heads }, scale: { float: scale } }
    emit.op("MultiHeadAttention", node.inputs, node.outputs, attributes, MICROSOFT)
  },
  gradient: "none",
}

const biasGelu: OpDef<OpAttrs["biasGelu"]> = {
  arity: 2,
  infer: ([x, bias], _, fail) => {
    const ok = x!.dtype === "f32" && bias!.dtype === "f32" && shapesEqual(bias!.shape, [x!.shape.at(-1) ?? 1])
    if (!ok) fail(`expected f32 [..., D] and a bias [D], got ${showShape(x!.shape)} and ${showShape(bias!.shape)}`)
    return [x!]
  },
  evaluate: ([x, bias], { approximate }, types, bind) => {
    const width = bias!.shape[0]!
    const data = f32Data(x!).map((value, i) => value + f32Data(bias!)[i % width]!)
    return UNARY[approximate === "tanh" ? "geluTanh" : "gelu"].evaluate(
      [{ ...x!, data } as typeof x & {}],
      {},
      types,
      bind,
    )
  },
  onnx: (emit, node) => {
    const kernel = node.attrs.approximate === "tanh" ? "FastGelu" : "BiasGelu"
    emit.op(kernel, node.inputs, node.outputs, {}, MICROSOFT)
  },
  gradient: "none",
}

export const TARGET_FUSED = { multiHeadAttention, biasGelu }
