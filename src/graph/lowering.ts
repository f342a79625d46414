/**
 * @file Lowering: what a target runs instead of the model's ops. Each rule replaces one node; the table says which rules
 * a target has. A linear layer is lowered by how its weight is stored.
 */
import { sizeOf } from "../tensor/index.ts"
import { shapesEqual } from "./dim.ts"
import { CPU_FUSIONS, fuseWholeAttention } from "./fusion.ts"
import type { Graph } from "./graph.ts"
import type { Node, OpName, Value } from "./node.ts"
import type { ActivationBits, OpAttrs } from "./ops/attrs.ts"
import { opOf } from "./ops/table.ts"
import { expandDeep, expandForOnnx, type RewriteRule, rewrite } from "./rewrite.ts"

/** Where a lowered graph runs. `portable` uses standard ONNX alone and loads in any ONNX tool. */
export type Target = "portable" | "cpu" | "webgpu"

/** What happens to the input of a quantized linear layer first; the weight is stored so that the product stays. */
export type InputStorage = {
  /** Stored array f32 [I] that the input is multiplied by; layers that name the same share the product. */
  readonly balance?: string | undefined
  /** Then the input is rotated in Hadamard blocks of so many channels, which spreads outliers; 1 for none. */
  readonly rotation: number
}

/** How the weight of a linear layer is stored; see convert for the formats. */
export type LinearStorage =
  | { readonly kind: "f32" }
  | (InputStorage & { readonly kind: "int8" })
  | (InputStorage & { readonly kind: "int8-blocks"; readonly blockSize: number })
  | (InputStorage & { readonly kind: "int4"; readonly blockSize: number })

export type LoweringOptions = {
  readonly target: Target
  /** The storage of a linear weight [O, I] by name; f32 when absent. */
  readonly storage?: (name: string) => LinearStorage
  /** What inputs of int8 products are rounded to; 8 when absent. */
  readonly activationBits?: ActivationBits
}

/** Names under which a bundle keeps the parts of a quantized weight. */
export const storedNames = {
  int8: (name: string) => ({ codes: `${name}.int8`, scales: `${name}.int8.scales` }),
  "int8-blocks": (name: string) => ({ codes: `${name}.int8b`, scales: `${name}.int8b.scales` }),
  int4: (name: string) => ({ codes: `${name}.int4`, scales: `${name}.int4.scales` }),
  balance: (name: string) => `${name}.balance`,
}

/** A stored weight as a linear layer reads it: rows [start, end) of the matrix [outer, inner]. */
type LinearWeight = {
  readonly name: string
  readonly outer: number
  readonly inner: number
  readonly start: number
  readonly end: number
}

/**
 * The stored weight behind a linear layer's: itself, flattened (the kernel of a patch convolution, [O, ...] as [O, I]),
 * or some of its rows (packed projections). Undefined for anything computed.
 */
export function linearWeight(value: Value): LinearWeight | undefined {
  const { op, inputs, attrs } = value.node
  if (op === "weight") {
    const { name, shape } = attrs as Node<"weight">["attrs"]
    const outer = shape[0] ?? 1
    return { name, outer, inner: sizeOf(shape.slice(1)), start: 0, end: outer }
  }
  const whole = op === "reshape" || op === "slice" ? linearWeight(inputs[0]!) : undefined
  if (!whole || whole.end - whole.start !== whole.outer) return undefined
  if (op === "reshape") return shapesEqual(value.shape, [whole.outer, whole.inner]) ? whole : undefined
  const { axis, start, end } = attrs as Node<"slice">["attrs"]
  return axis === 0 && typeof start === "number" && typeof end === "number" ? { ...whole, start, end } : undefined
}

function quantizedLinear(storage: (name: string) => LinearStorage, bits: ActivationBits): RewriteRule {
  return (g, node, [x, value, bias]) => {
    const weight = node.op === "linear" ? linearWeight(value!) : undefined
    if (!weight) return undefined
    const stored = storage(weight.name)
    if (stored.kind === "f32") return undefined
    const input = preparedInput(g, x!, weight.inner, stored)
    const product =
      stored.kind === "int8" ? int8Product(g, input, weight, bits) : blockProduct(g, input, weight, stored)
    return [bias ? addBias(g, product, bias) : product]
  }
}

/** Weights in blocks with a scale each: few bytes per weight, made for one row. */
function blockProduct(
  g: Graph,
  x: Value,
  weight: LinearWeight,
  { kind, blockSize }: { readonly kind: "int4" | "int8-blocks"; readonly blockSize: number },
): Value {
  const { name, outer, inner, start, end } = weight
  const bits = kind === "int4" ? 4 : 8
  const blocks = Math.ceil(inner / blockSize)
  const stored = storedNames[kind](name)
  const codes = rowsOf(g, g.weight(stored.codes, [outer, blocks, (blockSize * bits) / 8], "u8"), 0, weight)
  const scales = rowsOf(g, g.weight(stored.scales, [outer, blocks]), 0, weight)
  return g.apply("matMulNBits", [x, codes, scales], { bits, blockSize, inner, outer: end - start })
}

