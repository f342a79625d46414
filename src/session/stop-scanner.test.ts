/** @file Stop texts: however a text is cut, the same part of it is shown. */
import fc from "fast-check"
import { expect, test } from "vitest"
import { StopScanner } from "./stop-scanner.ts"

const letters = fc.string({ unit: fc.constantFrom("a", "b", "c"), maxLength: 12 })

test("pieces show what the whole text shows up to its first stop", () => {
  fc.assert(
    fc.property(fc.array(letters, { maxLength: 6 }), fc.array(letters, { maxLength: 3 }), (pieces, stops) => {
      const text = pieces.join("")
      const hits = stops.filter((stop) => stop !== "").map((stop) => text.indexOf(stop))
      const found = hits.filter((at) => at >= 0)
      const scanner = new StopScanner(stops)
      const shown = pieces.map((piece) => scanner.push(piece)).join("") + scanner.flush("")
      if (found.length === 0) expect(shown).toBe(text)
      else expect(text.startsWith(shown)).toBe(true)
      expect(scanner.stopped).toBe(found.length > 0)
      for (const stop of stops) if (stop !== "") expect(shown).not.toContain(stop)
    }),
  )
})

test("what may become a stop waits, and comes when it does not", () => {
  const scanner = new StopScanner(["END"])
  expect([
    scanner.push("the E"),
    scanner.push("N"),
    scanner.push("T"),
    scanner.push("END more"),
    scanner.push("x"),
  ]).toEqual(["the ", "", "ENT", "", ""])
  expect(scanner.stopped).toBe(true)
})
