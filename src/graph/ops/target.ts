/**
 * @file Ops that only lowerings make: the fused and quantized kernels of ONNX Runtime (domain com.microsoft), each with
 * the same reference evaluation as any other op, so that the interpreter can check a lowered graph.
 */
import { f32, f32Data, rotateRows, sizeOf } from "../../tensor/index.ts"
import { dimProduct, dimsEqual, shapesEqual, showShape } from "../dim.ts"
import type { OpDef } from "../node.ts"
import { rotary } from "./attention.ts"
import type { ActivationBits, MatmulAttrs, OpAttrs } from "./attrs.ts"
import { roundHalfEven } from "./elementwise.ts"
import { emitProduct, matmul } from "./linear.ts"
import { rmsNorm } from "./reduce.ts"

const MICROSOFT = "com.microsoft"

const fusedMatMul: OpDef<MatmulAttrs> = {
  ...matmul,
  onnx: (emit, node) => {
    const { transA, transB, alpha } = node.attrs
    const attributes = { transA: { int: transA ? 1 : 0 }, transB: { int: transB ? 1 : 0 }, alpha: { float: alpha } }
    emitProduct(emit, node, (outputs) => emit.op("FusedMatMul", node.inputs, outputs, attributes, MICROSOFT))
  },
  gradient: "none",
}

const matMulNBits: OpDef<OpAttrs["matMulNBits"]> = {
  arity: 3,
  infer: ([x, packed, scales], { bits, blockSize, inner, outer }, fail) => {
    const blocks = Math.ceil(inner / blockSize)
    const dtypes = [x!, packed!, scales!].map(({ dtype }) => dtype)
    if (dtypes.join() !== "f32,u8,f32")
      fail(`expected f32 [..., I], u8 weights and f32 scales, got ${dtypes[0]}, ${dtypes[1]} and ${dtypes[2]}`)
    if (!dimsEqual(x!.shape.at(-1)!, inner)) fail(`expected [..., ${inner}], got ${showShape(x!.shape)}`)
    const ok =
      shapesEqual(packed!.shape, [outer, blocks, (blockSize * bits) / 8]) && shapesEqual(scales!.shape, [outer, blocks])
    if (!ok)
      fail(
        `expected weights [${outer}, ${blocks}, ${(blockSize * bits) / 8}] and scales [${outer}, ${blocks}], got ${showShape(packed!.shape)} and ${showShape(scales!.shape)}`,
      )
    return [{ dtype: "f32", shape: [...x!.shape.slice(0, -1), outer] }]
  },
  evaluate: ([x, packed, scales], { bits, blockSize, inner, outer }, [out]) => {
    const blocks = Math.ceil(inner / blockSize)
    const rows = sizeOf(x!.shape.slice(0, -1))
    const data = new Float32Array(rows * outer)
    const weight = new Float32Array(inner)
    const bytes = packed!.data as Uint8Array
    for (let o = 0; o < outer; o++) {
      for (let i = 0; i < inner; i++) {
        const at = o * blocks * blockSize + i
        // Low nibble first; zero points are the middle of the range.
        const code = bits === 8 ? bytes[at]! - 128 : ((bytes[at >> 1]! >> (4 * (at & 1))) & 15) - 8
        weight[i] = code * f32Data(scales!)[o * blocks + Math.floor(i / blockSize)]!
      }
      for (let r = 0; r < rows; r++) {
        let sum = 0
        for (let i = 0; i < inner; i++) sum += f32Data(x!)[r * inner + i]! * weight[i]!
        data[r * outer + o] = sum
      }
    }
    return [{ dtype: "f32", shape: out!.shape, data }]
  },
  onnx: (emit, node) => {
    const { bits, blockSize, inner, outer } = node.attrs
    const attributes = { K: inner, N: outer, bits, block_size: blockSize, accuracy_level: 4 }
    const ints = Object.fromEntries(Object.entries(attributes).map(([key, int]) => [key, { int }]))
    emit.op("MatMulNBits", node.inputs, node.outputs, ints, MICROSOFT)
  },
  gradient: "none",
}

