/**
 * @file The part of the ONNX protobuf format that we write: models, graphs, nodes, tensors (inline or external).
 * A writer only, field numbers as in the official onnx.proto; nothing here knows our graph.
 */
import type { DType } from "../tensor/index.ts"

/** An attribute's value; `int` and `float` are told apart because JavaScript cannot. */
export type OnnxAttribute =
  | { readonly int: number | bigint }
  | { readonly float: number }
  | { readonly string: string }
  | { readonly ints: readonly number[] }
  | { readonly floats: readonly number[] }
  | { readonly tensor: OnnxTensor }

/** Where a tensor's bytes are: in the model itself or in a file beside it. */
export type OnnxTensor = {
  readonly name: string
  readonly dtype: DType
  readonly shape: readonly number[]
  readonly data: Uint8Array | { readonly location: string; readonly offset: number; readonly sizeBytes: number }
}

export type OnnxNode = {
  readonly name: string
  readonly opType: string
  readonly domain: string
  /** An empty name stands for an omitted optional input or output. */
  readonly inputs: readonly string[]
  readonly outputs: readonly string[]
  readonly attributes: { readonly [name: string]: OnnxAttribute }
}

/** A graph input or output; symbolic dims are strings. */
export type OnnxValueInfo = {
  readonly name: string
  readonly dtype: DType
  readonly shape: readonly (number | string)[]
}

export type OnnxModel = {
  readonly name: string
  readonly opsets: { readonly [domain: string]: number }
  readonly inputs: readonly OnnxValueInfo[]
  readonly outputs: readonly OnnxValueInfo[]
  readonly initializers: readonly OnnxTensor[]
  readonly nodes: readonly OnnxNode[]
}

/** TensorProto.DataType. */
const DATA_TYPE: { readonly [D in DType]: number } = {
  f32: 1,
  u8: 2,
  i8: 3,
  i16: 5,
  i32: 6,
  i64: 7,
  bool: 9,
  f16: 10,
  f64: 11,
  bf16: 16,
}

/** ONNX's number for a dtype, as attributes such as Cast's `to` need it. */
export function onnxDataType(dtype: DType): number {
  return DATA_TYPE[dtype]
}

const VARINT = 0
const LENGTH_DELIMITED = 2
const FIXED32 = 5
const textEncoder = new TextEncoder()

/** Grows by doubling; messages nest by writing the child first and its length in front. */
class Writer {
  private bytes = new Uint8Array(256)
  private length = 0

  finish(): Uint8Array {
    return this.bytes.subarray(0, this.length)
  }

  int(field: number, value: number | bigint): void {
    this.tag(field, VARINT)
    this.varint(BigInt.asUintN(64, BigInt(value)))
  }

  float(field: number, value: number): void {
    this.tag(field, FIXED32)
    this.reserve(4)
    new DataView(this.bytes.buffer).setFloat32(this.length, value, true)
    this.length += 4
  }

  string(field: number, value: string): void {
    this.raw(field, textEncoder.encode(value))
  }

  raw(field: number, value: Uint8Array): void {
    this.tag(field, LENGTH_DELIMITED)
    this.varint(BigInt(value.length))
    this.reserve(value.length)
    this.bytes.set(value, this.length)
    this.length += value.length
  }

  message(field: number, write: (child: Writer) => void): void {
    const child = new Writer()
    write(child)
    this.raw(field, child.finish())
  }

  private tag(field: number, wireType: number): void {
    this.varint(BigInt((field << 3) | wireType))
  }

  private varint(value: bigint): void {
    this.reserve(10)
    let rest = value
    while (rest >= 0x80n) {
      this.bytes[this.length++] = Number(rest & 0x7fn) | 0x80
      rest >>= 7n
    }
    this.bytes[this.length++] = Number(rest)
  }

  private reserve(count: number): void {
    if (this.length + count <= this.bytes.length) return
    const grown = new Uint8Array(Math.max(this.bytes.length * 2, this.length + count))
    grown.set(this.bytes.subarray(0, this.length))
    this.bytes = grown
  }
}

function writeTensor(w: Writer, tensor: OnnxTensor): void {
  for (const dim of tensor.shape) w.int(1, dim)
  w.int(2, DATA_TYPE[tensor.dtype])
  w.string(8, tensor.name)
  const { data } = tensor
  if (data instanceof Uint8Array) {
    w.raw(9, data)
    return
  }
  const entries = { location: data.location, offset: String(data.offset), length: String(data.sizeBytes) }
  for (const [key, value] of Object.entries(entries)) {
    w.message(13, (entry) => {
      entry.string(1, key)
      entry.string(2, value)
    })
  }
  w.int(14, 1)
}

function writeAttribute(w: Writer, name: string, value: OnnxAttribute): void {
  const typeField = 20
  w.string(1, name)
  if ("int" in value) {
    w.int(3, value.int)
    w.int(typeField, 2)
  } else if ("float" in value) {
    w.float(2, value.float)
    w.int(typeField, 1)
  } else if ("string" in value) {
    w.string(4, value.string)
    w.int(typeField, 3)
  } else if ("ints" in value) {
    for (const item of value.ints) w.int(8, item)
    w.int(typeField, 7)
  } else if ("floats" in value) {
    for (const item of value.floats) w.float(7, item)
    w.int(typeField, 6)
  } else {
    w.message(5, (child) => writeTensor(child, value.tensor))
    w.int(typeField, 4)
  }
}

function writeValueInfo(w: Writer, info: OnnxValueInfo): void {
  w.string(1, info.name)
  w.message(2, (type) =>
    type.message(1, (tensorType) => {
      tensorType.int(1, DATA_TYPE[info.dtype])
      tensorType.message(2, (shape) => {
        for (const dim of info.shape) {
          shape.message(1, (entry) => (typeof dim === "number" ? entry.int(1, dim) : entry.string(2, dim)))
        }
      })
    }),
  )
}

function writeNode(w: Writer, node: OnnxNode): void {
  for (const input of node.inputs) w.string(1, input)
  for (const output of node.outputs) w.string(2, output)
  w.string(3, node.name)
  w.string(4, node.opType)
  if (node.domain !== "") w.string(7, node.domain)
  for (const [name, value] of Object.entries(node.attributes))
    w.message(5, (child) => writeAttribute(child, name, value))
}

/** Serializes a model; tensors with external data are referred to, not read. */
export function encodeOnnxModel(model: OnnxModel): Uint8Array {
  const w = new Writer()
  w.int(1, 10) // IR version 10: the first that knows opset 21
  w.string(2, "omni")
  w.message(7, (graph) => {
    for (const node of model.nodes) graph.message(1, (child) => writeNode(child, node))
    graph.string(2, model.name)
    for (const tensor of model.initializers) graph.message(5, (child) => writeTensor(child, tensor))
    for (const input of model.inputs) graph.message(11, (child) => writeValueInfo(child, input))
    for (const output of model.outputs) graph.message(12, (child) => writeValueInfo(child, output))
  })
  for (const [domain, version] of Object.entries(model.opsets)) {
    w.message(8, (opset) => {
      if (domain !== "") opset.string(1, domain)
      opset.int(2, version)
    })
  }
  return w.finish().slice()
}
