/** @file Ops that move elements: reshape, transpose, expand, concat, slice, pad, gather, scatter. */
import { allocate, sizeOf, stridesOf, type TypedArray } from "../../tensor/index.ts"
import { ShapeError } from "../../util/index.ts"
import { type Dim, dimAdd, dimProduct, dimSub, dimsEqual, shapesEqual, showShape } from "../dim.ts"
import type { OpDef } from "../node.ts"
import type { OpAttrs } from "./attrs.ts"

/** [product of dims before axis, dim, product of dims after] */
export function aroundAxis(shape: readonly number[], axis: number): [number, number, number] {
  return [sizeOf(shape.slice(0, axis)), shape[axis]!, sizeOf(shape.slice(axis + 1))]
}

/** Copies elements between arrays of one dtype. */
function copyElements(target: TypedArray, targetStart: number, source: TypedArray, start: number, count: number): void {
  ;(target as Float32Array).set((source as Float32Array).subarray(start, start + count), targetStart)
}

function replaceDim(shape: readonly Dim[], axis: number, ...dims: Dim[]): Dim[] {
  return [...shape.slice(0, axis), ...dims, ...shape.slice(axis + 1)]
}

const reshape: OpDef<OpAttrs["reshape"]> = {
  arity: 1,
  infer: ([x], { shape }, fail) => {
    if (!dimsEqual(dimProduct(x!.shape), dimProduct(shape))) {
      fail(`expected a shape with ${dimProduct(x!.shape)} elements, got ${showShape(shape)} for ${showShape(x!.shape)}`)
    }
    return [{ dtype: x!.dtype, shape }]
  },
  evaluate: ([x], _, [out]) => [{ dtype: x!.dtype, shape: out!.shape, data: x!.data }],
  onnx: (emit, node) => {
    emit.op("Reshape", [node.inputs[0]!, emit.shape(node.attrs.shape)], node.outputs, { allowzero: { int: 1 } })
  },
  gradient: (g, n, [d]) => [g.reshape(d!, n.inputs[0]!.shape)],
}

const transpose: OpDef<OpAttrs["transpose"]> = {
  arity: 1,
  infer: ([x], { perm }, fail) => {
    const axes = [...perm].sort((a, b) => a - b)
    if (axes.length !== x!.shape.length || axes.some((axis, i) => axis !== i)) {
      fail(`expected a permutation of ${x!.shape.length} axes, got [${perm.join(", ")}]`)
    }
    return [{ dtype: x!.dtype, shape: perm.map((axis) => x!.shape[axis]!) }]
  },
  evaluate: ([x], { perm }, [out]) => {
    const data = allocate(out!.dtype, x!.data.length)
    const strides = stridesOf(x!.shape)
    const outStrides = stridesOf(out!.shape)
    for (let i = 0; i < data.length; i++) {
      let from = 0
      for (let axis = 0; axis < perm.length; axis++) {
        from += (Math.floor(i / outStrides[axis]!) % out!.shape[axis]!) * strides[perm[axis]!]!
      }
      data[i] = x!.data[from]!
    }
    return [{ dtype: out!.dtype, shape: out!.shape, data }]
  },
  onnx: (emit, node) => emit.op("Transpose", node.inputs, node.outputs, { perm: { ints: node.attrs.perm } }),
  gradient: (g, n, [d]) => {
    const inverse = n.attrs.perm.map((_, axis) => n.attrs.perm.indexOf(axis))
    return [g.transpose(d!, inverse)]
  },
}

const expand: OpDef<OpAttrs["expand"]> = {
  arity: 1,
  infer: ([x], { shape }, fail) => {
    const fits = x!.shape.length === shape.length && x!.shape.every((dim, i) => dim === 1 || dimsEqual(dim, shape[i]!))
    if (!fits) fail(`expected size-1 or equal dims, got ${showShape(x!.shape)} for ${showShape(shape)}`)
    return [{ dtype: x!.dtype, shape }]
  },
  evaluate: ([x], _, [out]) => {
    const data = allocate(out!.dtype, sizeOf(out!.shape))
    const strides = stridesOf(x!.shape)
    const outStrides = stridesOf(out!.shape)
    for (let i = 0; i < data.length; i++) {
      let from = 0
      for (let axis = 0; axis < strides.length; axis++) {
        if (x!.shape[axis] !== 1) from += (Math.floor(i / outStrides[axis]!) % out!.shape[axis]!) * strides[axis]!
      }
      data[i] = x!.data[from]!
    }
    return [{ dtype: out!.dtype, shape: out!.shape, data }]
  },
  onnx: (emit, node) => emit.op("Expand", [node.inputs[0]!, emit.shape(node.attrs.shape)], node.outputs),
  gradient: (_g, _n, [d]) => [d],
}

