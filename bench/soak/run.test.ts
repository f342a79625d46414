/** @file What `npm run soak` was asked for. */
import { expect, test } from "vitest"
import { parseWishes } from "./run.ts"

test("names, a length and the form of the output, in any order", () => {
  expect(parseWishes([])).toEqual({ names: [], minutes: undefined, json: false })
  expect(parseWishes(["call", "--minutes", "0.5", "turns", "--json"])).toEqual({
    names: ["call", "turns"],
    minutes: 0.5,
    json: true,
  })
})

test("wrong wishes are refused", () => {
  expect(() => parseWishes(["--minutes", "soon"])).toThrow("--minutes: expected a number > 0, got soon")
  expect(() => parseWishes(["--minutes"])).toThrow("--minutes: expected a number > 0, got nothing")
  expect(() => parseWishes(["-x"])).toThrow("expected names, --minutes N or --json, got -x")
})
