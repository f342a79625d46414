/** @file Matrix products, convolution, rotary embedding and attention. */
import { f32Data, type HostTensor, sizeOf } from "../../tensor/index.ts"
import { type Dim, dimAdd, dimFloorDiv, dimMul, dimProduct, dimsEqual, shapesEqual, showShape } from "../dim.ts"
import type { Fail, OpDef, Value, ValueType } from "../node.ts"
import type { OnnxEmitter, OnnxRef } from "../onnx-emit.ts"
import type { ConvAttrs, MatmulAttrs, OpAttrs } from "./attrs.ts"
import { broadcastShapes, forEachBroadcast, requireOneDtype } from "./elementwise.ts"

function swapLast<T>(values: readonly T[], swap: boolean): T[] {
  return swap ? [...values.slice(0, -2), values.at(-1)!, values.at(-2)!] : [...values]
}

function inferMatmul([a, b]: readonly ValueType[], { transA, transB }: MatmulAttrs, fail: Fail): ValueType[] {
  const shapes = `${showShape(a!.shape)}${transA ? "ᵀ" : ""} · ${showShape(b!.shape)}${transB ? "ᵀ" : ""}`
  if (a!.shape.length < 2 || a!.shape.length !== b!.shape.length)
    fail(`expected matrices of equal rank ≥ 2, got ${shapes}`)
  requireOneDtype([a!, b!], fail)
  const left = swapLast(a!.shape, transA)
  const right = swapLast(b!.shape, transB)
  if (!dimsEqual(left.at(-1)!, right.at(-2)!)) fail(`expected equal inner dims, got ${shapes}`)
  const batch = broadcastShapes([left.slice(0, -2), right.slice(0, -2)], fail)
  return [{ dtype: a!.dtype, shape: [...batch, left.at(-2)!, right.at(-1)!] }]
}

function evaluateMatmul(a: HostTensor, b: HostTensor, attrs: MatmulAttrs, shape: readonly number[]): HostTensor {
  const rows = shape.at(-2)!
  const columns = shape.at(-1)!
  const inner = a.shape.at(attrs.transA ? -2 : -1)!
  const [strideRow, strideInnerA] = attrs.transA ? [1, rows] : [inner, 1]
  const [strideInnerB, strideColumn] = attrs.transB ? [1, inner] : [columns, 1]
  const out = new Float32Array(sizeOf(shape))
  const x = f32Data(a)
  const y = f32Data(b)
  const batch = shape.slice(0, -2)
  forEachBroadcast(batch, [a.shape.slice(0, -2), b.shape.slice(0, -2)], (index, [batchA, batchB]) => {
    const startA = batchA! * rows * inner
    const startB = batchB! * inner * columns
    for (let i = 0; i < rows; i++) {
      for (let j = 0; j < columns; j++) {
        let sum = 0
        for (let k = 0; k < inner; k++) {
          sum += x[startA + i * strideRow + k * strideInnerA]! * y[startB + k * strideInnerB + j * strideColumn]!
        }
        out[(index * rows + i) * columns + j] = attrs.alpha * sum
      }
    }
  })
  return { dtype: "f32", shape, data: out }
}

/**
 * Emits a product, with zeros in its place where the inner dim turns out empty: ONNX Runtime 1.30 then clears only the
 * first of several matrices when an operand is transposed (or will be, by its optimizer), and leaves old memory in the
 * others. An empty cache is such a case.
 */
export function emitProduct(
  emit: OnnxEmitter,
  node: { readonly inputs: readonly Value[]; readonly outputs: readonly Value[]; readonly attrs: MatmulAttrs },
  product: (outputs: readonly (Value | OnnxRef)[]) => void,
): void {
  const { transA, transB } = node.attrs
  const [a] = node.inputs
  const inner = swapLast(a!.shape, transA).at(-1)!
  const several = a!.shape.length > 2 && (transA || transB)
  if (!several || !emit.mayBeEmpty(inner)) {
    product(node.outputs)
    return
  }
  const raw = emit.name("MatMul")
  product([raw])
  const empty = emit.temp("Equal", [emit.shape([inner]), emit.shape([0])])
  emit.op("Where", [empty, emit.scalar(node.outputs[0]!.dtype, 0), raw], node.outputs)
}

