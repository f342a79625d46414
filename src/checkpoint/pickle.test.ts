import { expect, test } from "vitest"
import { CheckpointError } from "../util/index.ts"
import { type PickleHooks, type PickleValue, parsePickle } from "./pickle.ts"
import { op, pickled, pText, utf8 } from "./test-support.ts"

const hooks: PickleHooks<string> = {
  resolve: (module, name) => `${module}:${name}`,
  call: (callee, args) => `${callee}(${args.length})`,
  persistent: (id) => `id ${JSON.stringify(id)}`,
}
const parse = (...parts: Uint8Array[]) => parsePickle("p", pickled(...parts), hooks)
const tuple = (...items: PickleValue<string>[]) => ({ kind: "tuple", items })

test.each<[string, Uint8Array, unknown]>([
  ["BININT", op(0x4a, 0xfe, 0xff, 0xff, 0xff), -2],
  ["BININT2", op(0x4d, 1, 2), 513],
  ["LONG1 of 5 bytes", op(0x8a, 5, 0, 0, 0, 0, 1), 2 ** 32],
  ["LONG1 below zero", op(0x8a, 1, 0xff), -1],
  ["LONG1 of nothing", op(0x8a, 0), 0],
  ["BINFLOAT", op(0x47, 0x3f, 0xf8, 0, 0, 0, 0, 0, 0), 1.5],
  ["NEWTRUE", op(0x88), true],
  ["BINUNICODE", op(0x58, 2, 0, 0, 0, 0xc3, 0xa9), "é"],
  ["BINUNICODE8", op(0x8d, 1, 0, 0, 0, 0, 0, 0, 0, 0x61), "a"],
  ["TUPLE2 in order", op(0x4b, 1, 0x4b, 2, 0x86), tuple(1, 2)],
  ["TUPLE3 in order", op(0x4b, 1, 0x4b, 2, 0x4b, 3, 0x87), tuple(1, 2, 3)],
  ["TUPLE1 of EMPTY_TUPLE", op(0x29, 0x85), tuple({ kind: "tuple", items: [] })],
  ["APPENDS", op(0x5d, 0x28, 0x4b, 1, 0x4b, 2, 0x65), { kind: "list", items: [1, 2] }],
  ["SETITEM", op(0x7d, 0x4b, 1, 0x4e, 0x73), { kind: "dict", keys: [1], values: [null] }],
  ["FRAME and MEMOIZE", op(0x95, 9, 0, 0, 0, 0, 0, 0, 0, 0x4b, 1, 0x94, 0x68, 0, 0x86), tuple(1, 1)],
  ["LONG_BINPUT and LONG_BINGET", op(0x4b, 1, 0x72, 0, 0, 0, 9, 0x6a, 0, 0, 0, 9, 0x86), tuple(1, 1)],
  ["POP_MARK", op(0x4b, 1, 0x28, 0x4b, 2, 0x31), 1],
  ["GLOBAL", utf8("ca.b\nc\n"), { kind: "opaque", value: "a.b:c" }],
  ["REDUCE", utf8("ca\nb\n)R"), "a:b(0)"],
  ["BINPERSID", op(0x4b, 7, 0x51), { kind: "opaque", value: "id 7" }],
])("%s", (_, bytes, value) => {
  expect(parse(bytes)).toEqual(value)
})

test("STACK_GLOBAL", () => {
  expect(parse(pText("a.b"), pText("c"), op(0x93))).toEqual({ kind: "opaque", value: "a.b:c" })
})

test.each<[string, Uint8Array, string]>([
  [
    "an unknown opcode",
    op(0x69),
    "p, byte 3: expected an opcode of a state dict, got 0x69 (not a state dict of tensors",
  ],
  ["a protocol of the future", op(0x80, 6), "expected a protocol up to 5, got 6"],
  ["an empty stack", op(0x30), "expected a value on the stack, got none"],
  ["a pop through a mark", op(0x4b, 1, 0x28, 0x30), "expected a value on the stack, got none"],
  ["a missing mark", op(0x74), "expected a mark on the stack, got none"],
  ["text beyond the end", op(0x58, 255, 255, 255, 255), "expected 4294967295 more bytes, got the end"],
  ["text that is not UTF-8", op(0x8c, 1, 0xff), "expected UTF-8 text, got other bytes"],
  ["an integer beyond 2^53", op(0x8a, 8, 0, 0, 0, 0, 0, 0, 0, 1), "expected an integer below 2^53"],
  ["a long integer", op(0x8a, 9), "expected an integer of at most 8 bytes, got 9"],
  ["an unset memo", op(0x68, 1), "expected memo 1 to be set, got nothing"],
  ["a key alone", op(0x7d, 0x28, 0x4b, 1, 0x75), "expected keys with values, got a key alone"],
  ["items of a list", op(0x5d, 0x28, 0x75), "expected a dictionary on the stack, got a list"],
  ["a list of a tuple", op(0x29, 0x4b, 1, 0x61), "expected a list on the stack, got a tuple"],
  ["a call of a string", op(0x8c, 1, 0x61, 0x29, 0x52), 'expected a named object on the stack, got "a"'],
  [
    "attributes of a tensor",
    op(0x4b, 1, 0x51, 0x7d, 0x62),
    "expected attributes of a dictionary only, got a named object",
  ],
  ["a name that is no string", op(0x4b, 1, 0x4b, 2, 0x93), "expected a string on the stack, got 2"],
])("refuses %s", (_, bytes, message) => {
  expect(() => parse(bytes)).toThrow(CheckpointError)
  expect(() => parse(bytes)).toThrow(message)
})

test("refuses a pickle without end", () => {
  expect(() => parsePickle("p", op(0x80, 2, 0x4e), hooks)).toThrow("p, byte 3: expected 1 more bytes, got the end")
})
