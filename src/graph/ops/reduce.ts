/** @file Reductions, softmax and normalization. */
import { allocate, type HostTensor, numberAt, sizeOf, stridesOf } from "../../tensor/index.ts"
import { ShapeError } from "../../util/index.ts"
import { type Dim, dimProduct, dimsEqual, showShape } from "../dim.ts"
import type { GradientRule, OpDef, ValueType } from "../node.ts"
import type { OpAttrs, ReduceAttrs } from "./attrs.ts"
import { requireOneDtype, store } from "./elementwise.ts"
import { aroundAxis } from "./shape.ts"

/** Shape after a reduction that keeps the reduced axes as 1. */
function keptShape(shape: readonly Dim[], axes: readonly number[]): Dim[] {
  return shape.map((dim, axis) => (axes.includes(axis) ? 1 : dim))
}

function reduction(
  onnxType: string,
  combine: (sum: number, x: number) => number,
  start: number,
  finish: (sum: number, count: number) => number,
  gradient: GradientRule<ReduceAttrs>,
): OpDef<ReduceAttrs> {
  return {
    arity: 1,
    infer: ([x], { axes, keepDims }, fail) => {
      const known = axes.every((axis, i) => x!.shape[axis] !== undefined && axes.indexOf(axis) === i)
      if (axes.length === 0 || !known) {
        fail(`expected different axes below ${x!.shape.length}, got [${axes.join(", ")}]`)
      }
      const kept = keptShape(x!.shape, axes)
      return [{ dtype: x!.dtype, shape: keepDims ? kept : kept.filter((_, axis) => !axes.includes(axis)) }]
    },
    evaluate: ([x], { axes }, [out]) => {
      const sums = new Float64Array(sizeOf(out!.shape)).fill(start)
      const kept = keptShape(x!.shape, axes) as number[]
      const count = sizeOf(x!.shape) / Math.max(1, sums.length)
      if (x!.data.length === 0 && sums.length > 0 && start === Number.NEGATIVE_INFINITY) {
        throw new ShapeError(`reduceMax: expected at least one element to reduce, got ${showShape(x!.shape)}`)
      }
      const strides = stridesOf(x!.shape)
      const outStrides = stridesOf(kept)
      for (let i = 0; i < x!.data.length; i++) {
        let to = 0
        for (let axis = 0; axis < strides.length; axis++) {
          if (!axes.includes(axis)) to += (Math.floor(i / strides[axis]!) % x!.shape[axis]!) * outStrides[axis]!
        }
        sums[to] = combine(sums[to]!, numberAt(x!.data, i))
      }
      const data = allocate(out!.dtype, sums.length)
      for (let i = 0; i < sums.length; i++) store(data, i, finish(sums[i]!, count))
      return [{ dtype: out!.dtype, shape: out!.shape, data }]
    },
    onnx: (emit, node) => {
      const { axes, keepDims } = node.attrs
      const attributes = { keepdims: { int: keepDims ? 1 : 0 } }
      emit.op(onnxType, [node.inputs[0]!, emit.shape(axes)], node.outputs, attributes)
    },
    gradient,
  }
}

const reduceSum = reduction(
  "ReduceSum",
  (sum, x) => sum + x,
  0,
  (sum) => sum,
  (g, n, [d]) => {
    const [x] = n.inputs
    return [g.expand(g.reshape(d!, keptShape(x!.shape, n.attrs.axes)), x!.shape)]
  },
)

const reduceMean = reduction(
  "ReduceMean",
  (sum, x) => sum + x,
  0,
  (sum, count) => sum / count,
  (g, n, [d]) => {
    const [x] = n.inputs
    const spread = g.expand(g.reshape(d!, keptShape(x!.shape, n.attrs.axes)), x!.shape)
    const count = dimProduct(n.attrs.axes.map((axis) => x!.shape[axis]!))
    return [g.div(spread, g.dimValue(count, spread.dtype, spread.shape.length))]
  },
)

