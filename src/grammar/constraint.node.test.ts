/** @file Whatever is sampled under a constraint keeps to its format: random tokens, real grammars, an independent validator. */
import { readFileSync } from "node:fs"
import fc from "fast-check"
import { beforeAll, describe, expect, test } from "vitest"
import { z } from "zod"
import { loadTokenizer, type OmniTokenizer } from "../tokenizer/index.ts"
import { createRandom, InputError } from "../util/index.ts"
import { answerGrammar, type ConstraintFormat, Constraints, type ConstraintTool } from "./constraint.ts"
import { anySchema } from "./schemas.test-util.ts"
import { ToolCallParser } from "./tool-calls.ts"
import { loadXgrammar } from "./xgrammar.node.ts"

const CHECKPOINT = new URL("../../test/fixtures/tiny-a/checkpoint/", import.meta.url)
const read = (name: string) => JSON.parse(readFileSync(new URL(name, CHECKPOINT), "utf8"))

let tokenizer: OmniTokenizer
let constraints: Constraints
let end: number
let vocabSize: number

beforeAll(async () => {
  tokenizer = loadTokenizer({
    tokenizerJson: read("tokenizer.json"),
    tokenizerConfig: read("tokenizer_config.json"),
  })
  vocabSize = read("config.json").vocab_size
  end = tokenizer.idOf("<|im_end|>")
  constraints = await Constraints.create(await loadXgrammar(), tokenizer, vocabSize, [end])
})

