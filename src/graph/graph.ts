/**
 * @file The graph builder: a growing list of nodes in execution order, each typed when it is added. One method per op,
 * so that model code reads like the mathematics; nothing here computes.
 */
import { type DType, type HostTensor, sizeOf, tensor } from "../tensor/index.ts"
import { invariant, ShapeError } from "../util/index.ts"
import type { Dim, Shape } from "./dim.ts"
import { dimOf, shapesEqual, showShape } from "./dim.ts"
import type { Node, OpName, Value } from "./node.ts"
import type { AttentionAttrs, ConvAttrs, MatmulAttrs, OpAttrs } from "./ops/attrs.ts"
import { filled } from "./ops/elementwise.ts"
import { inferOutputs } from "./ops/table.ts"

/** One layer's place in a key/value cache: what the executor feeds and what it appends after each run. */
export type CacheSlot = {
  readonly name: string
  readonly kvHeads: number
  readonly headSize: number
  /** Graph inputs, what is cached so far: keys [B, G, S, K] and values [B, G, K, S]. */
  readonly keys: Value
  readonly values: Value
  /** New rows [B, T, G·K], appended by the executor. */
  readonly newKeys: Value
  readonly newValues: Value
  /** Keys and values with the new rows in them, where the device keeps them; only lowerings make these. */
  readonly present?: { readonly keys: Value; readonly values: Value }
}

export class Graph {
  readonly name: string
  readonly nodes: Node[] = []
  readonly outputs = new Map<string, Value>()
  readonly cacheSlots: CacheSlot[] = []
  private readonly sources = new Map<string, Value>()
  private path: string

  constructor(name: string) {
    this.name = name
    this.path = `/${name}`
  }

  /** Builds inside a named part; the name, unless it is empty, joins the path of every node added. */
  scope<T>(name: string, build: () => T): T {
    const outer = this.path
    if (name !== "") this.path = `${outer}/${name}`
    try {
      return build()
    } finally {
      this.path = outer
    }
  }

  /** Adds a node and returns all its outputs. */
  applyAll<K extends OpName>(op: K, inputs: readonly Value[], attrs: OpAttrs[K]): readonly Value[] {
    const path = `${this.path}/${op}`
    const types = inferOutputs(op, inputs, attrs, (message) => {
      throw new ShapeError(`${path}: ${message}`)
    })
    const outputs: Value[] = []
    const node: Node = { op, inputs, attrs, path, outputs }
    for (const [index, { dtype, shape }] of types.entries())
      outputs.push({ dtype, shape: shape.map(dimOf), node, index })
    this.nodes.push(node)
    return outputs
  }

  /** Adds a node of one output. */
  apply<K extends OpName>(op: K, inputs: readonly Value[], attrs: OpAttrs[K]): Value {
    const outputs = this.applyAll(op, inputs, attrs)
    invariant(outputs.length === 1, `${op} has ${outputs.length} outputs`)
    return outputs[0]!
  }

  /** A value fed at every run. */
  input(name: string, dtype: DType, shape: Shape): Value {
    return this.source(name, "input", { name, dtype, shape })
  }

  /** A tensor of the checkpoint (or of a bundle), by its stored name. */
  weight(name: string, shape: readonly number[], dtype: DType = "f32"): Value {
    return this.source(name, "weight", { name, dtype, shape })
  }

  output(name: string, value: Value): void {
    invariant(!this.outputs.has(name), `output ${name} is declared twice`)
    this.outputs.set(name, value)
  }

  private source<K extends "input" | "weight">(name: string, op: K, attrs: OpAttrs[K]): Value {
    const known = this.sources.get(name)
    if (known) {
      invariant(known.node.op === op, `${name} is both an input and a weight`)
      if (known.dtype !== attrs.dtype || !shapesEqual(known.shape, attrs.shape)) {
        const [was, wanted] = [known, attrs].map(({ dtype, shape }) => `${dtype} ${showShape(shape)}`)
        throw new ShapeError(`${this.path}/${op}: expected ${name} to stay ${was}, got ${wanted}`)
      }
      return known
    }
    const value = this.apply(op, [], attrs)
    this.sources.set(name, value)
    return value
  }

