/** @file Saved data: what goes in comes out, and damaged bytes are refused. */
import fc from "fast-check"
import { expect, test } from "vitest"
import { InputError } from "../util/index.ts"
import { decodeData, encodeData } from "./snapshot.ts"

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

/** Data with the lengths of its arrays instead of what they hold. */
function shape(value: unknown): unknown {
  if (value instanceof Float32Array || value instanceof Uint8Array) return value.length
  if (Array.isArray(value)) return value.map(shape)
  if (typeof value !== "object" || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, shape(item)]))
}

test("damaged bytes give data or an InputError, never anything else", () => {
  fc.assert(
    fc.property(value, fc.nat(), fc.integer({ min: 1, max: 255 }), fc.nat(), (data, at, change, cut) => {
      const bytes = encodeData(data)
      bytes[at % bytes.length]! ^= change
      try {
        const read = decodeData(bytes.subarray(0, cut % 2 ? bytes.length : cut % bytes.length))
        // Damage that is not told lies in the numbers of an array: the rest is as it was.
        expect(JSON.stringify(shape(read))).toBe(JSON.stringify(shape(data)))
      } catch (error) {
        expect(error).toBeInstanceOf(InputError)
      }
    }),
  )
})
