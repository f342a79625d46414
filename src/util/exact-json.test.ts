import fc from "fast-check"
import { expect, test } from "vitest"
import { exactJson } from "./exact-json.ts"

test("names with escapes are read right, whatever was parsed before", () => {
  JSON.parse('{"a":1,"\\\\":2}')
  expect(exactJson('{"a":1,"\\n":2}')).toEqual({ a: 1, "\n": 2 })
  JSON.parse('{"b":1,"x\\\\u":2}')
  expect(exactJson('[{"b":1,"x\\u00e9\\u4e2d" : {"\\"":[{"\\\\":null}]}}]')).toEqual([
    { b: 1, xé中: { '"': [{ "\\": null }] } },
  ])
})

test("equals JSON.parse of what JSON.stringify wrote, escaped in every way", () => {
  const name = fc.string({
    unit: fc.constantFrom("a", "b", "1", "\\", '"', "\n", "u", "n", "é", "中", "\ue000", "\ud83d", "😀"),
    maxLength: 4,
  })
  const { value } = fc.letrec<{ value: unknown }>((tie) => ({
    value: fc.oneof(
      { maxDepth: 3 },
      fc.oneof(name, fc.integer(), fc.constant(null)),
      fc.array(tie("value"), { maxLength: 3 }),
      fc.array(fc.tuple(name, tie("value")), { maxLength: 4 }).map((members) => Object.fromEntries(members)),
    ),
  }))
  const ascii = (text: string) =>
    text.replaceAll(/[^\t\n\x20-\x7e]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`)
  fc.assert(
    fc.property(value, fc.boolean(), fc.constantFrom(undefined, 1, "\t"), (wanted, isAscii, indent) => {
      const text = JSON.stringify(wanted, undefined, indent)
      expect(exactJson(isAscii ? ascii(text) : text)).toEqual(wanted)
    }),
    { numRuns: 500 },
  )
})

test("members keep their order, the last of two names counts, and __proto__ is a name", () => {
  const value = exactJson('{"\\u0061":1,"b":2,"a":3,"__pro\\u0074o__":{"c":4}}') as object
  expect(Object.entries(value)).toEqual([
    ["a", 3],
    ["b", 2],
    ["__proto__", { c: 4 }],
  ])
  expect("c" in value).toBe(false)
})

test("of two names the last counts, however they are written", () => {
  const forms = ['"1"', '"\\u0031"', '"\\n"', '"\\u000a"', '"\\u000A"', '"\\ue000"', '"\\u0061"', '"a"', '"\\ue0000"']
  fc.assert(
    fc.property(fc.array(fc.constantFrom(...forms), { maxLength: 8 }), (names) => {
      const members = names.map((name, i) => `${name}:${i}`)
      // Pairs cannot be read wrong, which names of objects may be.
      const wanted = Object.fromEntries(names.map((name, i) => [JSON.parse(name) as string, i]))
      expect(JSON.stringify(exactJson(`{${members.join()}}`))).toBe(JSON.stringify(wanted))
    }),
    { numRuns: 500 },
  )
})

test.each(["", "{", '{"\\x":1}', '{"\\', '{"a\\"', '{"\\u12":1}', '{"\\n":1}]', "{'\\n':1}"])("refuses %j", (text) => {
  expect(() => exactJson(text)).toThrow(SyntaxError)
})