  constant(value: HostTensor): Value {
    return this.apply("constant", [], { value })
  }

  /** A constant of equal elements; shapes of ones broadcast. */
  fill(dtype: DType, shape: readonly number[], value: number): Value {
    return this.constant(tensor(dtype, shape, filled(dtype, sizeOf(shape), value)))
  }

  dimValue(dim: Dim, dtype: DType, rank: number): Value {
    return this.apply("dimValue", [], { dim, dtype, rank })
  }

  private like(x: Value, value: number): Value {
    return this.fill(x.dtype, new Array<number>(x.shape.length).fill(1), value)
  }

  /** x · factor, for a number. */
  scale(x: Value, factor: number): Value {
    return this.mul(x, this.like(x, factor))
  }

  /** x + term, for a number. */
  addScalar(x: Value, term: number): Value {
    return this.add(x, this.like(x, term))
  }

  neg = (x: Value) => this.apply("neg", [x], {})
  abs = (x: Value) => this.apply("abs", [x], {})
  sign = (x: Value) => this.apply("sign", [x], {})
  exp = (x: Value) => this.apply("exp", [x], {})
  log = (x: Value) => this.apply("log", [x], {})
  sqrt = (x: Value) => this.apply("sqrt", [x], {})
  reciprocal = (x: Value) => this.apply("reciprocal", [x], {})
  sin = (x: Value) => this.apply("sin", [x], {})
  cos = (x: Value) => this.apply("cos", [x], {})
  tanh = (x: Value) => this.apply("tanh", [x], {})
  sigmoid = (x: Value) => this.apply("sigmoid", [x], {})
  erf = (x: Value) => this.apply("erf", [x], {})
  floor = (x: Value) => this.apply("floor", [x], {})
  round = (x: Value) => this.apply("round", [x], {})
  not = (x: Value) => this.apply("not", [x], {})
  silu = (x: Value) => this.apply("silu", [x], {})
  gelu = (x: Value) => this.apply("gelu", [x], {})
  geluTanh = (x: Value) => this.apply("geluTanh", [x], {})

  add = (a: Value, b: Value) => this.apply("add", [a, b], {})
  sub = (a: Value, b: Value) => this.apply("sub", [a, b], {})
  mul = (a: Value, b: Value) => this.apply("mul", [a, b], {})
  div = (a: Value, b: Value) => this.apply("div", [a, b], {})
  pow = (a: Value, b: Value) => this.apply("pow", [a, b], {})
  maximum = (a: Value, b: Value) => this.apply("maximum", [a, b], {})
  minimum = (a: Value, b: Value) => this.apply("minimum", [a, b], {})
  equal = (a: Value, b: Value) => this.apply("equal", [a, b], {})
  less = (a: Value, b: Value) => this.apply("less", [a, b], {})
  greater = (a: Value, b: Value) => this.apply("greater", [a, b], {})
  and = (a: Value, b: Value) => this.apply("and", [a, b], {})
  or = (a: Value, b: Value) => this.apply("or", [a, b], {})
  where = (condition: Value, a: Value, b: Value) => this.apply("where", [condition, a, b], {})
  cast = (x: Value, to: DType) => (x.dtype === to ? x : this.apply("cast", [x], { to }))

  reshape = (x: Value, shape: Shape) => this.apply("reshape", [x], { shape })
  transpose = (x: Value, perm: readonly number[]) => this.apply("transpose", [x], { perm })
  expand = (x: Value, shape: Shape) => this.apply("expand", [x], { shape })
  concat = (parts: readonly Value[], axis: number) => this.apply("concat", parts, { axis })
  slice = (x: Value, axis: number, start: Dim, end: Dim) => this.apply("slice", [x], { axis, start, end })
  pad = (x: Value, axis: number, before: Dim, after: Dim) => this.apply("pad", [x], { axis, before, after })
  gather = (x: Value, indices: Value, axis = 0) => this.apply("gather", [x, indices], { axis })
  scatterAdd = (indices: Value, rows: Value, size: Dim) => this.apply("scatterAdd", [indices, rows], { size })