const concat: OpDef<OpAttrs["concat"]> = {
  arity: [1, 64],
  infer: (inputs, { axis }, fail) => {
    const [first] = inputs
    if (first!.shape[axis] === undefined) fail(`expected an axis below ${first!.shape.length}, got ${axis}`)
    for (const input of inputs) {
      const same =
        input.dtype === first!.dtype && shapesEqual(replaceDim(input.shape, axis, 0), replaceDim(first!.shape, axis, 0))
      if (!same)
        fail(
          `expected equal dims except axis ${axis}, got ${inputs.map((v) => `${v.dtype} ${showShape(v.shape)}`).join(" and ")}`,
        )
    }
    const total = inputs.map((input) => input.shape[axis]!).reduce(dimAdd)
    return [{ dtype: first!.dtype, shape: replaceDim(first!.shape, axis, total) }]
  },
  evaluate: (inputs, { axis }, [out]) => {
    const data = allocate(out!.dtype, sizeOf(out!.shape))
    const [outer, total, inner] = aroundAxis(out!.shape, axis)
    let start = 0
    for (const input of inputs) {
      const width = input.shape[axis]! * inner
      for (let i = 0; i < outer; i++) copyElements(data, i * total * inner + start, input.data, i * width, width)
      start += width
    }
    return [{ dtype: out!.dtype, shape: out!.shape, data }]
  },
  onnx: (emit, node) => emit.op("Concat", node.inputs, node.outputs, { axis: { int: node.attrs.axis } }),
  gradient: (g, n, [d]) => {
    const { axis } = n.attrs
    let start: Dim = 0
    return n.inputs.map((input) => {
      const end: Dim = dimAdd(start, input.shape[axis]!)
      const part = g.slice(d!, axis, start, end)
      start = end
      return part
    })
  },
}

const slice: OpDef<OpAttrs["slice"]> = {
  arity: 1,
  infer: ([x], { axis, start, end }, fail) => {
    const dim = x!.shape[axis]
    if (dim === undefined) fail(`expected an axis below ${x!.shape.length}, got ${axis}`)
    const numbers = [start, end, dim].every((value) => typeof value === "number")
    if (numbers && !(0 <= (start as number) && start <= end && end <= dim!)) {
      fail(`expected 0 ≤ start ≤ end ≤ ${dim}, got ${start} to ${end}`)
    }
    return [{ dtype: x!.dtype, shape: replaceDim(x!.shape, axis, dimSub(end, start)) }]
  },
  evaluate: ([x], { axis, start, end }, [out], bind) => {
    const data = allocate(out!.dtype, sizeOf(out!.shape))
    const [outer, total, inner] = aroundAxis(x!.shape, axis)
    const width = out!.shape[axis]! * inner
    if (bind(start) < 0 || bind(end) > total) {
      throw new ShapeError(`slice: expected 0 ≤ start ≤ end ≤ ${total}, got ${bind(start)} to ${bind(end)}`)
    }
    for (let i = 0; i < outer; i++) copyElements(data, i * width, x!.data, (i * total + bind(start)) * inner, width)
    return [{ dtype: out!.dtype, shape: out!.shape, data }]
  },
  onnx: (emit, node) => {
    const { axis, start, end } = node.attrs
    emit.op("Slice", [node.inputs[0]!, emit.shape([start]), emit.shape([end]), emit.shape([axis])], node.outputs)
  },
  gradient: (g, n, [d]) => {
    const { axis, start, end } = n.attrs
    return [g.pad(d!, axis, start, dimSub(n.inputs[0]!.shape[axis]!, end))]
  },
}

const pad: OpDef<OpAttrs["pad"]> = {
  arity: 1,
  infer: ([x], { axis, before, after }, fail) => {
    if (x!.shape[axis] === undefined) fail(`expected an axis below ${x!.shape.length}, got ${axis}`)
    if ([before, after].some((count) => typeof count === "number" && !(count >= 0))) {
      fail(`expected paddings of at least 0, got ${before} and ${after}`)
    }
    return [{ dtype: x!.dtype, shape: replaceDim(x!.shape, axis, dimAdd(dimAdd(before, x!.shape[axis]!), after)) }]
  },
  evaluate: ([x], { axis, before, after }, [out], bind) => {
    if (bind(before) < 0 || bind(after) < 0) {
      throw new ShapeError(`pad: expected paddings of at least 0, got ${bind(before)} and ${bind(after)}`)
    }
    const data = allocate(out!.dtype, sizeOf(out!.shape))
    const [outer, total, inner] = aroundAxis(out!.shape, axis)
    const width = x!.shape[axis]! * inner
    for (let i = 0; i < outer; i++) copyElements(data, (i * total + bind(before)) * inner, x!.data, i * width, width)
    return [{ dtype: out!.dtype, shape: out!.shape, data }]
  },
  onnx: (emit, node) => {
    const { axis, before, after } = node.attrs
    const [x] = node.inputs
    const none = x!.shape.map(() => 0)
    const pads = emit.shape([...none.with(axis, before as number), ...none.with(axis, after as number)])
    emit.op("Pad", [x!, pads], node.outputs)
  },
  gradient: (g, n, [d]) => {
    const { axis, before } = n.attrs
    return [g.slice(d!, axis, before, dimAdd(before, n.inputs[0]!.shape[axis]!))]
  },
}