/** Codes lie `most` around the zero point: 1 to 255, or 1 to 127. */
function codeRange(bits: ActivationBits): { readonly zeroPoint: number; readonly most: number } {
  const zeroPoint = 2 ** (bits - 1)
  return { zeroPoint, most: zeroPoint - 1 }
}

/** Rows of zeros must not divide by zero: their codes are the zero point, whatever they are divided by. */
const LEAST_ROW = 1e-30

/** Codes u8 = round(most · x / largest) + zero point, and each row's largest magnitude; `matMulIntegerToFloat` divides by `most`. */
const quantizeRows: OpDef<OpAttrs["quantizeRows"]> = {
  arity: 1,
  infer: ([x], _, fail) => {
    const width = x!.shape.at(-1)
    if (x!.dtype !== "f32" || width === undefined) fail(`expected f32 [..., I], got ${x!.dtype} ${showShape(x!.shape)}`)
    return [
      { dtype: "u8", shape: x!.shape },
      { dtype: "f32", shape: [...x!.shape.slice(0, -1), 1] },
    ]
  },
  evaluate: ([x], { bits }, [codes, largest]) => {
    const { zeroPoint, most } = codeRange(bits)
    const width = x!.shape.at(-1)!
    const rows = sizeOf(x!.shape.slice(0, -1))
    const source = f32Data(x!)
    const quantized = new Uint8Array(source.length)
    const magnitudes = new Float32Array(rows)
    for (let r = 0; r < rows; r++) {
      let max = LEAST_ROW
      for (let i = 0; i < width; i++) max = Math.max(max, Math.abs(source[r * width + i]!))
      magnitudes[r] = max
      for (let i = 0; i < width; i++)
        quantized[r * width + i] = zeroPoint + roundHalfEven((source[r * width + i]! / max) * most)
    }
    return [
      { dtype: "u8", shape: codes!.shape, data: quantized },
      { dtype: "f32", shape: largest!.shape, data: magnitudes },
    ]
  },
  onnx: (emit, node) => {
    const x = node.inputs[0]!
    const [codes, largest] = node.outputs
    const { zeroPoint, most } = codeRange(node.attrs.bits)
    const keepdims = { keepdims: { int: 1 } }
    const max = emit.temp("ReduceMax", [emit.temp("Abs", [x]), emit.shape([x.shape.length - 1])], keepdims)
    emit.op("Max", [max, emit.scalar("f32", LEAST_ROW)], [largest!])
    const unit = emit.temp("Div", [x, largest!])
    emit.op("QuantizeLinear", [unit, emit.scalar("f32", 1 / most), emit.scalar("u8", zeroPoint)], [codes!])
  },
  gradient: "none",
}

const rotateBlocks: OpDef<OpAttrs["rotateBlocks"]> = {
  arity: 1,
  infer: ([x], { block }, fail) => {
    const width = x!.shape.at(-1)
    if (x!.dtype !== "f32" || width === undefined) fail(`expected f32 [..., I], got ${x!.dtype} ${showShape(x!.shape)}`)
    const whole = typeof width === "number" && width % block === 0 && (block & (block - 1)) === 0
    if (!whole) fail(`expected rows of whole blocks of ${block} (a power of 2), got ${showShape(x!.shape)}`)
    return [x!]
  },
  evaluate: ([x], { block }, [out]) => {
    const data = f32Data(x!).slice()
    rotateRows(data, x!.shape.at(-1)!, block)
    return [{ dtype: "f32", shape: out!.shape, data }]
  },
  onnx: (emit, node) => {
    const { block } = node.attrs
    const [x] = node.inputs
    const width = x!.shape.at(-1) as number
    const identity = new Float32Array(block * block)
    for (let i = 0; i < block; i++) identity[i * block + i] = 1
    rotateRows(identity, block, block)
    const matrix = emit.constant(`/constant/hadamard/${block}`, f32([block, block], identity))
    const rows = emit.reshape(x!, [dimProduct([...x!.shape.slice(0, -1), width / block]), block])
    const attributes = { allowzero: { int: 1 } }
    emit.op("Reshape", [emit.temp("MatMul", [rows, matrix]), emit.shape(x!.shape)], node.outputs, attributes)
  },
  gradient: "none",
}