/** Integer product of quantized rows and columns, then both scales: made for many rows. */
function int8Product(g: Graph, x: Value, weight: LinearWeight, bits: ActivationBits): Value {
  const { name, outer, inner } = weight
  const stored = storedNames.int8(name)
  const [rows, largest] = once(g, "quantizeRows", [x], { bits })
  const codes = rowsOf(g, g.weight(stored.codes, [inner, outer], "i8"), 1, weight)
  const scales = rowsOf(g, g.weight(stored.scales, [outer]), 0, weight)
  return g.mul(g.apply("matMulIntegerToFloat", [rows!, codes, scales], { bits }), largest!)
}

/** The part of a stored array that belongs to a weight's rows, which lie along `axis`; backends cut it when they load. */
function rowsOf(g: Graph, array: Value, axis: number, { outer, start, end }: LinearWeight): Value {
  return end - start === outer ? array : g.slice(array, axis, start, end)
}

/** The input as the stored weight expects it. */
function preparedInput(g: Graph, x: Value, inner: number, { balance, rotation }: InputStorage): Value {
  let input = x
  if (balance !== undefined) {
    const shape = [...new Array<number>(x.shape.length - 1).fill(1), inner]
    const [factors] = once(g, "reshape", [g.weight(balance, [inner])], { shape })
    input = once(g, "mul", [x, factors!], {})[0]!
  }
  return rotation === 1 ? input : once(g, "rotateBlocks", [input], { block: rotation })[0]!
}

/** Adds a node, or finds the same one: linear layers that read one value (q, k, v; gate, up) prepare it once. */
function once<K extends OpName>(g: Graph, op: K, inputs: readonly Value[], attrs: OpAttrs[K]): readonly Value[] {
  const written = JSON.stringify(attrs)
  const known = g.nodes.findLast((node) => {
    return (
      node.op === op && inputs.every((input, i) => node.inputs[i] === input) && JSON.stringify(node.attrs) === written
    )
  })
  return known ? known.outputs : g.applyAll(op, inputs, attrs)
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

/** A reshape that changes nothing still takes as long as a small op. */
const dropReshape: RewriteRule = (_, node, [x]) =>
  node.op === "reshape" && shapesEqual(x!.shape, node.outputs[0]!.shape) ? [x!] : undefined

const expandAttention: RewriteRule = (g, node, inputs) => {
  if (node.op !== "attention") return undefined
  return expandDeep(g, node, inputs, (inner) => opOf(inner.op).onnx === "expand")
}

const RULES: { readonly [T in Target]: readonly RewriteRule[] } = {
  portable: [],
  cpu: [floatLinear, fuseMatMul, fuseSilu],
  webgpu: [],
}

/** Rules for attention, before its other forms are expanded. */
const ATTENTION: { readonly [T in Target]: readonly RewriteRule[] } = {
  portable: [],
  cpu: [fuseWholeAttention],
  webgpu: [],
}

/** Passes over what the rules made. */
const FUSIONS: { readonly [T in Target]: readonly (readonly RewriteRule[])[] } = {
  portable: [],
  cpu: CPU_FUSIONS,
  webgpu: [],
}

/** Input i64 [1] of graphs whose device keeps the cache: positions cached so far. */
export const CACHE_POSITION = "cachePosition"

/**
 * Writes the new rows into the cache on the device: outputs that the next run takes as inputs, so that the cache never
 * crosses to the host and back.
 */
function keepCacheOnDevice(g: Graph): void {
  if (g.cacheSlots.length === 0) return
  const position = g.input(CACHE_POSITION, "i64", [1])
  for (const [i, slot] of g.cacheSlots.entries()) {
    const { name, kvHeads, headSize, keys, values, newKeys, newValues } = slot
    const [batch, steps] = newKeys.shape
    g.scope(name, () => {
      const split = (rows: Value, perm: readonly number[]) =>
        g.transpose(g.reshape(rows, [batch!, steps!, kvHeads, headSize]), perm)
      const present = {
        keys: g.apply("writeRows", [keys, split(newKeys, [0, 2, 1, 3]), position], { axis: 2 }),
        values: g.apply("writeRows", [values, split(newValues, [0, 2, 3, 1]), position], { axis: 3 }),
      }
      g.cacheSlots[i] = { ...slot, present }
    })
  }
}

/**
 * Lowers a model graph for a target: fused and quantized kernels where the target has them, expansions of composite ops
 * everywhere else.
 */
export function lowerFor(graph: Graph, { target, storage, activationBits = 8 }: LoweringOptions): Graph {
  const quantized = storage ? [quantizedLinear(storage, activationBits)] : []
  const expanded = rewrite(graph, [...ATTENTION[target], expandAttention])
  let lowered = rewrite(expanded, [...quantized, ...RULES[target]])
  for (const rules of FUSIONS[target]) lowered = rewrite(lowered, rules)
  lowered = rewrite(lowered, [dropReshape, expandForOnnx])
  if (target === "webgpu") keepCacheOnDevice(lowered)
  return lowered
}
