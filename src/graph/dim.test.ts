/** @file Dims are polynomials in one canonical form: the laws of a ring, and evaluation respects them. */
import fc from "fast-check"
import { describe, expect, test } from "vitest"
import {
  type Dim,
  dimAdd,
  dimFloorDiv,
  dimMul,
  dimOf,
  dimProduct,
  dimSub,
  dimSymbols,
  dimsEqual,
  dimTerms,
  evalDim,
  evalShape,
  shapesEqual,
  showShape,
} from "./dim.ts"

const NAMES = ["S", "T", "b_1"] as const

/** Dims as people and ops build them: sums, products and floor divisions. */
const dims: fc.Arbitrary<Dim> = fc.letrec<{ dim: Dim }>((tie) => ({
  dim: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    fc.oneof(fc.integer({ min: -4, max: 6 }), fc.constantFrom(...NAMES)),
    fc.tuple(tie("dim"), tie("dim")).map(([a, b]) => dimAdd(a, b)),
    fc.tuple(tie("dim"), tie("dim")).map(([a, b]) => dimSub(a, b)),
    fc.tuple(tie("dim"), fc.oneof(fc.integer({ min: -3, max: 3 }), fc.constantFrom(...NAMES))).map(([a, b]) => {
      return dimMul(a, b)
    }),
    fc.tuple(tie("dim"), fc.integer({ min: 1, max: 6 })).map(([a, divisor]) => dimFloorDiv(a, divisor)),
  ),
})).dim

const bindings = fc
  .tuple(fc.nat({ max: 9 }), fc.nat({ max: 9 }), fc.nat({ max: 9 }))
  .map((values) => new Map(NAMES.map((name, i) => [name, values[i]!])))

const law = (name: string, ...property: Parameters<typeof fc.property<[Dim, Dim, Dim]>>) =>
  test(name, () => fc.assert(fc.property(...property), { numRuns: 300 }))

describe("the laws of a ring", () => {
  law("sums commute and associate", dims, dims, dims, (a, b, c) => {
    expect(dimAdd(a, b)).toBe(dimAdd(b, a))
    expect(dimAdd(dimAdd(a, b), c)).toBe(dimAdd(a, dimAdd(b, c)))
  })
  law("products commute, associate and distribute", dims, dims, dims, (a, b, c) => {
    expect(dimMul(a, b)).toBe(dimMul(b, a))
    expect(dimMul(dimMul(a, b), c)).toBe(dimMul(a, dimMul(b, c)))
    expect(dimMul(a, dimAdd(b, c))).toBe(dimAdd(dimMul(a, b), dimMul(a, c)))
  })
  law("0 and 1 are neutral, and a difference undoes a sum", dims, dims, dims, (a, b) => {
    expect(dimAdd(a, 0)).toBe(dimOf(a))
    expect(dimMul(a, 1)).toBe(dimOf(a))
    expect(dimMul(a, 0)).toBe(0)
    expect(dimSub(a, a)).toBe(0)
    expect(dimSub(dimAdd(a, b), b)).toBe(dimOf(a))
    expect(dimsEqual(a, dimAdd(a, 0))).toBe(true)
    expect(dimsEqual(a, dimAdd(a, 1))).toBe(false)
  })
})

describe("evaluation", () => {
  test("agrees with arithmetic on numbers", () => {
    const pairs = fc.tuple(dims, dims, fc.integer({ min: 1, max: 6 }), bindings)
    fc.assert(
      fc.property(pairs, ([a, b, divisor, bound]) => {
        const [x, y] = [evalDim(a, bound), evalDim(b, bound)]
        expect(evalDim(dimAdd(a, b), bound)).toBe(x + y)
        expect(evalDim(dimSub(a, b), bound)).toBe(x - y)
        expect(evalDim(dimMul(a, b), bound) + 0).toBe(x * y + 0)
        expect(evalDim(dimFloorDiv(a, divisor), bound)).toBe(Math.floor(x / divisor))
      }),
      { numRuns: 500 },
    )
  })
  test("needs a value for every symbol, and sizes of at least 0", () => {
    expect(() => evalDim("2*S + T", new Map([["S", 3]]))).toThrow(
      'dim "2*S + T": expected a value for T, got none (no input has it as a dim)',
    )
    expect(() => evalShape([1, "S - 4"], new Map([["S", 3]]))).toThrow(
      'dim "S - 4": expected a size of at least 0, got -1',
    )
    expect(evalShape([1, "S - 3"], new Map([["S", 3]]))).toEqual([1, 0])
  })
})

