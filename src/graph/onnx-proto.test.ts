/** @file The writer against an independent reader, by the field numbers of onnx.proto. */
import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { DTYPES } from "../tensor/index.ts"
import { encodeOnnxModel, type OnnxAttribute, type OnnxModel, onnxDataType } from "./onnx-proto.ts"
import { floatsOf, intOf, intsOf, messageOf, messagesOf, readMessage, textOf, textsOf } from "./wire.test-util.ts"

const empty: OnnxModel = { name: "g", opsets: { "": 21 }, inputs: [], outputs: [], initializers: [], nodes: [] }
const model = (parts: Partial<OnnxModel>) => readMessage(encodeOnnxModel({ ...empty, ...parts }))
const graphOf = (parts: Partial<OnnxModel>) => messageOf(model(parts), 7)
const nodeOf = (attributes: { readonly [name: string]: OnnxAttribute }) => {
  const node = { name: "n", opType: "Op", domain: "", inputs: ["a", "", "b"], outputs: ["c", ""], attributes }
  return messageOf(graphOf({ nodes: [node] }), 1)
}

test("a model has its version, producer, graph and opsets", () => {
  const read = model({ opsets: { "": 21, "com.microsoft": 1 } })
  expect([intOf(read, 1), textOf(read, 2), textOf(messageOf(read, 7), 2)]).toEqual([10, "omni", "g"])
  const opsets = messagesOf(read, 8).map((opset) => [textOf(opset, 1) ?? "", intOf(opset, 2)])
  expect(opsets).toEqual([
    ["", 21],
    ["com.microsoft", 1],
  ])
})

describe("a node", () => {
  test("keeps the places of omitted inputs and outputs", () => {
    const node = nodeOf({})
    expect(textsOf(node, 1)).toEqual(["a", "", "b"])
    expect(textsOf(node, 2)).toEqual(["c", ""])
    expect([textOf(node, 3), textOf(node, 4), textOf(node, 7)]).toEqual(["n", "Op", undefined])
  })
  test("names its domain when it is not ONNX's own", () => {
    const node = { name: "n", opType: "Op", domain: "com.microsoft", inputs: [], outputs: [], attributes: {} }
    expect(textOf(messageOf(graphOf({ nodes: [node] }), 1), 7)).toBe("com.microsoft")
  })
  test("has attributes of each type", () => {
    const tensor = { name: "t", dtype: "u8", shape: [2], data: Uint8Array.of(3, 4) } as const
    const node = nodeOf({
      one: { int: -1 },
      large: { int: 2n ** 62n },
      half: { float: 0.5 },
      text: { string: "tanh" },
      list: { ints: [0, -7, 300] },
      nothing: { ints: [] },
      numbers: { floats: [1.5, -2] },
      value: { tensor },
    })
    const byName = new Map(messagesOf(node, 5).map((attribute) => [textOf(attribute, 1), attribute]))
    const of = (name: string) => byName.get(name)!
    expect([intOf(of("one"), 3), intOf(of("one"), 20)]).toEqual([-1, 2])
    expect(of("large").get(3)).toEqual([2n ** 62n])
    expect([floatsOf(of("half"), 2), intOf(of("half"), 20)]).toEqual([[0.5], 1])
    expect([textOf(of("text"), 4), intOf(of("text"), 20)]).toEqual(["tanh", 3])
    expect([intsOf(of("list"), 8), intOf(of("list"), 20)]).toEqual([[0, -7, 300], 7])
    expect([intsOf(of("nothing"), 8), intOf(of("nothing"), 20)]).toEqual([[], 7])
    expect([floatsOf(of("numbers"), 7), intOf(of("numbers"), 20)]).toEqual([[1.5, -2], 6])
    expect([textOf(messageOf(of("value"), 5), 8), intOf(of("value"), 20)]).toEqual(["t", 4])
  })
})