  reduceSum = (x: Value, axes: readonly number[], keepDims = false) => this.apply("reduceSum", [x], { axes, keepDims })
  reduceMean = (x: Value, axes: readonly number[], keepDims = false) =>
    this.apply("reduceMean", [x], { axes, keepDims })
  reduceMax = (x: Value, axes: readonly number[], keepDims = false) => this.apply("reduceMax", [x], { axes, keepDims })
  argMax = (x: Value, axis: number) => this.apply("argMax", [x], { axis })
  softmax = (x: Value, axis: number) => this.apply("softmax", [x], { axis })
  logSoftmax = (x: Value, axis: number) => this.apply("logSoftmax", [x], { axis })
  rmsNorm = (x: Value, weight: Value, epsilon: number) => this.apply("rmsNorm", [x, weight], { epsilon })
  layerNorm = (x: Value, weight: Value, bias: Value, epsilon: number) =>
    this.apply("layerNorm", [x, weight, bias], { epsilon })

  matmul = (a: Value, b: Value, attrs: Partial<MatmulAttrs> = {}) =>
    this.apply("matmul", [a, b], { transA: false, transB: false, alpha: 1, ...attrs })
  linear = (x: Value, weight: Value, bias?: Value) => this.apply("linear", bias ? [x, weight, bias] : [x, weight], {})
  conv1d = (x: Value, weight: Value, bias: Value | undefined, attrs: Partial<ConvAttrs> = {}) =>
    this.apply("conv1d", bias ? [x, weight, bias] : [x, weight], {
      ...{ stride: 1, padding: 0, dilation: 1, groups: 1 },
      ...attrs,
    })
  rotary = (x: Value, cos: Value, sin: Value, heads: number) => this.apply("rotary", [x, cos, sin], { heads })

  /** Attention without a cache: q [B, T, H·K], k and v [B, L, G·K], mask [B or 1, 1, T or 1, L]? → [B, T, H·K]. */
  attention(q: Value, k: Value, v: Value, attrs: Omit<AttentionAttrs, "cached" | "masked">, mask?: Value): Value {
    const inputs = mask ? [q, k, v, mask] : [q, k, v]
    return this.apply("attention", inputs, { ...attrs, cached: false, masked: mask !== undefined })
  }

  /** New rows of a cache slot, k and v [B, T, G·K]: the executor appends them after the run. Gives what is cached. */
  cacheRows(
    slot: string,
    [k, v]: readonly [Value, Value],
    kvHeads: number,
  ): { readonly keys: Value; readonly values: Value } {
    const headSize = (k.shape[2] as number) / kvHeads
    const keys = this.input(`${slot}.keys`, "f32", [k.shape[0]!, kvHeads, "S", headSize])
    const values = this.input(`${slot}.values`, "f32", [k.shape[0]!, kvHeads, headSize, "S"])
    this.cacheSlots.push({ name: slot, kvHeads, headSize, keys, values, newKeys: k, newValues: v })
    return { keys, values }
  }

  /**
   * Attention over a cache slot and the new rows, which it appends. The mask [B or 1, 1, T, S + T] is the executor's, too.
   */
  cachedAttention(
    slot: string,
    [q, k, v]: readonly [Value, Value, Value],
    attrs: Omit<AttentionAttrs, "cached" | "masked">,
    mask: Value,
  ): Value {
    const { keys, values } = this.cacheRows(slot, [k, v], attrs.kvHeads)
    return this.apply("attention", [q, k, v, keys, values, mask], { ...attrs, cached: true, masked: true })
  }
}
