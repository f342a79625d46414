/**
 * @file Graph → ONNX model. Nodes are named by their path, dims that only feeds know are computed inside the model from
 * the shapes of its inputs, weights stay where they are and are referred to by file and offset.
 */
import type { DType, HostTensor } from "../tensor/index.ts"
import { invariant } from "../util/index.ts"
import { type Dim, dimOf, dimTerms, type Shape } from "./dim.ts"
import type { CacheSlot, Graph } from "./graph.ts"
import type { Node, Value } from "./node.ts"
import {
  encodeOnnxModel,
  type OnnxAttribute,
  type OnnxNode,
  type OnnxTensor,
  type OnnxValueInfo,
  onnxDataType,
} from "./onnx-proto.ts"
import { filled } from "./ops/elementwise.ts"
import { isSource, opOf } from "./ops/table.ts"

/** A value inside the model that no node of our graph stands for. */
export type OnnxRef = { readonly ref: string }

/** What an op's ONNX rule may ask for. */
export type OnnxEmitter = {
  /** Adds an ONNX node that computes the given outputs. */
  op(
    opType: string,
    inputs: readonly (Value | OnnxRef)[],
    outputs: readonly (Value | OnnxRef)[],
    attributes?: { readonly [name: string]: OnnxAttribute },
    domain?: string,
  ): void
  /** A new name for an output of a node that is about to be added. */
  name(opType: string): OnnxRef
  /** Adds an ONNX node with one new output. */
  temp(
    opType: string,
    inputs: readonly (Value | OnnxRef)[],
    attributes?: { readonly [name: string]: OnnxAttribute },
    domain?: string,
  ): OnnxRef
  /** A Reshape that takes dims of 0 as they are. */
  reshape(x: Value | OnnxRef, dims: Shape): OnnxRef
  /** i64 [n]: dims as a tensor, computed where they are symbolic. */
  shape(dims: Shape): OnnxRef
  scalar(dtype: DType, value: number): OnnxRef
  /** A named constant, shared by all who name it. */
  constant(name: string, value: HostTensor): OnnxRef
  /** An omitted optional input or output. */
  none(): OnnxRef
  dtype(dtype: DType): OnnxAttribute
  /** Whether a dim may turn out 0. */
  mayBeEmpty(dim: Dim): boolean
}

/** The bytes of a weight, inline or in a file beside the model. */
export type WeightData = (name: string, dtype: DType, shape: readonly number[]) => OnnxTensor["data"]

/** Opsets of the models we write. */
const OPSETS = { "": 21, "com.microsoft": 1 }

function bytesOf(value: HostTensor): Uint8Array {
  return new Uint8Array(value.data.buffer, value.data.byteOffset, value.data.byteLength)
}

class Emitter implements OnnxEmitter {
  /** Symbols that stand for at least 1. */
  private readonly filled: ReadonlySet<Dim>
  readonly nodes: OnnxNode[] = []
  readonly initializers = new Map<string, OnnxTensor>()
  private readonly names = new Map<Value, string>()
  private readonly used = new Map<string, number>()
  private readonly dims = new Map<string, OnnxRef>()
  /** Which input and axis holds each symbol. */
  private readonly symbols = new Map<string, { readonly input: Value; readonly axis: number }>()
  private path = ""

  constructor(filled: ReadonlySet<Dim>) {
    this.filled = filled
  }

  declareInput(value: Value, name: string): void {
    this.names.set(value, name)
    value.shape.forEach((dim, axis) => {
      if (typeof dim === "string" && !this.symbols.has(dim)) this.symbols.set(dim, { input: value, axis })
    })
  }

  rename(value: Value, name: string): void {
    this.names.set(value, name)
  }

  at(node: Node): void {
    this.path = node.path
  }

  nameOf(value: Value | OnnxRef): string {
    if ("ref" in value) return value.ref
    let name = this.names.get(value)
    if (name === undefined) {
      name = this.unique(`${value.node.path}/output_${value.index}`)
      this.names.set(value, name)
    }
    return name
  }