export const matmul: OpDef<MatmulAttrs> = {
  arity: 2,
  infer: inferMatmul,
  evaluate: ([a, b], attrs, [out]) => [evaluateMatmul(a!, b!, attrs, out!.shape)],
  onnx: (emit, node) => {
    const { transA, transB, alpha } = node.attrs
    const flip = (value: Value, swap: boolean) => {
      if (!swap) return value
      const axes = value.shape.map((_, axis) => axis)
      return emit.temp("Transpose", [value], { perm: { ints: swapLast(axes, true) } })
    }
    const operands = [flip(node.inputs[0]!, transA), flip(node.inputs[1]!, transB)]
    emitProduct(emit, node, (outputs) => {
      if (alpha === 1) emit.op("MatMul", operands, outputs)
      else emit.op("Mul", [emit.temp("MatMul", operands), emit.scalar(node.outputs[0]!.dtype, alpha)], outputs)
    })
  },
  gradient: (g, n, [d]) => {
    const [a, b] = n.inputs
    const { transA, transB, alpha } = n.attrs
    const toA = transA
      ? g.matmul(b!, d!, { transA: transB, transB: true, alpha })
      : g.matmul(d!, b!, { transB: !transB, alpha })
    const toB = transB
      ? g.matmul(d!, a!, { transA: true, transB: transA, alpha })
      : g.matmul(a!, d!, { transA: !transA, alpha })
    return [toA, toB]
  },
}

/** Leading dims flattened to one: [..., D] → [R, D]. */
function flattenRows(g: { reshape(x: Value, shape: readonly Dim[]): Value }, x: Value): Value {
  return g.reshape(x, [dimProduct(x.shape.slice(0, -1)), x.shape.at(-1)!])
}

export const linear: OpDef<OpAttrs["linear"]> = {
  arity: [2, 3],
  infer: (inputs, _, fail) => {
    const [x, weight, bias] = inputs
    requireOneDtype(inputs, fail)
    if (x!.shape.length < 2) fail(`expected rows [..., I], got ${showShape(x!.shape)}`)
    const [outer, inner] = weight!.shape
    if (weight!.shape.length !== 2 || !dimsEqual(inner!, x!.shape.at(-1)!)) {
      fail(`expected a weight [O, ${x!.shape.at(-1)}] for ${showShape(x!.shape)}, got ${showShape(weight!.shape)}`)
    }
    if (bias && !shapesEqual(bias.shape, [outer!])) fail(`expected a bias [${outer}], got ${showShape(bias.shape)}`)
    return [{ dtype: x!.dtype, shape: [...x!.shape.slice(0, -1), outer!] }]
  },
  evaluate: ([x, weight, bias], _, [out]) => {
    const rows = { ...x!, shape: [sizeOf(x!.shape.slice(0, -1)), x!.shape.at(-1)!] }
    const attrs = { transA: false, transB: true, alpha: 1 }
    const product = evaluateMatmul(rows, weight!, attrs, [rows.shape[0]!, weight!.shape[0]!])
    const data = f32Data(product)
    if (bias) for (let i = 0; i < data.length; i++) data[i]! += f32Data(bias)[i % bias.data.length]!
    return [{ ...product, shape: out!.shape }]
  },
  onnx: (emit, node) => {
    const [x, weight, bias] = node.inputs
    const transposed = emit.temp("Transpose", [weight!], { perm: { ints: [1, 0] } })
    if (!bias) emit.op("MatMul", [x!, transposed], node.outputs)
    else emit.op("Add", [emit.temp("MatMul", [x!, transposed]), bias], node.outputs)
  },
  gradient: (g, n, [d]) => {
    const [x, weight, bias] = n.inputs
    const rows = flattenRows(g, d!)
    const toX = g.reshape(g.matmul(rows, weight!), x!.shape)
    const toWeight = g.matmul(rows, flattenRows(g, x!), { transA: true })
    return bias ? [toX, toWeight, g.reduceSum(rows, [0], false)] : [toX, toWeight]
  },
}

function convLength(length: Dim, kernel: number, c: ConvAttrs): Dim {
  const span = c.dilation * (kernel - 1) + 1
  return dimAdd(dimFloorDiv(dimAdd(length, 2 * c.padding - span), c.stride), 1)
}

function requireConvAttrs({ stride, padding, dilation, groups }: ConvAttrs, fail: Fail): void {
  const ok = [stride, dilation, groups].every((count) => Number.isInteger(count) && count >= 1)
  if (!ok || !Number.isInteger(padding) || padding < 0) {
    fail(
      `expected stride, dilation and groups of at least 1 and padding of at least 0, got ${stride}, ${dilation}, ${groups} and ${padding}`,
    )
  }
}