const matMulIntegerToFloat: OpDef<OpAttrs["matMulIntegerToFloat"]> = {
  arity: 3,
  infer: ([a, b, scales], _, fail) => {
    const [inner, outer] = b!.shape
    const ok =
      a!.dtype === "u8" &&
      b!.dtype === "i8" &&
      dimsEqual(a!.shape.at(-1)!, inner!) &&
      shapesEqual(scales!.shape, [outer!])
    if (!ok)
      fail(
        `expected u8 [..., I], i8 [I, O] and scales [O], got ${a!.dtype} ${showShape(a!.shape)}, ${b!.dtype} ${showShape(b!.shape)} and ${showShape(scales!.shape)}`,
      )
    return [{ dtype: "f32", shape: [...a!.shape.slice(0, -1), outer!] }]
  },
  evaluate: ([a, b, scales], { bits }, [out]) => {
    const { zeroPoint, most } = codeRange(bits)
    const [inner, outer] = b!.shape as [number, number]
    const rows = sizeOf(a!.shape.slice(0, -1))
    const data = new Float32Array(rows * outer)
    for (let r = 0; r < rows; r++) {
      for (let o = 0; o < outer; o++) {
        let sum = 0
        for (let i = 0; i < inner; i++)
          sum += ((a!.data[r * inner + i] as number) - zeroPoint) * (b!.data[i * outer + o] as number)
        data[r * outer + o] = (sum / most) * f32Data(scales!)[o]!
      }
    }
    return [{ dtype: "f32", shape: out!.shape, data }]
  },
  onnx: (emit, node) => {
    const [a, b, scales] = node.inputs
    const { zeroPoint, most } = codeRange(node.attrs.bits)
    const inputs = [a!, b!, emit.scalar("f32", 1 / most), scales!, emit.scalar("u8", zeroPoint), emit.none()]
    emit.op("MatMulIntegerToFloat", inputs, node.outputs, {}, MICROSOFT)
  },
  gradient: "none",
}

const writeRows: OpDef<OpAttrs["writeRows"]> = {
  arity: 3,
  infer: ([cache, rows, position], { axis }, fail) => {
    const ok =
      cache!.dtype === rows!.dtype &&
      position!.dtype === "i64" &&
      shapesEqual(position!.shape, [1]) &&
      axis >= 0 &&
      axis < cache!.shape.length &&
      cache!.shape.length === rows!.shape.length &&
      cache!.shape.every((dim, i) => i === axis || dimsEqual(dim, rows!.shape[i]!))
    if (!ok)
      fail(
        `expected a cache, rows that differ from it in axis ${axis} alone and a position i64 [1], got ${cache!.dtype} ${showShape(cache!.shape)}, ${rows!.dtype} ${showShape(rows!.shape)} and ${position!.dtype} ${showShape(position!.shape)}`,
      )
    return [cache!]
  },
  evaluate: ([cache, rows, position], { axis }, [out]) => {
    const shape = out!.shape
    const inner = sizeOf(shape.slice(axis + 1))
    const [length, count] = [shape[axis]! * inner, rows!.shape[axis]! * inner]
    const start = Number(position!.data[0]) * inner
    const data = f32Data(cache!).slice()
    for (let outer = 0; outer < sizeOf(shape.slice(0, axis)); outer++) {
      data.set(f32Data(rows!).subarray(outer * count, (outer + 1) * count), outer * length + start)
    }
    return [{ dtype: "f32", shape, data }]
  },
  onnx: (emit, node) => {
    const [cache, rows, position] = node.inputs
    const { axis } = node.attrs
    const axes = emit.shape([axis])
    const end = emit.temp("Add", [position!, emit.shape([rows!.shape[axis]!])])
    const before = emit.temp("Slice", [cache!, emit.shape([0]), position!, axes])
    const after = emit.temp("Slice", [cache!, end, emit.shape([cache!.shape[axis]!]), axes])
    emit.op("Concat", [before, rows!, after], node.outputs, { axis: { int: axis } })
  },
  gradient: "none",
}

const fusedRmsNorm: OpDef<OpAttrs["fusedRmsNorm"]> = {
  arity: 2,
  infer: rmsNorm.infer,
  evaluate: rmsNorm.evaluate,
  onnx: (emit, node) => {
    const attributes = { epsilon: { float: node.attrs.epsilon }, axis: { int: -1 } }
    emit.op("SimplifiedLayerNormalization", node.inputs, node.outputs, attributes)
  },
  gradient: "none",
}

