/** @file Elementwise ops: one, two or three inputs, explicit broadcasting of size-1 dims. */
import {
  allocate,
  type DType,
  type HostTensor,
  isFloat,
  narrowFromF32,
  numberAt,
  sizeOf,
  stridesOf,
  type TypedArray,
  widenToF32,
} from "../../tensor/index.ts"
import { invariant } from "../../util/index.ts"
import { type Dim, dimsEqual, type Shape, showShape } from "../dim.ts"
import type { Fail, GradientRule, OpDef, ValueType } from "../node.ts"

type None = { readonly [key: string]: never }

/** The broadcast shape of operands of equal rank; a dim must match or be 1. */
export function broadcastShapes(shapes: readonly Shape[], fail: Fail): Dim[] {
  const rank = shapes[0]!.length
  for (const shape of shapes) {
    if (shape.length !== rank) {
      fail(
        `expected operands of equal rank, got ${shapes.map(showShape).join(" and ")} (reshape the smaller one, broadcasting is explicit)`,
      )
    }
  }
  return Array.from({ length: rank }, (_, axis) => {
    const dims = shapes.map((shape) => shape[axis]!)
    const wide = dims.find((dim) => dim !== 1) ?? 1
    if (!dims.every((dim) => dim === 1 || dimsEqual(dim, wide))) {
      fail(`expected equal or size-1 dims on axis ${axis}, got ${shapes.map(showShape).join(" and ")}`)
    }
    return wide
  })
}

/** Calls `visit(outIndex, offsets)` for each element of `shape`, with each operand's offset under broadcasting. */
export function forEachBroadcast(
  shape: readonly number[],
  operands: readonly (readonly number[])[],
  visit: (out: number, offsets: readonly number[]) => void,
): void {
  const strides = operands.map((dims) => stridesOf(dims).map((stride, axis) => (dims[axis] === 1 ? 0 : stride)))
  const index = new Array<number>(shape.length).fill(0)
  const offsets = operands.map(() => 0)
  const total = sizeOf(shape)
  for (let out = 0; out < total; out++) {
    visit(out, offsets)
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      index[axis]!++
      for (let k = 0; k < strides.length; k++) offsets[k]! += strides[k]![axis]!
      if (index[axis]! < shape[axis]!) break
      for (let k = 0; k < strides.length; k++) offsets[k]! -= strides[k]![axis]! * shape[axis]!
      index[axis] = 0
    }
  }
}

/** Writes a number into any typed array but that of the 16-bit floats, whose format the array does not tell. */
export function store(data: TypedArray, index: number, value: number): void {
  invariant(!(data instanceof Uint16Array), "16-bit floats are computed as f32")
  if (data instanceof BigInt64Array) data[index] = BigInt(Math.trunc(value))
  else data[index] = value
}

/** Equal elements of any dtype. */
export function filled(dtype: DType, length: number, value: number): TypedArray {
  if (dtype === "f16" || dtype === "bf16") return narrowFromF32(dtype, new Float32Array(length).fill(value))
  const data = allocate(dtype, length)
  for (let i = 0; i < length; i++) store(data, i, value)
  return data
}

/** Stops operands of several dtypes. */
export function requireOneDtype(inputs: readonly ValueType[], fail: Fail): void {
  if (inputs.some(({ dtype }) => dtype !== inputs[0]!.dtype)) {
    fail(`expected operands of one dtype, got ${inputs.map(({ dtype }) => dtype).join(" and ")} (cast one)`)
  }
}

function requireDtype(input: ValueType, fail: Fail, ok: (dtype: DType) => boolean, what: string): void {
  if (!ok(input.dtype)) fail(`expected ${what}, got ${input.dtype}`)
}