function convOnnx(c: ConvAttrs) {
  return {
    strides: { ints: [c.stride] },
    pads: { ints: [c.padding, c.padding] },
    dilations: { ints: [c.dilation] },
    group: { int: c.groups },
  }
}

/** Visits every (output, input, weight) triple of a convolution's sum. */
function forEachTap(
  x: readonly number[], // [B, C, L]
  w: readonly number[], // [O, C/groups, k]
  outLength: number,
  c: ConvAttrs,
  visit: (out: number, input: number, weight: number) => void,
): void {
  const [batch, channels, length] = x as [number, number, number]
  const [outChannels, perGroup, kernel] = w as [number, number, number]
  const outPerGroup = outChannels / c.groups
  for (let b = 0; b < batch; b++) {
    for (let o = 0; o < outChannels; o++) {
      const firstChannel = Math.floor(o / outPerGroup) * perGroup
      for (let t = 0; t < outLength; t++) {
        for (let i = 0; i < perGroup; i++) {
          for (let k = 0; k < kernel; k++) {
            const at = t * c.stride - c.padding + k * c.dilation
            if (at < 0 || at >= length) continue
            const input = (b * channels + firstChannel + i) * length + at
            visit((b * outChannels + o) * outLength + t, input, (o * perGroup + i) * kernel + k)
          }
        }
      }
    }
  }
}

export const conv1d: OpDef<ConvAttrs> = {
  arity: [2, 3],
  infer: (inputs, attrs, fail) => {
    const [x, w, bias] = inputs
    requireOneDtype(inputs, fail)
    requireConvAttrs(attrs, fail)
    const [outChannels, perGroup, kernel] = w!.shape
    const ok =
      x!.shape.length === 3 && w!.shape.length === 3 && dimsEqual(x!.shape[1]!, dimMul(perGroup!, attrs.groups))
    if (!ok)
      fail(
        `expected x [B, C, L] and weight [O, C/${attrs.groups}, k], got ${showShape(x!.shape)} and ${showShape(w!.shape)}`,
      )
    if (
      typeof outChannels !== "number" ||
      outChannels % attrs.groups !== 0 ||
      typeof kernel !== "number" ||
      kernel < 1
    ) {
      fail(
        `expected a weight [O, C/g, k] of known sizes, O in ${attrs.groups} groups and k ≥ 1, got ${showShape(w!.shape)}`,
      )
    }
    if (bias && !shapesEqual(bias.shape, [outChannels!]))
      fail(`expected a bias [${outChannels}], got ${showShape(bias.shape)}`)
    const length = convLength(x!.shape[2]!, kernel as number, attrs)
    if (typeof length === "number" && length < 0)
      fail(`expected a length of at least the kernel, got ${showShape(x!.shape)}`)
    return [{ dtype: x!.dtype, shape: [x!.shape[0]!, outChannels!, length] }]
  },
  evaluate: ([x, w, bias], attrs, [out]) => {
    const data = new Float32Array(sizeOf(out!.shape))
    const [, channels, length] = out!.shape as [number, number, number]
    if (bias) for (let i = 0; i < data.length; i++) data[i] = f32Data(bias)[Math.floor(i / length) % channels]!
    forEachTap(x!.shape, w!.shape, length, attrs, (o, i, k) => {
      data[o]! += f32Data(x!)[i]! * f32Data(w!)[k]!
    })
    return [{ dtype: "f32", shape: out!.shape, data }]
  },
  onnx: (emit, node) => emit.op("Conv", node.inputs, node.outputs, convOnnx(node.attrs)),
  gradient: (g, n, [d]) => {
    const [x, w, bias] = n.inputs
    const toX = g.apply("conv1dInputGrad", [w!, d!], { ...n.attrs, length: x!.shape[2]! })
    const toW = g.apply("conv1dWeightGrad", [x!, d!], { ...n.attrs, kernel: w!.shape[2] as number })
    return bias ? [toX, toW, g.reduceSum(d!, [0, 2], false)] : [toX, toW]
  },
}

