import fc from "fast-check"
import { expect, test } from "vitest"
import { ToolCallParser, type ToolCallPiece } from "./tool-calls.ts"

/** All pieces of a text that comes in the given cuts, neighbouring text joined. */
function parse(...cuts: string[]): ToolCallPiece[] {
  const parser = new ToolCallParser()
  const joined: ToolCallPiece[] = []
  for (const piece of [...cuts.flatMap((cut) => parser.push(cut)), ...parser.flush()]) {
    const last = joined.at(-1)
    if (piece.type === "text" && last?.type === "text")
      joined[joined.length - 1] = { type: "text", text: last.text + piece.text }
    else joined.push(piece)
  }
  return joined
}

const call = (name: string, text: string) => ({ type: "tool-call", call: { name, arguments: text } })
const written = (name: string, text: string) =>
  `<tool_call>\n{"name": ${JSON.stringify(name)}, "arguments": ${text}}\n</tool_call>`

test("text, calls, and what the model adds between them", () => {
  const text = `Let me see.\n${written("f", '{"a": 1.50}')}\n${written("g", "{}")}\n`
  expect(parse(text)).toEqual([{ type: "text", text: "Let me see." }, call("f", '{"a": 1.50}'), call("g", "{}")])
  expect(parse(`${written("f", "{}")}\nDone.`)).toEqual([call("f", "{}"), { type: "text", text: "\nDone." }])
})

test("a closing tag inside an argument is part of it", () => {
  const value = JSON.stringify({ html: "</tool_call>{}" })
  expect(parse(written("f", value))).toEqual([call("f", value)])
})

test("arguments are those of the call, whatever the order or type", () => {
  expect(parse('<tool_call>{"arguments": {"x": [1]}, "name": "f"}</tool_call>')).toEqual([call("f", '{"x":[1]}')])
  expect(parse('<tool_call>{"name": "f"}</tool_call>')).toEqual([call("f", "{}")])
  expect(parse('<tool_call>{"name": "f", "arguments": "{}"}</tool_call>')).toEqual([call("f", "{}")])
})

test("what is no whole call stays text", () => {
  for (const text of [
    "<tool_call>",
    "<tool_call>{</tool_call>",
    '<tool_call>{"name": 1}</tool_call>',
    "a < b <tool",
    " ",
  ])
    expect(parse(text)).toEqual([{ type: "text", text }])
})

test("law: the cuts do not matter", () => {
  const part = fc.oneof(
    fc.string({ maxLength: 5 }),
    fc.constantFrom("<", "<tool_call>", "</tool_call>", "\n", " ", "{"),
    fc
      .tuple(fc.constantFrom("f", 'g"'), fc.json({ maxDepth: 2 }))
      .map(([name, text]) => written(name, `{"x": ${text}}`)),
  )
  fc.assert(
    fc.property(fc.array(part, { maxLength: 6 }), fc.array(fc.nat(40)), (parts, sizes) => {
      const text = parts.join("")
      const cuts: string[] = []
      let rest = text
      for (const size of sizes) {
        cuts.push(rest.slice(0, size))
        rest = rest.slice(size)
      }
      expect(parse(...cuts, rest)).toEqual(parse(text))
    }),
  )
})

test("law: streamed arguments joined are those of the call that follows, and the rest is as without", () => {
  const tool = fc
    .tuple(fc.constantFrom("f", 'g"'), fc.json({ maxDepth: 3 }))
    .map(([name, text]) => written(name, `{"x": ${text}, "y": "}\\"{"}`))
  const part = fc.oneof(fc.string({ maxLength: 5 }), tool)
  fc.assert(
    fc.property(fc.array(part, { maxLength: 5 }), fc.integer({ min: 1, max: 9 }), (parts, size) => {
      const text = parts.join("")
      const parser = new ToolCallParser({ streams: true })
      const pieces: ToolCallPiece[] = []
      for (let at = 0; at < text.length; at += size) pieces.push(...parser.push(text.slice(at, at + size)))
      pieces.push(...parser.flush())
      let given = ""
      let index = 0
      let said = ""
      for (const piece of pieces) {
        if (piece.type === "text") said += piece.text
        else if (piece.type === "tool-call-delta") {
          expect(piece.index).toBe(index)
          given += piece.arguments
        } else {
          expect(given).toBe(piece.call.arguments)
          given = ""
          index++
        }
      }
      const plain = parse(text)
      expect(index).toBe(plain.filter(({ type }) => type === "tool-call").length)
      expect(said).toBe(plain.map((piece) => (piece.type === "text" ? piece.text : "")).join(""))
    }),
  )
})

test("arguments come while they are written", () => {
  const parser = new ToolCallParser({ streams: true })
  const [opening, rest] = ['<tool_call>\n{"name": "f", "arguments": {"city": "Par', 'is"}}\n</tool_call>']
  expect(parser.push(opening!)).toEqual([{ type: "tool-call-delta", index: 0, name: "f", arguments: '{"city": "Par' }])
  expect(parser.isInside).toBe(true)
  expect(parser.push(rest!)).toEqual([
    { type: "tool-call-delta", index: 0, name: "f", arguments: 'is"}' },
    call("f", '{"city": "Paris"}'),
  ])
  expect(parser.isInside).toBe(false)
})