const reduceMax = reduction(
  "ReduceMax",
  Math.max,
  Number.NEGATIVE_INFINITY,
  (max) => max,
  (g, n, [d]) => {
    const [x] = n.inputs
    const kept = keptShape(x!.shape, n.attrs.axes)
    const isMax = g.cast(g.equal(x!, g.reshape(n.outputs[0]!, kept)), x!.dtype)
    const share = g.div(g.reshape(d!, kept), g.reduceSum(isMax, n.attrs.axes, true))
    return [g.mul(isMax, share)]
  },
)

const argMax: OpDef<OpAttrs["argMax"]> = {
  arity: 1,
  infer: ([x], { axis }, fail) => {
    if (x!.shape[axis] === undefined) fail(`expected an axis below ${x!.shape.length}, got ${axis}`)
    return [{ dtype: "i64", shape: x!.shape.filter((_, i) => i !== axis) }]
  },
  evaluate: ([x], { axis }, [out]) => {
    const [outer, width, inner] = aroundAxis(x!.shape, axis)
    const data = allocate("i64", outer * inner)
    for (let o = 0; o < outer; o++) {
      for (let i = 0; i < inner; i++) {
        let best = 0
        const at = (k: number) => numberAt(x!.data, (o * width + k) * inner + i)
        for (let k = 1; k < width; k++) if (at(k) > at(best)) best = k
        data[o * inner + i] = BigInt(best)
      }
    }
    return [{ dtype: "i64", shape: out!.shape, data }]
  },
  onnx: (emit, node) => {
    emit.op("ArgMax", node.inputs, node.outputs, { axis: { int: node.attrs.axis }, keepdims: { int: 0 } })
  },
  gradient: "none",
}

/** Runs `f` over each line along the axis: reads x, writes the line of the result. */
function alongAxis(x: HostTensor, axis: number, f: (line: Float64Array) => void): Float32Array {
  const [outer, width, inner] = aroundAxis(x.shape, axis)
  const out = new Float32Array(x.data.length)
  const line = new Float64Array(width)
  for (let o = 0; o < outer; o++) {
    for (let i = 0; i < inner; i++) {
      for (let k = 0; k < width; k++) line[k] = numberAt(x.data, (o * width + k) * inner + i)
      f(line)
      for (let k = 0; k < width; k++) out[(o * width + k) * inner + i] = line[k]!
    }
  }
  return out
}

function softmaxLine(line: Float64Array): void {
  let max = Number.NEGATIVE_INFINITY
  for (const x of line) max = Math.max(max, x)
  let sum = 0
  for (let k = 0; k < line.length; k++) sum += line[k] = Math.exp(line[k]! - max)
  for (let k = 0; k < line.length; k++) line[k]! /= sum
}

function logSoftmaxLine(line: Float64Array): void {
  let max = Number.NEGATIVE_INFINITY
  for (const x of line) max = Math.max(max, x)
  let sum = 0
  for (const x of line) sum += Math.exp(x - max)
  // The logarithm comes last: it would vanish beside a large maximum.
  for (let k = 0; k < line.length; k++) line[k] = line[k]! - max - Math.log(sum)
}

function lineOp(
  onnxType: string,
  f: (line: Float64Array) => void,
  gradient: GradientRule<{ readonly axis: number }>,
): OpDef<{ readonly axis: number }> {
  return {
    arity: 1,
    infer: ([x], { axis }, fail) => {
      if (x!.shape[axis] === undefined) fail(`expected an axis below ${x!.shape.length}, got ${axis}`)
      if (x!.dtype !== "f32") fail(`expected f32, got ${x!.dtype}`)
      return [x!]
    },
    evaluate: ([x], { axis }, [out]) => [{ dtype: "f32", shape: out!.shape, data: alongAxis(x!, axis, f) }],
    onnx: (emit, node) => emit.op(onnxType, node.inputs, node.outputs, { axis: { int: node.attrs.axis } }),
    gradient,
  }
}

const softmax = lineOp("Softmax", softmaxLine, (g, n, [d]) => {
  const y = n.outputs[0]!
  const weighted = g.mul(d!, y)
  return [g.sub(weighted, g.mul(y, g.reduceSum(weighted, [n.attrs.axis], true)))]
})

