/** @file Numbers of tools and calls in prompts, as Python 3.11 prints them: `json.dumps(json.loads(text))`. */
import { expect, test } from "vitest"
import { loadChatTemplate } from "./chat-template.ts"

const NUMBERS = [
  ["1e-05", "1e-05"],
  ["0.00001", "1e-05"],
  ["-2.5E-7", "-2.5e-07"],
  ["1e22", "1e+22"],
  ["1.0", "1.0"],
  ["1e2", "100.0"],
  ["-0.0", "-0.0"],
  ["-0", "0"],
  ["0.1", "0.1"],
  ["0.0001", "0.0001"],
  ["123456789012345678901234567890", "123456789012345678901234567890"],
  ["1e16", "1e+16"],
  ["123456789.0e8", "1.23456789e+16"],
  ["1e15", "1000000000000000.0"],
  ["1e999", "Infinity"],
  ["5e-324", "5e-324"],
  ["1.7976931348623157e308", "1.7976931348623157e+308"],
  ["100", "100"],
  ["0.30000000000000004", "0.30000000000000004"],
] as const

const template = loadChatTemplate()
const called = (text: string): string => {
  const call = { function: { name: "f", arguments: text } }
  const rendered = template([
    { role: "user", content: "" },
    { role: "assistant", content: null, tool_calls: [call] },
  ])
  return /"arguments": (.*)\}\n<\/tool_call>/.exec(rendered)![1]!
}

test.each(NUMBERS)("arguments with %s", (text, printed) => {
  expect(called(`{"a":${text},"b":[${text} , -1]}`)).toBe(`{"a": ${printed}, "b": [${printed}, -1]}`)
  expect(called(text)).toBe(printed)
})

test("numbers within strings and names stay text, and what is no JSON is quoted", () => {
  expect(called('{"1.0":"1e5, \\"2.0\\"","\\n":"é\\u0000\\b中 "}')).toBe(
    '{"1.0": "1e5, \\"2.0\\"", "\\n": "é\\u0000\\b中 "}',
  )
  for (const text of ["1.0.0", "{1.0:2}", "01", "[1,]", ""]) expect(called(text)).toBe(JSON.stringify(text))
})

test("tools print small floats as Python does", () => {
  const tool = { name: "f", parameters: { minimum: 1e-5, maximum: 2.5, multipleOf: -1.5e-7, default: 3, big: 1e21 } }
  const text = template([{ role: "user", content: "1e-5" }], { tools: [tool] })
  expect(text).toContain(
    '{"name": "f", "parameters": {"minimum": 1e-05, "maximum": 2.5, "multipleOf": -1.5e-07, "default": 3, "big": 1e+21}}',
  )
  expect(text).toContain("1e-5<|im_end|>")
})