  private unique(base: string): string {
    const count = this.used.get(base) ?? 0
    this.used.set(base, count + 1)
    return count === 0 ? base : `${base}_${count}`
  }

  op(
    opType: string,
    inputs: readonly (Value | OnnxRef)[],
    outputs: readonly (Value | OnnxRef)[],
    attributes: { readonly [name: string]: OnnxAttribute } = {},
    domain = "",
  ): void {
    const names = inputs.map((input) => this.nameOf(input))
    while (names.at(-1) === "") names.pop()
    this.nodes.push({
      name: this.unique(`${this.path.slice(0, this.path.lastIndexOf("/"))}/${opType}`),
      opType,
      domain,
      inputs: names,
      outputs: outputs.map((output) => this.nameOf(output)),
      attributes,
    })
  }

  name(opType: string): OnnxRef {
    return { ref: this.unique(`${this.path}/${opType}`) }
  }

  temp(
    opType: string,
    inputs: readonly (Value | OnnxRef)[],
    attributes: { readonly [name: string]: OnnxAttribute } = {},
    domain = "",
  ): OnnxRef {
    const ref = this.name(opType)
    this.op(opType, inputs, [ref], attributes, domain)
    return ref
  }

  initializer(name: string, dtype: DType, shape: readonly number[], data: OnnxTensor["data"]): OnnxRef {
    if (!this.initializers.has(name)) this.initializers.set(name, { name, dtype, shape, data })
    return { ref: name }
  }

  shape(written: Shape): OnnxRef {
    const dims = written.map(dimOf)
    if (dims.every((dim) => typeof dim === "number")) {
      const data = BigInt64Array.from(dims as number[], (dim) => BigInt(dim))
      return this.initializer(`/constant/i64/[${dims.join(",")}]`, "i64", [dims.length], new Uint8Array(data.buffer))
    }
    if (dims.length === 1) return this.dim(dims[0]!)
    return this.temp(
      "Concat",
      dims.map((dim) => this.shape([dim])),
      { axis: { int: 0 } },
    )
  }

  reshape(x: Value | OnnxRef, dims: Shape): OnnxRef {
    return this.temp("Reshape", [x, this.shape(dims)], { allowzero: { int: 1 } })
  }

  /** One symbolic dim as an i64 [1], computed once per model. */
  private dim(dim: Dim): OnnxRef {
    const known = this.dims.get(String(dim))
    if (known) return known
    const terms = dimTerms(dim).map(({ coefficient, factors }) => {
      const parts = factors.map((factor) => {
        if ("floorOf" in factor) return this.temp("Div", [this.shape([factor.floorOf]), this.shape([factor.divisor])])
        if (factor.symbol !== dim) return this.dim(factor.symbol)
        const place = this.symbols.get(factor.symbol)
        invariant(place, `no input of the graph has the dim ${dim}`)
        return this.temp("Shape", [place.input], { start: { int: place.axis }, end: { int: place.axis + 1 } })
      })
      if (coefficient !== 1 || parts.length === 0) parts.push(this.shape([coefficient]))
      return parts.reduce((a, b) => this.temp("Mul", [a, b]))
    })
    const total = terms.reduce((a, b) => this.temp("Add", [a, b]))
    this.dims.set(String(dim), total)
    return total
  }

  scalar(dtype: DType, value: number): OnnxRef {
    const data = filled(dtype, 1, value)
    const name = Object.is(value, -0) ? "-0" : value
    return this.initializer(`/constant/${dtype}/${name}`, dtype, [], new Uint8Array(data.buffer as ArrayBuffer))
  }

  constant(name: string, value: HostTensor): OnnxRef {
    return this.initializer(name, value.dtype, value.shape, bytesOf(value))
  }

  none(): OnnxRef {
    return { ref: "" }
  }

  dtype(dtype: DType): OnnxAttribute {
    return { int: onnxDataType(dtype) }
  }

  mayBeEmpty(dim: Dim): boolean {
    return typeof dim === "number" ? dim === 0 : !this.filled.has(dim)
  }
}