describe("the canonical form", () => {
  test("is what a person may write, and reading it back changes nothing", () => {
    fc.assert(
      fc.property(dims, (dim) => {
        expect(dimOf(String(dim))).toBe(dim)
        expect(dimOf(dim)).toBe(dim)
      }),
      { numRuns: 500 },
    )
  })
  test("differs where values differ, and is the same where polynomials are", () => {
    const free = fc.letrec<{ dim: Dim }>((tie) => ({
      dim: fc.oneof(
        { depthSize: "small" },
        fc.oneof(fc.integer({ min: -4, max: 6 }), fc.constantFrom(...NAMES)),
        fc.tuple(tie("dim"), tie("dim")).map(([a, b]) => dimAdd(a, b)),
        fc.tuple(tie("dim"), tie("dim")).map(([a, b]) => dimMul(a, b)),
      ),
    })).dim
    fc.assert(
      fc.property(free, free, (a, b) => {
        expect(a === b).toBe(dimSub(a, b) === 0)
        const at = new Map(NAMES.map((name, i) => [name, 11 + 13 * i]))
        if (evalDim(a, at) !== evalDim(b, at)) expect(a).not.toBe(b)
      }),
      { numRuns: 500 },
    )
  })
  test.each<[string, Dim]>([
    ["T + S", "S + T"],
    ["2 * (S + 1) - S", "S + 2"],
    ["-S", "-S"],
    ["1 - S", "-S + 1"],
    ["S*T*S", "S*S*T"],
    ["(S + T)*(S - T)", "S*S - T*T"],
    ["S - S + 3", 3],
    ["floor(T/2)", "floor((T)/2)"],
    ["floor((T - 1)/2) + 1", "floor((T + 1)/2)"],
    ["floor((T + 1)/2)", "floor((T + 1)/2)"],
    ["floor((4*T + 2)/2)", "2*T + 1"],
    ["floor((2*T + 3)/4)", "floor((T + 1)/2)"],
    ["floor((3*T + 5)/2)", "T + floor((T + 1)/2) + 2"],
    ["floor((floor((T + 1)/2) + 1)/2)", "floor((floor((T + 1)/2) + 1)/2)"],
    ["floor(7/2)*S", "3*S"],
  ])("of %s is %s", (written, canonical) => {
    expect(dimOf(written)).toBe(canonical)
  })
  test("of a division that is whole is the quotient", () => {
    fc.assert(
      fc.property(dims, fc.integer({ min: 1, max: 9 }), (dim, n) => {
        expect(dimFloorDiv(dimMul(dim, n), n)).toBe(dimOf(dim))
      }),
    )
  })
  test("has no negative number inside a division, where ONNX would round towards zero", () => {
    fc.assert(
      fc.property(dims, fc.integer({ min: 2, max: 6 }), bindings, (dim, divisor, bound) => {
        for (const { factors } of dimTerms(dimFloorDiv(dim, divisor))) {
          for (const factor of factors) {
            if ("floorOf" in factor) expect(evalDim(factor.floorOf, bound)).toBeGreaterThanOrEqual(0)
          }
        }
      }),
    )
  })
})

describe("reading", () => {
  test.each([
    "",
    "S T",
    "S +",
    "2.5",
    "S%",
    "*S",
    "(S",
    "S)",
    "floor(S)",
    "floor(S/0)",
    "floor(S/T)",
    "floor(S + 1/2)",
    "S/2",
  ])("%j is refused", (text) => {
    expect(() => dimOf(text)).toThrow(`dim "${text}": expected a sum of products of names and integers (like "S + T")`)
  })
  test("symbols are found inside divisions, too", () => {
    expect(dimSymbols("2*S + floor((T + 1)/2)*b_1 + 4")).toEqual(new Set(["S", "T", "b_1"]))
    expect(dimSymbols(4)).toEqual(new Set())
  })
})

test("shapes compare dim by dim and print as lists", () => {
  expect(shapesEqual(["S + T", 2], ["T + S", 2])).toBe(true)
  expect(shapesEqual(["S"], ["S", 1])).toBe(false)
  expect(dimProduct(["S", 2, "T + 1"])).toBe("2*S + 2*S*T")
  expect(dimProduct([])).toBe(1)
  expect(showShape(["B", 3, "S + T"])).toBe("[B, 3, S + T]")
})
