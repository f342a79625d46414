import { expect, test } from "vitest"
import { z } from "zod"
import { ignoredFields } from "./ignored-fields.ts"

const schema = z.object({
  a: z.number(),
  list: z.array(z.object({ b: z.number() })).optional(),
  free: z.record(z.string(), z.unknown()).optional(),
})

test.each([
  [{ a: 1 }, []],
  [{ a: 1, store: true, user: null }, ["store"]],
  [
    {
      a: 1,
      list: [
        { b: 1, strict: true },
        { b: 2, strict: false, c: {} },
      ],
    },
    ["list.strict", "list.c"],
  ],
  [{ a: 1, free: { anything: { goes: 1 } } }, []],
  [{ a: 1, "my secret words": 1 }, ["(field)"]],
])("%j", (sent, ignored) => {
  expect(ignoredFields(sent, schema.parse(sent))).toEqual(ignored)
})

test("is bounded, whatever is sent", () => {
  const wide = Object.fromEntries(Array.from({ length: 500 }, (_, i) => [`f${i}`, 1]))
  expect(ignoredFields({ a: 1, ...wide }, { a: 1 })).toHaveLength(20)
})
