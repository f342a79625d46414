/** @file Saved data: what goes in comes out, and damaged bytes are refused. */
import fc from "fast-check"
import { expect, test } from "vitest"
import { InputError } from "../util/index.ts"
import { decodeData, decodeHeader, encodeData, sumOf } from "./snapshot.ts"

const array = fc.oneof(fc.float32Array({ noNaN: true, maxLength: 9 }), fc.uint8Array({ maxLength: 9 }))
const value = fc.record({
  name: fc.string(),
  list: fc.array(array, { maxLength: 4 }),
  deep: fc.record({ array, count: fc.nat() }),
})

test("encoding and decoding give the same data", () => {
  fc.assert(
    fc.property(value, (data) => {
      expect(decodeData(encodeData(data))).toEqual(data)
    }),
  )
})

test("damage and cuts anywhere are told", () => {
  fc.assert(
    fc.property(value, fc.nat(), fc.integer({ min: 0, max: 255 }), fc.nat(), (data, at, change, cut) => {
      const bytes = encodeData(data)
      bytes[at % bytes.length]! ^= change
      const read = () => decodeData(bytes.subarray(0, change === 0 ? cut % bytes.length : bytes.length))
      expect(read).toThrow(InputError)
    }),
  )
})

test("data of the first version, without a sum over its arrays, can be read", () => {
  const text = new TextEncoder().encode('{"floats":{"$array":"f32","at":0,"length":1}}   ')
  const bytes = new Uint8Array(8 + text.length + 4)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, text.length, true)
  view.setUint32(4, sumOf(text), true)
  bytes.set(text, 8)
  view.setFloat32(8 + text.length, 1.5, true)
  expect(decodeData(bytes)).toEqual({ floats: Float32Array.of(1.5) })
})

test("bytes of every kind come back as bytes, wherever they lie", () => {
  const clamped = new Uint8ClampedArray([1, 2, 255])
  const read = decodeData(encodeData({ clamped, buffer: Buffer.from([7, 8]) }))
  expect(read).toEqual({ clamped: new Uint8Array([1, 2, 255]), buffer: new Uint8Array([7, 8]) })
  const bytes = encodeData({ floats: Float32Array.of(1, 2) })
  const shifted = new Uint8Array(bytes.length + 1)
  shifted.set(bytes, 1)
  expect(decodeData(shifted.subarray(1))).toEqual({ floats: Float32Array.of(1, 2) })
  expect(decodeHeader(bytes)).toMatchObject({ floats: { length: 2 } })
})