/** Draws allowed tokens, short ones that close things more often than not, until the end or so many tokens. */
async function draw(format: ConstraintFormat, seed: number, tools: readonly ConstraintTool[] = [], most = 4000) {
  using constraint = (await constraints.constraint(format, tools))!
  const random = createRandom(seed)
  const ids: number[] = []
  while (ids.length < most) {
    const mask = await constraint.allowed()
    const allowed = Array.from({ length: vocabSize }, (_, id) => id).filter((id) => (mask[id >> 5]! >>> (id & 31)) & 1)
    expect(allowed.length).toBeGreaterThan(0)
    expect(allowed.filter((id) => id !== end && tokenizer.isSpecial(id))).toEqual([])
    const closing = allowed.filter((id) => /^["\]}0-9nftl,:eaurs]*$/.test(tokenizer.tokenOf(id) ?? "x"))
    const from = random() < 0.7 && closing.length > 0 ? closing : allowed
    const id = allowed.includes(end) && random() < 0.3 ? end : from[Math.floor(random() * from.length)]!
    constraint.accept(id)
    if (id === end) return tokenizer.decode(ids)
    ids.push(id)
  }
  return undefined
}

describe("what is sampled under a schema", () => {
  test("parses and validates, whatever the schema", async () => {
    let whole = 0
    await fc.assert(
      fc.asyncProperty(anySchema, fc.nat(), async (schema, seed) => {
        const text = await draw({ type: "json-schema", schema }, seed)
        if (text === undefined) return // too long to wait for
        whole++
        const value: unknown = JSON.parse(text)
        expect(z.fromJSONSchema(schema as never).safeParse(value).error).toBeUndefined()
      }),
      { numRuns: Number(process.env.RUNS ?? 150) },
    )
    expect(whole).toBeGreaterThan(100)
  }, 60_000)

  test("has the length that is asked for, in code points", async () => {
    for (let seed = 0; seed < 20; seed++) {
      const text = await draw({ type: "json-schema", schema: { type: "string", minLength: 2, maxLength: 5 } }, seed)
      const length = [...JSON.parse(text!)].length
      expect(length >= 2 && length <= 5).toBe(true)
    }
  })

  test("lies between the bounds, and any whole number there can be said", async () => {
    const { Grammar, Testings } = await loadXgrammar()
    const bound = fc.integer({ min: -1200, max: 1200 })
    const cases = fc.tuple(bound, bound, fc.boolean(), fc.constantFrom(1, 10, 1000), fc.array(bound, { minLength: 30 }))
    await fc.assert(
      fc.asyncProperty(cases, async ([a, b, whole, scale, tries]) => {
        const [minimum, maximum] = whole
          ? [Math.min(a, b), Math.max(a, b)]
          : [Math.min(a, b) / scale, Math.max(a, b) / scale]
        const text = answerGrammar({
          type: "json-schema",
          schema: { type: whole ? "integer" : "number", minimum, maximum },
        })
        const grammar = await Grammar.fromEBNF(text!)
        for (const value of [minimum, maximum, ...tries.map((one) => (whole ? one : one / scale))]) {
          const accepts = await Testings.isGrammarAcceptString(grammar, String(value))
          if (accepts) expect(value >= minimum && value <= maximum).toBe(true)
          else if (whole) expect(value < minimum || value > maximum).toBe(true)
        }
        grammar.dispose()
      }),
    )
  })

  test("is an object when only JSON is asked for", async () => {
    for (let seed = 0; seed < 10; seed++) {
      const text = await draw({ type: "json-object" }, seed)
      if (text !== undefined) expect(JSON.parse(text)).toBeTypeOf("object")
    }
  })

  test("follows references, also of schemas inside themselves", async () => {
    const schema = {
      $ref: "#/$defs/list",
      $defs: {
        list: {
          type: "object",
          properties: { head: { type: "integer" }, tail: { anyOf: [{ type: "null" }, { $ref: "#/$defs/list" }] } },
          required: ["head", "tail"],
        },
      },
    }
    const text = await draw({ type: "json-schema", schema }, 3)
    expect(JSON.parse(text!)).toMatchObject({ head: expect.any(Number) })
  })

  test.each([
    ["date", /^\d{4}-\d\d-\d\d$/],
    ["date-time", /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/],
    ["uuid", /^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/i],
    ["ipv4", /^\d+\.\d+\.\d+\.\d+$/],
    ["email", /^.+@.+$/],
  ])("has the form of a %s", async (format, pattern) => {
    for (let seed = 0; seed < 5; seed++) {
      const text = await draw({ type: "json-schema", schema: { type: "string", format } }, seed)
      expect(JSON.parse(text!)).toMatch(pattern)
      if (format.startsWith("date")) expect(Date.parse(JSON.parse(text!))).not.toBeNaN()
    }
  })
})

describe("tool calls", () => {
  const tools = [
    {
      name: "weather",
      parameters: { type: "object", properties: { city: { type: "string", maxLength: 8 } }, required: ["city"] },
    },
    { name: "stop" },
  ]

  test("required: nothing but calls of the tools", async () => {
    let calls = 0
    for (let seed = 0; seed < 15; seed++) {
      const text = await draw({ type: "tool-call" }, seed, tools)
      if (text === undefined) continue
      const parser = new ToolCallParser()
      for (const piece of [...parser.push(text), ...parser.flush()]) {
        expect(piece.type).toBe("tool-call")
        if (piece.type !== "tool-call") continue
        calls++
        const value = JSON.parse(piece.call.arguments)
        expect(["weather", "stop"]).toContain(piece.call.name)
        if (piece.call.name === "weather") expect(value).toEqual({ city: expect.any(String) })
      }
    }
    expect(calls).toBeGreaterThan(10)
  })

  test("of one name", async () => {
    const text = await draw({ type: "tool-call", name: "weather" }, 1, tools)
    expect(text).toMatch(/^<tool_call>\n\{"name": "weather", "arguments": \{"city": .*\}\}\n<\/tool_call>$/)
  })

  test("by the model's choice: any text, and after an opening tag a call", async () => {
    using constraint = (await constraints.constraint({ type: "text" }, tools))!
    const isAllowed = async (id: number) => ((await constraint.allowed())[id >> 5]! >>> (id & 31)) & 1
    for (const id of tokenizer.encode("No call yet.")) {
      expect(await isAllowed(id)).toBe(1)
      constraint.accept(id)
    }
    expect(await isAllowed(end)).toBe(1)
    constraint.accept(tokenizer.idOf("<tool_call>"))
    expect(await isAllowed(end)).toBe(0)
    for (const id of tokenizer.encode('\n{"name": "stop", "arguments": {')) constraint.accept(id)
    expect(() => constraint.accept(end)).toThrow("internal: constraint: token")
  })

  test("without tools, text has no constraint", async () => {
    expect(await constraints.constraint({ type: "text" })).toBeUndefined()
  })
})

describe("schemas that no grammar can keep, or that are too large, are refused", () => {
  const nested = (depth: number): object => (depth === 0 ? {} : { type: "array", items: nested(depth - 1) })
  test.each<[unknown, string]>([
    [[], "response_format: expected an object, got a list"],
    [{ type: "strange" }, "response_format: expected a type of object, array"],
    [{ type: "string", pattern: "^a" }, "response_format: expected keywords that a grammar can keep, got pattern"],
    [
      { type: "object", properties: { a: { not: {} } } },
      "response_format.a: expected keywords that a grammar can keep, got not",
    ],
    [{ $ref: "#/$defs/no" }, "response_format: expected a $ref to something, got one to nothing"],
    [{ $ref: "http://example.org/" }, "response_format: expected a $ref into this schema, got another"],
    [{ $ref: "#" }, "expected a $ref that ends, got a circle"],
    [{ anyOf: [{ $ref: "#" }, { type: "null" }] }, "expected a $ref that ends, got a circle"],
    [{ anyOf: [] }, "response_format: expected anyOf to be a filled list, got a list"],
    [{ oneOf: [{ type: "integer" }, { type: "number" }] }, "response_format: expected alternatives of different types"],
    [{ allOf: [{ type: "object" }, { type: "object" }] }, "response_format: expected allOf of one schema, got 2"],
    [{ $ref: "#/x", minLength: 2, x: {} }, "response_format: expected $ref alone, got minLength beside it"],
    [{ type: "integer", minimum: 3, maximum: 2 }, "response_format: expected bounds with numbers between"],
    [{ type: "integer", minimum: "3" }, "response_format: expected minimum to be a number, got string"],
    [{ type: "string", maxLength: -1 }, "response_format: expected maxLength to be a whole number ≥ 0"],
    [{ type: "array", minItems: 1e9 }, "response_format: expected minItems ≤ 512, got more"],
    [{ enum: Array.from({ length: 1001 }, (_, i) => i) }, "response_format: expected at most 1000 values, got more"],
    [{ enum: ["x".repeat(100_001)] }, "expected a smaller schema"],
    [nested(40), "expected at most 32 levels, got more"],
    [{ anyOf: Array.from({ length: 1001 }, () => ({})) }, "expected at most 1000 schemas inside, got more"],
    [{ required: [1] }, "response_format: expected required to be a list of names"],
  ])("%#", (schema, message) => {
    const run = () => answerGrammar({ type: "json-schema", schema: schema as object })
    expect(run).toThrow(InputError)
    expect(run).toThrow(message)
  })

  test("but a tool's unknown keywords are left out", () => {
    const parameters = { type: "object", properties: { a: { type: "string", pattern: "x", not: {} } } }
    expect(answerGrammar({ type: "tool-call" }, [{ name: "f", parameters }])).toContain("arguments")
    expect(() => answerGrammar({ type: "tool-call", name: "g" }, [{ name: "f" }])).toThrow("tool_choice: expected one")
  })
})