describe("a tensor", () => {
  test("holds its bytes", () => {
    const [tensor] = messagesOf(
      graphOf({ initializers: [{ name: "w", dtype: "i64", shape: [1, 2], data: new Uint8Array(16).fill(9) }] }),
      5,
    )
    expect([intsOf(tensor!, 1), intOf(tensor!, 2), textOf(tensor!, 8)]).toEqual([[1, 2], 7, "w"])
    expect(tensor!.get(9)).toEqual([new Uint8Array(16).fill(9)])
    expect(intOf(tensor!, 14)).toBeUndefined()
  })
  test("or says in which file they are, beyond 4 GiB, too", () => {
    const data = { location: "weights.bin", offset: 2 ** 33, sizeBytes: 2 ** 34 }
    const [tensor] = messagesOf(graphOf({ initializers: [{ name: "w", dtype: "f32", shape: [2 ** 32], data }] }), 5)
    const entries = messagesOf(tensor!, 13).map((entry) => [textOf(entry, 1), textOf(entry, 2)])
    expect(Object.fromEntries(entries)).toEqual({
      location: "weights.bin",
      offset: "8589934592",
      length: "17179869184",
    })
    expect([intsOf(tensor!, 1), intOf(tensor!, 14), tensor!.get(9)]).toEqual([[2 ** 32], 1, undefined])
  })
  test("has the official number of its dtype", () => {
    const numbers = Object.fromEntries(DTYPES.map((dtype) => [dtype, onnxDataType(dtype)]))
    expect(numbers).toEqual({
      ...{ f32: 1, u8: 2, i8: 3, i16: 5, i32: 6, i64: 7, bool: 9, f16: 10, f64: 11, bf16: 16 },
    })
  })
})

test("inputs and outputs have types; symbolic dims are names, and a scalar has a shape without dims", () => {
  const graph = graphOf({
    inputs: [{ name: "x", dtype: "f32", shape: ["B", 3] }],
    outputs: [{ name: "y", dtype: "bool", shape: [] }],
  })
  const tensorType = (field: number) => messageOf(messageOf(messageOf(graph, field), 2), 1)
  const dims = messagesOf(messageOf(tensorType(11), 2), 1)
  expect(textOf(messageOf(graph, 11), 1)).toBe("x")
  expect(intOf(tensorType(11), 1)).toBe(1)
  expect(dims.map((dim) => textOf(dim, 2) ?? intOf(dim, 1))).toEqual(["B", 3])
  expect(intOf(tensorType(12), 1)).toBe(9)
  expect(messageOf(tensorType(12), 2).size).toBe(0)
})

test("any names, numbers and sizes come back", () => {
  const attribute = fc.oneof(
    fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }).map((int) => ({ int })),
    fc.string({ unit: "binary" }).map((string) => ({ string })),
    fc.array(fc.maxSafeInteger(), { maxLength: 200 }).map((ints) => ({ ints })),
  )
  const attributes = fc.dictionary(fc.string({ unit: "grapheme", minLength: 1 }), attribute, { noNullPrototype: true })
  fc.assert(
    fc.property(attributes, fc.uint8Array({ maxLength: 1000 }), (written, data) => {
      const graph = graphOf({
        initializers: [{ name: "w", dtype: "u8", shape: [data.length], data }],
        nodes: [{ name: "n", opType: "Op", domain: "", inputs: [], outputs: [], attributes: written }],
      })
      expect(messageOf(graph, 5).get(9)).toEqual([data])
      const read = messagesOf(messageOf(graph, 1), 5)
      expect(read.map((one) => textOf(one, 1))).toEqual(Object.keys(written))
      for (const [i, value] of Object.values(written).entries()) {
        const one = read[i]!
        if ("int" in value) expect(BigInt.asIntN(64, one.get(3)![0] as bigint)).toBe(value.int)
        else if ("string" in value) expect(textOf(one, 4)).toBe(value.string)
        else expect(intsOf(one, 8)).toEqual(value.ints)
      }
    }),
  )
})
