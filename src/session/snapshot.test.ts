/** @file Saved data: what goes in comes out, and damaged bytes are refused. */
import fc from "fast-check"
import { expect, test } from "vitest"
import { InputError } from "../util/index.ts"
import { decodeData, decodeHeader, decodeSteps, encodeData, encodeSteps, sumOf } from "./snapshot.ts"

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

/** The result of steps, and how many they were. */
function counted<T>(steps: Generator<undefined, T, void>): [result: T, steps: number] {
  for (let count = 1; ; count++) {
    const { done, value } = steps.next()
    if (done) return [value, count]
  }
}

test("large data takes several steps each way, small data one", () => {
  const large = new Uint8Array(100 * 1024 * 1024)
  for (let at = 0; at < large.length; at += 4099) large[at] = at
  const [bytes, writing] = counted(encodeSteps({ large, small: Float32Array.of(1) }))
  const [data, reading] = counted(decodeSteps(bytes))
  expect([writing, reading]).toEqual([3, 3]) // arrays are moved, and summed
  const read = data as { readonly large: Uint8Array; readonly small: Float32Array }
  expect([Buffer.compare(read.large, large), read.small]).toEqual([0, Float32Array.of(1)])
  bytes[bytes.length - 8]! ^= 1
  expect(() => decodeData(bytes)).toThrow("damaged or missing data")
  expect(counted(encodeSteps({ small: large.subarray(0, 1000) }))[1]).toBe(1)
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
