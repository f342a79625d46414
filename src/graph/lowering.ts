/**
 * @file Lowering: what a target runs instead of the model's ops. Each rule replaces one node; the table says which rules
 * a target has. A linear layer is lowered by how its weight is stored.
 */
import { shapesEqual } from "./dim.ts"
import type { Graph } from "./graph.ts"
import type { Node, Value } from "./node.ts"
import { opOf } from "./ops/table.ts"
import { expandDeep, expandForOnnx, type RewriteRule, rewrite } from "./rewrite.ts"

/** Where a lowered graph runs. `portable` uses standard ONNX alone and loads in any ONNX tool. */
export type Target = "portable" | "cpu" | "webgpu"

/** How the weight of a linear layer is stored; see convert for the formats. */
export type LinearStorage =
  | { readonly kind: "f32" }
  /** `rotation`: the input is rotated in Hadamard blocks of so many channels, which spreads outliers; 1 for none. */
  | { readonly kind: "int8"; readonly rotation: number }
  | { readonly kind: "int4"; readonly blockSize: number }

export type LoweringOptions = {
  readonly target: Target
  /** The storage of a linear weight [O, I] by name; f32 when absent. */
  readonly storage?: (name: string) => LinearStorage
}

/** Names under which a bundle keeps the parts of a quantized weight. */
export const storedNames = {
  int8: (name: string) => ({ codes: `${name}.int8`, scales: `${name}.int8.scales` }),
  int4: (name: string) => ({ codes: `${name}.int4`, scales: `${name}.int4.scales` }),
}

function weightName(value: Value): string | undefined {
  return value.node.op === "weight" ? (value.node.attrs as Node<"weight">["attrs"]).name : undefined
}

function quantizedLinear(storage: (name: string) => LinearStorage): RewriteRule {
  return (g, node, [x, weight, bias]) => {
    const name = node.op === "linear" ? weightName(weight!) : undefined
    if (name === undefined) return undefined
    const stored = storage(name)
    if (stored.kind === "f32") return undefined
    const product =
      stored.kind === "int4"
        ? int4Product(g, x!, weight!, name, stored.blockSize)
        : int8Product(g, x!, weight!, name, stored.rotation)
    return [bias ? addBias(g, product, bias) : product]
  }
}

/** Weights in blocks with a scale each: few bytes per weight, made for one row. */
function int4Product(g: Graph, x: Value, weight: Value, name: string, blockSize: number): Value {
  const [outer, inner] = weight.shape as [number, number]
  const blocks = Math.ceil(inner / blockSize)
  const { codes, scales } = storedNames.int4(name)
  const packed = g.weight(codes, [outer, blocks, blockSize / 2], "u8")
  return g.apply("matMulNBits", [x, packed, g.weight(scales, [outer, blocks])], { bits: 4, blockSize, inner, outer })
}

/** Integer product of quantized rows and columns, then both scales: made for many rows. */
function int8Product(g: Graph, x: Value, weight: Value, name: string, rotation: number): Value {
  const [outer, inner] = weight.shape as [number, number]
  const { codes, scales } = storedNames.int8(name)
  const [rows, steps] = quantizedInput(g, x, rotation)
  const columns = [g.weight(codes, [inner, outer], "i8"), g.weight(scales, [outer])]
  return g.mul(g.apply("matMulIntegerToFloat", [rows, ...columns], {}), steps)
}

/** Linear layers that read one value (q, k, v; gate, up) rotate and quantize it once. */
function quantizedInput(g: Graph, x: Value, rotation: number): readonly [Value, Value] {
  const known = g.nodes.findLast(({ op, inputs, attrs }) => {
    return op === "quantizeRows" && inputs[0] === x && (attrs as Node<"quantizeRows">["attrs"]).rotation === rotation
  })
  const [codes, steps] = known ? known.outputs : g.applyAll("quantizeRows", [x], { rotation })
  return [codes!, steps!]
}

function addBias(g: Graph, x: Value, bias: Value): Value {
  return g.add(x, g.reshape(bias, [...new Array<number>(x.shape.length - 1).fill(1), bias.shape[0]!]))
}

/** Float linear layers keep the checkpoint's [O, I] layout: the product transposes, not a copy of the weight. */
const floatLinear: RewriteRule = (g, node, [x, weight, bias]) => {
  if (node.op !== "linear") return undefined
  const rows = g.reshape(x!, [1, ...x!.shape].slice(x!.shape.length > 1 ? 1 : 0))
  const wide = g.reshape(weight!, [...new Array<number>(Math.max(0, rows.shape.length - 2)).fill(1), ...weight!.shape])
  const product = g.apply("fusedMatMul", [rows, wide], { transA: false, transB: true, alpha: 1 })
  return [bias ? addBias(g, product, bias) : product]
}

const fuseMatMul: RewriteRule = (g, node, inputs) => {
  if (node.op !== "matmul") return undefined
  return [g.apply("fusedMatMul", inputs, node.attrs as Node<"matmul">["attrs"])]
}

const fuseSilu: RewriteRule = (g, node, [x]) =>
  node.op === "silu" ? [g.apply("quickGelu", [x!], { alpha: 1 })] : undefined

/** rmsNorm(a + b) where the sum is used again: one kernel makes both. The sum's place comes first, so it is made there. */
const fuseSkipNorm: RewriteRule = (g, node, [a, b], { users }) => {
  if (node.op === "rmsNorm") {
    const sum = a!.node
    return sum.op === "skipRmsNorm" && a!.index === 1 ? [sum.outputs[0]!] : undefined
  }
  if (node.op !== "add" || !shapesEqual(a!.shape, b!.shape)) return undefined
  const norms = users(node.outputs[0]!).filter(({ op, inputs }) => op === "rmsNorm" && inputs[0] === node.outputs[0])
  const [norm] = norms
  if (norms.length !== 1 || norm!.inputs[1]!.node.op !== "weight") return undefined
  const { name, dtype, shape } = norm!.inputs[1]!.node.attrs as Node<"weight">["attrs"]
  const { epsilon } = norm!.attrs as Node<"rmsNorm">["attrs"]
  return [g.applyAll("skipRmsNorm", [a!, b!, g.weight(name, shape, dtype)], { epsilon })[1]!]
}

const fuseRotary: RewriteRule = (g, node, inputs) => {
  if (node.op !== "rotary" || inputs[1]!.shape[0] !== 1) return undefined
  return [g.apply("rotaryEmbedding", inputs, node.attrs as Node<"rotary">["attrs"])]
}

const expandAttention: RewriteRule = (g, node, inputs) => {
  if (node.op !== "attention") return undefined
  return expandDeep(g, node, inputs, (inner) => opOf(inner.op).onnx === "expand")
}

const RULES: { readonly [T in Target]: readonly RewriteRule[] } = {
  portable: [],
  cpu: [floatLinear, fuseMatMul, fuseSilu, fuseSkipNorm, fuseRotary],
  webgpu: [],
}

/**
 * Lowers a model graph for a target: fused and quantized kernels where the target has them, expansions of composite ops
 * everywhere else.
 */
export function lowerFor(graph: Graph, { target, storage }: LoweringOptions): Graph {
  const quantized = storage ? [quantizedLinear(storage)] : []
  const expanded = rewrite(graph, [expandAttention])
  return rewrite(rewrite(expanded, [...quantized, ...RULES[target]]), [expandForOnnx])
}