export const conv1dInputGrad: OpDef<OpAttrs["conv1dInputGrad"]> = {
  arity: 2,
  infer: ([w, d], attrs, fail) => {
    requireConvAttrs(attrs, fail)
    const { length, groups } = attrs
    const [outChannels, perGroup, kernel] = w!.shape
    const ok =
      w!.shape.length === 3 &&
      d!.shape.length === 3 &&
      dimsEqual(outChannels!, d!.shape[1]!) &&
      dimsEqual(d!.shape[2]!, convLength(length, kernel as number, attrs))
    if (!ok)
      fail(
        `expected weight [O, C/${groups}, k] and gradient [B, O, length after the convolution], got ${showShape(w!.shape)} and ${showShape(d!.shape)}`,
      )
    return [{ dtype: d!.dtype, shape: [d!.shape[0]!, dimMul(perGroup!, groups), length] }]
  },
  evaluate: ([w, d], attrs, [out]) => {
    const data = new Float32Array(sizeOf(out!.shape))
    forEachTap(out!.shape, w!.shape, d!.shape[2]!, attrs, (o, i, k) => {
      data[i]! += f32Data(d!)[o]! * f32Data(w!)[k]!
    })
    return [{ dtype: "f32", shape: out!.shape, data }]
  },
  onnx: (emit, node) => {
    const [w, d] = node.inputs
    const { length, padding, dilation, stride } = node.attrs
    // The stride may leave input samples that no tap reached: they are appended as zeros, then the padding is cut.
    const full = emit.temp("ConvTranspose", [d!, w!], { ...convOnnx(node.attrs), pads: { ints: [0, 0] } })
    const kernel = w!.shape[2] as number
    const reached = dimAdd(dimMul(dimAdd(d!.shape[2]!, -1), stride), dilation * (kernel - 1) + 1)
    const missing = dimAdd(dimAdd(length, 2 * padding), dimMul(reached, -1))
    const padded = emit.temp("Pad", [full, emit.shape([0, 0, 0, 0, 0, missing])])
    const bounds = [emit.shape([padding]), emit.shape([dimAdd(length, padding)]), emit.shape([2])]
    emit.op("Slice", [padded, ...bounds], node.outputs)
  },
  gradient: "none",
}

export const conv1dWeightGrad: OpDef<OpAttrs["conv1dWeightGrad"]> = {
  arity: 2,
  infer: ([x, d], attrs, fail) => {
    requireConvAttrs(attrs, fail)
    const { kernel, groups } = attrs
    const ok =
      x!.shape.length === 3 &&
      d!.shape.length === 3 &&
      dimsEqual(x!.shape[0]!, d!.shape[0]!) &&
      dimsEqual(d!.shape[2]!, convLength(x!.shape[2]!, kernel, attrs))
    if (!ok)
      fail(
        `expected x [B, C, L] and gradient [B, O, length after the convolution], got ${showShape(x!.shape)} and ${showShape(d!.shape)}`,
      )
    return [{ dtype: x!.dtype, shape: [d!.shape[1]!, dimFloorDiv(x!.shape[1]!, groups), kernel] }]
  },
  evaluate: ([x, d], attrs, [out]) => {
    const data = new Float32Array(sizeOf(out!.shape))
    forEachTap(x!.shape, out!.shape, d!.shape[2]!, attrs, (o, i, k) => {
      data[k]! += f32Data(d!)[o]! * f32Data(x!)[i]!
    })
    return [{ dtype: "f32", shape: out!.shape, data }]
  },
  // One tap of the kernel sees x shifted and strided: [C/g, B·T] against the gradient's [O/g, B·T].
  onnx: "expand",
  expand: (g, [x, d], { kernel, groups, stride, dilation, padding }) => {
    const [batch, channels] = x!.shape
    const [, outChannels, steps] = d!.shape
    const padded = g.pad(x!, 2, padding, padding + stride) // room for whole strides
    const perGroup = dimFloorDiv(channels!, groups)
    const rows = g.reshape(g.transpose(d!, [1, 0, 2]), [
      groups,
      dimFloorDiv(outChannels!, groups),
      dimMul(batch!, steps!),
    ])
    const taps = Array.from({ length: kernel }, (_, k) => {
      const start = k * dilation
      const strip = g.slice(padded, 2, start, dimAdd(start, dimMul(steps!, stride)))
      const grid = g.slice(g.reshape(strip, [batch!, channels!, steps!, stride]), 3, 0, 1)
      const columns = g.reshape(g.transpose(g.reshape(grid, [batch!, channels!, steps!]), [1, 0, 2]), [
        groups,
        perGroup,
        dimMul(batch!, steps!),
      ])
      return g.reshape(g.matmul(rows, columns, { transB: true }), [outChannels!, perGroup, 1])
    })
    return [g.concat(taps, 2)]
  },
  gradient: "none",
}