function unary(
  onnxType: string,
  f: (x: number) => number,
  gradient: GradientRule<None> | "none",
  accepts: (dtype: DType) => boolean = isFloat,
): OpDef<None> {
  return {
    arity: 1,
    infer: ([x], _, fail) => {
      requireDtype(x!, fail, accepts, "a number type that the op accepts")
      return [{ dtype: x!.dtype, shape: x!.shape }]
    },
    evaluate: ([x], _, [out]) => {
      const data = allocate(out!.dtype, x!.data.length)
      for (let i = 0; i < data.length; i++) store(data, i, f(numberAt(x!.data, i)))
      return [{ dtype: out!.dtype, shape: out!.shape, data }]
    },
    onnx: (emit, node) => emit.op(onnxType, node.inputs, node.outputs),
    gradient,
  }
}

/**
 * A composite: simpler ops define its gradient and, unless it has one of its own, its ONNX form; `f` stays an independent
 * evaluation.
 */
function activation(
  f: (x: number) => number,
  expand: NonNullable<OpDef<None>["expand"]>,
  onnx: OpDef<None>["onnx"] = "expand",
): OpDef<None> {
  return { ...unary("", f, "none"), onnx, expand, gradient: "expand" }
}

/** One kernel instead of up to nine, each of which would move the widest activations through memory. */
function geluOnnx(approximate: "none" | "tanh"): OpDef<None>["onnx"] {
  return (emit, node) => emit.op("Gelu", node.inputs, node.outputs, { approximate: { string: approximate } })
}

function binary(
  onnxType: string,
  f: (a: number, b: number) => number,
  gradient: GradientRule<None> | "none",
  kind: "arithmetic" | "compare" | "logic" = "arithmetic",
): OpDef<None> {
  return {
    arity: 2,
    infer: ([a, b], _, fail) => {
      requireOneDtype([a!, b!], fail)
      requireDtype(
        a!,
        fail,
        (dtype) => (dtype === "bool") === (kind === "logic"),
        kind === "logic" ? "bool" : "numbers",
      )
      return [{ dtype: kind === "arithmetic" ? a!.dtype : "bool", shape: broadcastShapes([a!.shape, b!.shape], fail) }]
    },
    evaluate: ([a, b], _, [out]) => {
      const data = allocate(out!.dtype, sizeOf(out!.shape))
      forEachBroadcast(out!.shape, [a!.shape, b!.shape], (i, [x, y]) => {
        store(data, i, f(numberAt(a!.data, x!), numberAt(b!.data, y!)))
      })
      return [{ dtype: out!.dtype, shape: out!.shape, data }]
    },
    onnx: (emit, node) => emit.op(onnxType, node.inputs, node.outputs),
    gradient,
  }
}

/** Abramowitz–Stegun is too coarse for tests at 1e-6; this is the series for small and the fraction for large arguments. */
export function erf(x: number): number {
  const t = Math.abs(x)
  if (t > 6) return Math.sign(x)
  if (t < 2.5) {
    let term = t
    let sum = t
    for (let n = 1; n < 60; n++) {
      term *= (-t * t) / n
      sum += term / (2 * n + 1)
    }
    return (Math.sign(x) * 2 * sum) / Math.sqrt(Math.PI)
  }
  let fraction = 0
  for (let k = 60; k > 0; k--) fraction = k / 2 / (t + fraction)
  return Math.sign(x) * (1 - Math.exp(-t * t) / (Math.sqrt(Math.PI) * (t + fraction)))
}

/** Half goes to the even neighbour. */
export function roundHalfEven(x: number): number {
  const floor = Math.floor(x)
  const rest = x - floor
  if (rest !== 0.5) return rest < 0.5 ? floor : floor + 1
  return floor % 2 === 0 ? floor : floor + 1
}

/** IEEE 754's pow: JavaScript's own says NaN where the base is ±1 and the exponent infinite, or 1 and NaN. */
function power(a: number, b: number): number {
  return a === 1 || (a === -1 && Math.abs(b) === Number.POSITIVE_INFINITY) ? 1 : a ** b
}

const isNumber = (dtype: DType) => dtype !== "bool"
const GELU_TANH_SCALE = Math.sqrt(2 / Math.PI)
const GELU_TANH_CUBIC = 0.044715