/**
 * The outputs of the model: the graph's own, then each cache slot's new rows under `<slot>.newKeys` and `.newValues`, and
 * where the device keeps the cache, the whole of it under `<slot>.presentKeys` and `.presentValues`.
 */
export function modelOutputs(graph: Graph): Map<string, Value> {
  const outputs = new Map(graph.outputs)
  for (const slot of graph.cacheSlots) {
    outputs.set(newRowsName(slot, "keys"), slot.newKeys)
    outputs.set(newRowsName(slot, "values"), slot.newValues)
    if (!slot.present) continue
    outputs.set(presentName(slot, "keys"), slot.present.keys)
    outputs.set(presentName(slot, "values"), slot.present.values)
  }
  return outputs
}

export function newRowsName(slot: CacheSlot, part: "keys" | "values"): string {
  return `${slot.name}.${part === "keys" ? "newKeys" : "newValues"}`
}

export function presentName(slot: CacheSlot, part: "keys" | "values"): string {
  return `${slot.name}.${part === "keys" ? "presentKeys" : "presentValues"}`
}

export type ExportOptions = {
  /** Whoever runs the model always feeds caches with room, and new rows: products over them need no guard. */
  readonly cachesHaveRoom?: boolean
}

/**
 * Serializes a graph. Composite ops without an ONNX form of their own are serialized as their expansion.
 * @returns the bytes of an ONNX ModelProto
 */
export function exportOnnx(graph: Graph, weightData: WeightData, options: ExportOptions = {}): Uint8Array {
  const filled = options.cachesHaveRoom
    ? graph.cacheSlots.flatMap(({ keys, newKeys }) => [keys.shape[2]!, newKeys.shape[1]!])
    : []
  const emitter = new Emitter(new Set(filled))
  const inputs: OnnxValueInfo[] = []
  for (const node of graph.nodes) {
    if (node.op !== "input") continue
    const { name, dtype, shape } = node.attrs as Node<"input">["attrs"]
    emitter.declareInput(node.outputs[0]!, name)
    inputs.push({ name, dtype, shape: shape.map((dim) => (typeof dim === "number" ? dim : String(dim))) })
  }
  const visit = (node: Node): void => {
    emitter.at(node)
    if (isSource(node)) {
      if (node.op === "weight") {
        const { name, dtype, shape } = node.attrs as Node<"weight">["attrs"]
        emitter.rename(node.outputs[0]!, emitter.initializer(name, dtype, shape, weightData(name, dtype, shape)).ref)
      } else if (node.op === "constant") {
        const { value } = node.attrs as Node<"constant">["attrs"]
        emitter.initializer(emitter.nameOf(node.outputs[0]!), value.dtype, value.shape, bytesOf(value))
      }
      return
    }
    const entry = opOf(node.op)
    if (typeof entry.onnx === "function") {
      entry.onnx(emitter, node)
      return
    }
    throw new Error(`internal: ${node.path} was not expanded`)
  }
  const named = modelOutputs(graph)
  // What computes a value gives it its public name: a copy under another one would take as long as a small op.
  const first = new Map([...named].reverse().map(([name, value]) => [value, name]))
  for (const [value, name] of first) if (!isSource(value.node)) emitter.rename(value, name)
  for (const node of graph.nodes) visit(node)
  const outputs: OnnxValueInfo[] = []
  for (const [name, value] of named) {
    emitter.at(value.node)
    // An input, or a value of two names, is copied.
    if (isSource(value.node) || first.get(value) !== name) emitter.op("Identity", [value], [{ ref: name }])
    outputs.push({
      name,
      dtype: value.dtype,
      shape: value.shape.map((dim) => (typeof dim === "number" ? dim : String(dim))),
    })
  }
  // A model without fused kernels names no domain but ONNX's own, so that any tool takes it.
  const opsets = Object.entries(OPSETS).filter(([domain]) => emitter.nodes.some((node) => node.domain === domain))
  return encodeOnnxModel({
    name: graph.name,
    opsets: { "": OPSETS[""], ...Object.fromEntries(opsets) },
    inputs,
    outputs,
    initializers: [...emitter.initializers.values()],
    nodes: emitter.nodes,
  })
}