const gather: OpDef<OpAttrs["gather"]> = {
  arity: 2,
  infer: ([x, indices], { axis }, fail) => {
    if (indices!.dtype !== "i64") fail(`expected i64 indices, got ${indices!.dtype}`)
    if (x!.shape[axis] === undefined) fail(`expected an axis below ${x!.shape.length}, got ${axis}`)
    return [{ dtype: x!.dtype, shape: replaceDim(x!.shape, axis, ...indices!.shape) }]
  },
  evaluate: ([x, indices], { axis }, [out]) => {
    const data = allocate(out!.dtype, sizeOf(out!.shape))
    const [outer, total, inner] = aroundAxis(x!.shape, axis)
    const count = indices!.data.length
    for (let i = 0; i < outer; i++) {
      for (let j = 0; j < count; j++) {
        const row = Number(indices!.data[j])
        if (row < 0 || row >= total) throw new ShapeError(`gather: expected indices in [0, ${total}), got ${row}`)
        copyElements(data, (i * count + j) * inner, x!.data, (i * total + row) * inner, inner)
      }
    }
    return [{ dtype: out!.dtype, shape: out!.shape, data }]
  },
  onnx: (emit, node) => emit.op("Gather", node.inputs, node.outputs, { axis: { int: node.attrs.axis } }),
  gradient: (g, n, [d]) => {
    const [x, indices] = n.inputs
    const { axis } = n.attrs
    // Bring the gathered axes to the front, flatten them, add up rows, and bring the axis back.
    const width = indices!.shape.length
    const lead = Array.from({ length: axis }, (_, i) => i)
    const picked = Array.from({ length: width }, (_, i) => axis + i)
    const rest = Array.from({ length: x!.shape.length - axis - 1 }, (_, i) => axis + width + i)
    const front = g.transpose(d!, [...picked, ...lead, ...rest])
    const others = [...x!.shape.slice(0, axis), ...x!.shape.slice(axis + 1)]
    const rows = g.reshape(front, [dimProduct(indices!.shape), ...others])
    const sum = g.scatterAdd(g.reshape(indices!, [dimProduct(indices!.shape)]), rows, x!.shape[axis]!)
    const back = x!.shape.map((_, i) => (i < axis ? i + 1 : i === axis ? 0 : i))
    return [g.transpose(sum, back), undefined]
  },
}

const scatterAdd: OpDef<OpAttrs["scatterAdd"]> = {
  arity: 2,
  infer: ([indices, rows], { size }, fail) => {
    const { dtype, shape } = indices!
    const ok = dtype === "i64" && shape.length === 1 && rows!.shape.length > 0 && dimsEqual(shape[0]!, rows!.shape[0]!)
    if (!ok)
      fail(`expected i64 indices [R] and rows [R, …], got ${dtype} ${showShape(shape)} and ${showShape(rows!.shape)}`)
    if (rows!.dtype === "bool") fail("expected rows of numbers, got bool")
    return [{ dtype: rows!.dtype, shape: [size, ...rows!.shape.slice(1)] }]
  },
  evaluate: ([indices, rows], _, [out]) => {
    const data = allocate(out!.dtype, sizeOf(out!.shape)) as Float32Array
    const inner = sizeOf(out!.shape.slice(1))
    const total = out!.shape[0]!
    for (let r = 0; r < indices!.data.length; r++) {
      const to = Number(indices!.data[r])
      if (to < 0 || to >= total) throw new ShapeError(`scatterAdd: expected indices in [0, ${total}), got ${to}`)
      const start = to * inner
      for (let i = 0; i < inner; i++) data[start + i]! += (rows!.data as Float32Array)[r * inner + i]!
    }
    return [{ dtype: out!.dtype, shape: out!.shape, data }]
  },
  onnx: (emit, node) => {
    const [indices, rows] = node.inputs
    const zeros = emit.temp("Expand", [emit.scalar(rows!.dtype, 0), emit.shape(node.outputs[0]!.shape)])
    const column = emit.reshape(indices!, [indices!.shape[0]!, 1])
    emit.op("ScatterND", [zeros, column, rows!], node.outputs, { reduction: { string: "add" } })
  },
  gradient: (g, n, [d]) => [undefined, g.gather(d!, n.inputs[0]!, 0)],
}

export const SHAPE = { reshape, transpose, expand, concat, slice, pad, gather, scatterAdd }