export const UNARY = {
  neg: unary(
    "Neg",
    (x) => -x,
    (g, _, [d]) => [g.neg(d!)],
    isNumber,
  ),
  /** Gradient 0 at 0. */
  abs: unary("Abs", Math.abs, (g, n, [d]) => [g.mul(d!, g.sign(n.inputs[0]!))], isNumber),
  sign: unary("Sign", Math.sign, "none", isNumber),
  exp: unary("Exp", Math.exp, (g, n, [d]) => [g.mul(d!, n.outputs[0]!)]),
  log: unary("Log", Math.log, (g, n, [d]) => [g.div(d!, n.inputs[0]!)]),
  sqrt: unary("Sqrt", Math.sqrt, (g, n, [d]) => [g.div(d!, g.scale(n.outputs[0]!, 2))]),
  reciprocal: unary(
    "Reciprocal",
    (x) => 1 / x,
    (g, n, [d]) => [g.neg(g.mul(d!, g.mul(n.outputs[0]!, n.outputs[0]!)))],
  ),
  sin: unary("Sin", Math.sin, (g, n, [d]) => [g.mul(d!, g.cos(n.inputs[0]!))]),
  cos: unary("Cos", Math.cos, (g, n, [d]) => [g.neg(g.mul(d!, g.sin(n.inputs[0]!)))]),
  tanh: unary("Tanh", Math.tanh, (g, n, [d]) => [g.sub(d!, g.mul(d!, g.mul(n.outputs[0]!, n.outputs[0]!)))]),
  sigmoid: unary(
    "Sigmoid",
    (x) => 1 / (1 + Math.exp(-x)),
    (g, n, [d]) => {
      const y = n.outputs[0]!
      return [g.mul(d!, g.sub(y, g.mul(y, y)))]
    },
  ),
  erf: unary("Erf", erf, (g, n, [d]) => {
    const x = n.inputs[0]!
    return [g.mul(d!, g.scale(g.exp(g.neg(g.mul(x, x))), 2 / Math.sqrt(Math.PI)))]
  }),
  floor: unary("Floor", Math.floor, "none"),
  round: unary("Round", roundHalfEven, "none"),
  not: unary(
    "Not",
    (x) => (x ? 0 : 1),
    "none",
    (dtype) => dtype === "bool",
  ),
  silu: activation(
    (x) => x / (1 + Math.exp(-x)),
    (g, [x]) => [g.mul(x!, g.sigmoid(x!))],
  ),
  gelu: activation(
    (x) => 0.5 * x * (1 + erf(x / Math.SQRT2)),
    (g, [x]) => [g.mul(g.scale(x!, 0.5), g.addScalar(g.erf(g.scale(x!, Math.SQRT1_2)), 1))],
    geluOnnx("none"),
  ),
  geluTanh: activation(
    (x) => 0.5 * x * (1 + Math.tanh(GELU_TANH_SCALE * (x + GELU_TANH_CUBIC * x ** 3))),
    (g, [x]) => {
      const cubic = g.mul(g.mul(x!, x!), x!)
      const inner = g.scale(g.add(x!, g.scale(cubic, GELU_TANH_CUBIC)), GELU_TANH_SCALE)
      return [g.mul(g.scale(x!, 0.5), g.addScalar(g.tanh(inner), 1))]
    },
    geluOnnx("tanh"),
  ),
} satisfies { [name: string]: OpDef<None> }

/** Half of the gradient to each side at a tie; `wins` says where the first operand is chosen strictly. */
function chooserGradient(wins: "greater" | "less"): GradientRule<None> {
  return (g, n, [d]) => {
    const [a, b] = n.inputs as [ValueType & (typeof n.inputs)[0], (typeof n.inputs)[0]]
    const strict = g.cast(g[wins](a!, b!), d!.dtype)
    const tie = g.scale(g.cast(g.equal(a!, b!), d!.dtype), 0.5)
    const toA = g.mul(d!, g.add(strict, tie))
    return [toA, g.sub(d!, toA)]
  }
}

