/** @file Mistyped words find what was meant, other words find nothing. */
import { expect, test } from "vitest"
import { suggestion } from "./suggest.ts"

const KNOWN = ["--model", "--max-tokens", "--json", "--quiet", "transcribe", "speak"]

test.each([
  ["--modle", "--model"],
  ["--mode", "--model"],
  ["--max-token", "--max-tokens"],
  ["--maxtokens", "--max-tokens"],
  ["transcrib", "transcribe"],
  ["speek", "speak"],
  ["trans", "transcribe"],
])("%s: %s", (word, want) => {
  expect(suggestion(word, KNOWN)).toBe(`did you mean ${want}? `)
})

test.each(["--sing", "dance", "-x", "", "x".repeat(50)])("%j: nothing", (word) => {
  expect(suggestion(word, KNOWN)).toBe("")
})