const logSoftmax = lineOp("LogSoftmax", logSoftmaxLine, (g, n, [d]) => {
  return [g.sub(d!, g.mul(g.exp(n.outputs[0]!), g.reduceSum(d!, [n.attrs.axis], true)))]
})

/** Gains and biases [D] must match the last axis of x. */
function checkNorm(inputs: readonly ValueType[], fail: (message: string) => never): void {
  const [x, ...vectors] = inputs
  requireOneDtype(inputs, fail)
  const width = x!.shape.at(-1)
  if (width === undefined) fail("expected x [..., D], got []")
  for (const vector of vectors) {
    if (vector.shape.length !== 1 || !dimsEqual(vector.shape[0]!, width!)) {
      fail(`expected a vector [${width}] for ${showShape(x!.shape)}, got ${showShape(vector.shape)}`)
    }
  }
}

/** A vector [D] shaped to multiply the last axis of a tensor of the given rank. */
function lastAxisShape(width: Dim, rank: number): Dim[] {
  return [...new Array<Dim>(rank - 1).fill(1), width]
}

export const rmsNorm: OpDef<OpAttrs["rmsNorm"]> = {
  arity: 2,
  infer: (inputs, _, fail) => {
    checkNorm(inputs, fail)
    return [inputs[0]!]
  },
  evaluate: ([x, weight], { epsilon }, [out]) => {
    const data = alongAxis(x!, x!.shape.length - 1, (line) => {
      let squares = 0
      for (const value of line) squares += value * value
      const inverse = 1 / Math.sqrt(squares / line.length + epsilon)
      for (let k = 0; k < line.length; k++) line[k]! *= inverse * numberAt(weight!.data, k)
    })
    return [{ dtype: "f32", shape: out!.shape, data }]
  },
  onnx: "expand",
  expand: (g, [x, weight], { epsilon }) => {
    const axis = x!.shape.length - 1
    const meanSquare = g.reduceMean(g.mul(x!, x!), [axis], true)
    const normed = g.div(x!, g.sqrt(g.addScalar(meanSquare, epsilon)))
    return [g.mul(normed, g.reshape(weight!, lastAxisShape(weight!.shape[0]!, axis + 1)))]
  },
  gradient: "expand",
}

const layerNorm: OpDef<OpAttrs["layerNorm"]> = {
  arity: 3,
  infer: (inputs, _, fail) => {
    checkNorm(inputs, fail)
    return [inputs[0]!]
  },
  evaluate: ([x, weight, bias], { epsilon }, [out]) => {
    const data = alongAxis(x!, x!.shape.length - 1, (line) => {
      const mean = line.reduce((sum, value) => sum + value, 0) / line.length
      const variance = line.reduce((sum, value) => sum + (value - mean) ** 2, 0) / line.length
      const inverse = 1 / Math.sqrt(variance + epsilon)
      for (let k = 0; k < line.length; k++) {
        line[k] = (line[k]! - mean) * inverse * numberAt(weight!.data, k) + numberAt(bias!.data, k)
      }
    })
    return [{ dtype: "f32", shape: out!.shape, data }]
  },
  onnx: (emit, node) => {
    const attributes = { axis: { int: -1 }, epsilon: { float: node.attrs.epsilon } }
    emit.op("LayerNormalization", node.inputs, node.outputs, attributes)
  },
  expand: (g, [x, weight, bias], { epsilon }) => {
    const axis = x!.shape.length - 1
    const centered = g.sub(x!, g.reduceMean(x!, [axis], true))
    const variance = g.reduceMean(g.mul(centered, centered), [axis], true)
    const normed = g.div(centered, g.sqrt(g.addScalar(variance, epsilon)))
    const shape = lastAxisShape(weight!.shape[0]!, axis + 1)
    return [g.add(g.mul(normed, g.reshape(weight!, shape)), g.reshape(bias!, shape))]
  },
  gradient: "expand",
}

export const REDUCE = { reduceSum, reduceMean, reduceMax, argMax, softmax, logSoftmax, rmsNorm, layerNorm }