export const BINARY = {
  add: binary(
    "Add",
    (a, b) => a + b,
    (_g, _n, [d]) => [d, d],
  ),
  sub: binary(
    "Sub",
    (a, b) => a - b,
    (g, _n, [d]) => [d, g.neg(d!)],
  ),
  mul: binary(
    "Mul",
    (a, b) => a * b,
    (g, n, [d]) => [g.mul(d!, n.inputs[1]!), g.mul(d!, n.inputs[0]!)],
  ),
  div: binary(
    "Div",
    (a, b) => a / b,
    (g, n, [d]) => {
      const toA = g.div(d!, n.inputs[1]!)
      return [toA, g.neg(g.mul(toA, n.outputs[0]!))]
    },
  ),
  /** The gradient of the exponent needs a positive base. */
  pow: binary("Pow", power, (g, n, [d]) => {
    const [a, b] = n.inputs
    const one = g.fill(
      b!.dtype,
      b!.shape.map(() => 1),
      1,
    )
    return [g.mul(d!, g.mul(b!, g.pow(a!, g.sub(b!, one)))), g.mul(d!, g.mul(n.outputs[0]!, g.log(a!)))]
  }),
  maximum: binary("Max", Math.max, chooserGradient("greater")),
  minimum: binary("Min", Math.min, chooserGradient("less")),
  equal: binary("Equal", (a, b) => (a === b ? 1 : 0), "none", "compare"),
  less: binary("Less", (a, b) => (a < b ? 1 : 0), "none", "compare"),
  greater: binary("Greater", (a, b) => (a > b ? 1 : 0), "none", "compare"),
  and: binary("And", (a, b) => a & b, "none", "logic"),
  or: binary("Or", (a, b) => a | b, "none", "logic"),
} satisfies { [name: string]: OpDef<None> }

export const cast: OpDef<{ readonly to: DType }> = {
  arity: 1,
  infer: ([x], { to }) => [{ dtype: to, shape: x!.shape }],
  evaluate: ([x], { to }, [out]) => {
    const from = x!.data instanceof Uint16Array ? widenToF32(x!.dtype, x!.data) : x!.data
    if (to === "f16" || to === "bf16") {
      return [{ dtype: to, shape: out!.shape, data: narrowFromF32(to, Float32Array.from(from, Number)) } as HostTensor]
    }
    const data = allocate(to, from.length)
    for (let i = 0; i < data.length; i++) {
      const value = numberAt(from, i)
      if (to === "bool")
        data[i] = value === 0 ? 0 : 1 // NaN is not zero
      else store(data, i, isFloat(to) ? value : Math.trunc(value))
    }
    return [{ dtype: to, shape: out!.shape, data } as HostTensor]
  },
  onnx: (emit, node) => emit.op("Cast", node.inputs, node.outputs, { to: emit.dtype(node.attrs.to) }),
  gradient: (g, n, [d]) => {
    const from = n.inputs[0]!.dtype
    return [isFloat(from) && isFloat(n.attrs.to) ? g.cast(d!, from) : undefined]
  },
}

export const where: OpDef<None> = {
  arity: 3,
  infer: ([condition, a, b], _, fail) => {
    if (condition!.dtype !== "bool") fail(`expected a bool condition, got ${condition!.dtype}`)
    if (a!.dtype !== b!.dtype) fail(`expected branches of one dtype, got ${a!.dtype} and ${b!.dtype} (cast one)`)
    return [{ dtype: a!.dtype, shape: broadcastShapes([condition!.shape, a!.shape, b!.shape], fail) }]
  },
  evaluate: ([condition, a, b], _, [out]) => {
    const data = allocate(out!.dtype, sizeOf(out!.shape))
    forEachBroadcast(out!.shape, [condition!.shape, a!.shape, b!.shape], (i, [c, x, y]) => {
      store(data, i, condition!.data[c!] ? numberAt(a!.data, x!) : numberAt(b!.data, y!))
    })
    return [{ dtype: out!.dtype, shape: out!.shape, data }]
  },
  onnx: (emit, node) => emit.op("Where", node.inputs, node.outputs),
  gradient: (g, n, [d]) => {
    const zero = g.fill(
      d!.dtype,
      d!.shape.map(() => 1),
      0,
    )
    return [undefined, g.where(n.inputs[0]!, d!, zero), g.where(n.inputs[0]!, zero, d!)]
  },
}