const skipRmsNorm: OpDef<OpAttrs["skipRmsNorm"]> = {
  arity: 3,
  infer: ([x, skip, weight], _, fail) => {
    const ok = shapesEqual(x!.shape, skip!.shape) && shapesEqual(weight!.shape, [x!.shape.at(-1)!])
    if (!ok)
      fail(
        `expected x and skip of one shape and a gain of its width, got ${showShape(x!.shape)}, ${showShape(skip!.shape)}, ${showShape(weight!.shape)}`,
      )
    return [x!, x!]
  },
  evaluate: ([x, skip, weight], { epsilon }, [out]) => {
    const width = x!.shape.at(-1)!
    const sum = f32Data(x!).map((value, i) => value + f32Data(skip!)[i]!)
    const normed = new Float32Array(sum.length)
    for (let start = 0; start < sum.length; start += width) {
      let squares = 0
      for (let i = 0; i < width; i++) squares += sum[start + i]! ** 2
      const inverse = 1 / Math.sqrt(squares / width + epsilon)
      for (let i = 0; i < width; i++) normed[start + i] = sum[start + i]! * inverse * f32Data(weight!)[i]!
    }
    return [
      { dtype: "f32", shape: out!.shape, data: normed },
      { dtype: "f32", shape: out!.shape, data: sum },
    ]
  },
  onnx: (emit, node) => {
    const [normed, sum] = node.outputs
    const attributes = { epsilon: { float: node.attrs.epsilon } }
    const [x, skip, weight] = node.inputs
    if (x!.shape.length !== 2 && x!.shape.length !== 3) {
      // The kernel for both takes no other rank, that of the norm alone does.
      emit.op("Add", [x!, skip!], [sum!])
      emit.op("SimplifiedLayerNormalization", [sum!, weight!], [normed!], { ...attributes, axis: { int: -1 } })
      return
    }
    const outputs = [normed!, emit.none(), emit.none(), sum!]
    emit.op("SkipSimplifiedLayerNormalization", node.inputs, outputs, attributes, MICROSOFT)
  },
  gradient: "none",
}

const quickGelu: OpDef<OpAttrs["quickGelu"]> = {
  arity: 1,
  infer: ([x], _, fail) => {
    if (x!.dtype !== "f32") fail(`expected f32, got ${x!.dtype}`)
    return [x!]
  },
  evaluate: ([x], { alpha }, [out]) => [
    { dtype: "f32", shape: out!.shape, data: f32Data(x!).map((value) => value / (1 + Math.exp(-alpha * value))) },
  ],
  onnx: (emit, node) => {
    emit.op("QuickGelu", node.inputs, node.outputs, { alpha: { float: node.attrs.alpha } }, MICROSOFT)
  },
  gradient: "none",
}

const rotaryEmbedding: OpDef<OpAttrs["rotaryEmbedding"]> = {
  arity: 3,
  infer: (inputs, attrs, fail) => {
    if (inputs[1]!.shape[0] !== 1) fail(`expected tables [1, T, K/2], got ${showShape(inputs[1]!.shape)}`)
    return rotary.infer(inputs, attrs, fail)
  },
  evaluate: rotary.evaluate,
  onnx: (emit, node) => {
    const [x, cos, sin] = node.inputs
    const [, steps, half] = cos!.shape
    const table = (value: typeof cos) => emit.reshape(value!, [steps!, half!])
    // Row t of the tables belongs to step t: positions start at 0 (a single id stands for the first position).
    const inputs = [x!, emit.shape([0]), table(cos), table(sin)]
    emit.op("RotaryEmbedding", inputs, node.outputs, { num_heads: { int: node.attrs.heads } }, MICROSOFT)
  },
  gradient: "none",
}

export const TARGET = {
  fusedMatMul,
  matMulNBits,
  rotateBlocks,
  quantizeRows,
  matMulIntegerToFloat,
  writeRows,
  fusedRmsNorm,
  skipRmsNorm,
  quickGelu,
  rotaryEmbedding,
}
