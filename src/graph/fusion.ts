/**
 * @file Fusions for ONNX Runtime's CPU kernels, made after linear layers were lowered: factors of balanced inputs go into
 * the norm before them, bias and activation become one kernel, and so do residual sum and RMS norm. They change no value
 * beyond rounding.
 */
import { shapesEqual } from "./dim.ts"
import type { Graph } from "./graph.ts"
import type { Node, Value } from "./node.ts"
import type { RewriteRule } from "./rewrite.ts"

/** Whether weights alone decide a value: backends compute it when they load. */
function isConstant({ node }: Value): boolean {
  return node.op === "weight" || ((node.op === "mul" || node.op === "reshape") && node.inputs.every(isConstant))
}

/** A value that weights alone decide, made again where it is needed earlier. */
function copied(g: Graph, { node }: Value): Value {
  if (node.op === "weight") {
    const { name, dtype, shape } = node.attrs as Node<"weight">["attrs"]
    return g.weight(name, shape, dtype)
  }
  return g.apply(
    node.op,
    node.inputs.map((input) => copied(g, input)),
    node.attrs,
  )
}

/** The stored line [D] behind one that was given leading axes of size 1. */
function lineOf(value: Value): Value | undefined {
  const { op, inputs } = value.node
  const line = op === "reshape" ? inputs[0]! : value
  return isConstant(line) && line.shape.length === 1 && line.shape[0] === value.shape.at(-1) ? line : undefined
}

/** norm(x) · factors, where nothing else reads the norm: its gain (and offset) times the factors. */
const foldFactors: RewriteRule = (g, node, [x, factors], { users }) => {
  if (node.op !== "mul" || users(node.inputs[0]!).length !== 1) return undefined
  const norm = x!.node
  if (norm.op !== "layerNorm" && norm.op !== "rmsNorm") return undefined
  const line = lineOf(factors!)
  if (!line) return undefined
  const [from, ...gains] = norm.inputs
  const { epsilon } = norm.attrs as Node<"rmsNorm">["attrs"]
  return [g.apply(norm.op, [from!, ...gains.map((gain) => g.mul(gain, line))], { epsilon })]
}

/** gelu(x + bias), where nothing else reads the sum. */
const fuseBiasGelu: RewriteRule = (g, node, [sum], { users }) => {
  if (node.op !== "gelu" && node.op !== "geluTanh") return undefined
  const { op, inputs } = sum!.node
  if (op !== "add" || users(node.inputs[0]!).length !== 1) return undefined
  const bias = lineOf(inputs[1]!)
  const approximate = node.op === "geluTanh" ? "tanh" : "none"
  return bias && [g.apply("biasGelu", [inputs[0]!, bias], { approximate })]
}

/** rmsNorm(a + b) where the sum is used again: one kernel makes both. The sum's place comes first, so it is made there. */
const fuseSkipNorm: RewriteRule = (g, node, [a, b], { users }) => {
  if (node.op === "rmsNorm") {
    const sum = a!.node
    return sum.op === "skipRmsNorm" && a!.index === 1 ? [sum.outputs[0]!] : undefined
  }
  if (node.op !== "add" || !shapesEqual(a!.shape, b!.shape)) return undefined
  const norms = users(node.outputs[0]!).filter(({ op, inputs }) => op === "rmsNorm" && inputs[0] === node.outputs[0])
  const [norm] = norms
  if (norms.length !== 1 || !isConstant(norm!.inputs[1]!)) return undefined
  const { epsilon } = norm!.attrs as Node<"rmsNorm">["attrs"]
  return [g.applyAll("skipRmsNorm", [a!, b!, copied(g, norm!.inputs[1]!)], { epsilon })[1]!]
}

const fuseNorm: RewriteRule = (g, node, inputs) => {
  if (node.op !== "rmsNorm") return undefined
  return [g.apply("fusedRmsNorm", inputs, node.attrs as Node<"rmsNorm">["attrs"])]
}

const fuseRotary: RewriteRule = (g, node, inputs) => {
  if (node.op !== "rotary" || inputs[1]!.shape[0] !== 1) return undefined
  return [g.apply("rotaryEmbedding", inputs, node.attrs as Node<"rotary">["attrs"])]
}

/** Passes in order: what a later one looks for, an earlier one leaves as it is. */
export const CPU_FUSIONS: readonly (readonly RewriteRule[])[] = [
  [foldFactors, fuseBiasGelu],
  [fuseSkipNorm, fuseNorm, fuseRotary],
]

/** Attention over a whole sequence without a mask: one kernel that holds no scores. */
export const fuseWholeAttention: RewriteRule = (g, node, inputs) => {
  if (node.op !== "attention") return undefined
  const { heads, kvHeads, scale, cached, masked } = node.attrs as Node<"attention">["attrs"]
  if (cached || masked || heads !== kvHeads) return undefined
  return [g.apply("multiHeadAttention", inputs, { heads, scale })]
}
