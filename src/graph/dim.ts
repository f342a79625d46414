/**
 * @file Symbolic dimensions. A dim is a number or a polynomial over named symbols with integer coefficients, written in
 * one canonical form ("S + T", "2*T", "floor((L + 1)/2)"), so that equal dims are equal strings.
 */
import { invariant, ShapeError } from "../util/index.ts"

/** A known size, or an expression over symbols that feeds bind at run time. */
export type Dim = number | string
export type Shape = readonly Dim[]

/** Monomial ("" for the constant, "B*T" for a product) to its coefficient; zero terms are absent. */
type Polynomial = ReadonlyMap<string, number>

const parsed = new Map<string, Polynomial>()

function format(polynomial: Polynomial): Dim {
  const terms = [...polynomial].filter(([, coefficient]) => coefficient !== 0)
  const constant = polynomial.get("") ?? 0
  const symbolic = terms.filter(([key]) => key !== "").sort(([a], [b]) => (a < b ? -1 : 1))
  if (symbolic.length === 0) return constant
  const pieces = symbolic.map(([key, coefficient]) => ({
    negative: coefficient < 0,
    text: Math.abs(coefficient) === 1 ? key : `${Math.abs(coefficient)}*${key}`,
  }))
  if (constant !== 0) pieces.push({ negative: constant < 0, text: String(Math.abs(constant)) })
  const [first, ...rest] = pieces
  const text = `${first!.negative ? "-" : ""}${first!.text}${rest.map((p) => ` ${p.negative ? "-" : "+"} ${p.text}`).join("")}`
  parsed.set(text, new Map(terms))
  return text
}

function addPolynomials(a: Polynomial, b: Polynomial, sign: number): Polynomial {
  const sum = new Map(a)
  for (const [key, coefficient] of b) sum.set(key, (sum.get(key) ?? 0) + sign * coefficient)
  return new Map([...sum].filter(([, coefficient]) => coefficient !== 0))
}

/** Splits "a*floor((x*y)/2)" at top-level stars only. */
function factorsOf(monomial: string): string[] {
  const factors: string[] = []
  let depth = 0
  let start = 0
  for (let i = 0; i <= monomial.length; i++) {
    const character = monomial[i]
    if (character === "(") depth++
    else if (character === ")") depth--
    else if ((character === "*" && depth === 0) || character === undefined) {
      if (i > start) factors.push(monomial.slice(start, i))
      start = i + 1
    }
  }
  return factors
}

function multiplyPolynomials(a: Polynomial, b: Polynomial): Polynomial {
  const product = new Map<string, number>()
  for (const [keyA, coefficientA] of a) {
    for (const [keyB, coefficientB] of b) {
      const key = [...factorsOf(keyA), ...factorsOf(keyB)].sort((a, b) => (a < b ? -1 : 1)).join("*")
      product.set(key, (product.get(key) ?? 0) + coefficientA * coefficientB)
    }
  }
  return product
}

function polynomialOf(dim: Dim): Polynomial {
  if (typeof dim === "number") return dim === 0 ? new Map() : new Map([["", dim]])
  const known = parsed.get(dim)
  if (known) return known
  const polynomial = parse(dim)
  parsed.set(dim, polynomial)
  return polynomial
}

/** Grammar: sum of products of integers, names, (sum) and floor(product/integer). */
function parse(text: string): Polynomial {
  const tokens = text.match(/\d+|[A-Za-z_][A-Za-z0-9_]*|\S/g) ?? []
  let at = 0
  const fail = (): never => {
    throw new ShapeError(`dim "${text}": expected a sum of products of names and integers (like "S + T")`)
  }
  const expect = (token: string) => (tokens[at] === token ? at++ : fail())
  function sum(): Polynomial {
    let total: Polynomial = new Map()
    let sign = 1
    if (tokens[at] === "-") {
      sign = -1
      at++
    }
    for (;;) {
      total = addPolynomials(total, product(), sign)
      if (tokens[at] !== "+" && tokens[at] !== "-") return total
      sign = tokens[at++] === "+" ? 1 : -1
    }
  }
  function product(): Polynomial {
    let value = factor()
    while (tokens[at] === "*") {
      at++
      value = multiplyPolynomials(value, factor())
    }
    return value
  }
  function factor(): Polynomial {
    const token = tokens[at++] ?? fail()
    if (/^\d/.test(token)) return polynomialOf(Number(token))
    if (token === "(") {
      const inner = sum()
      expect(")")
      return inner
    }
    if (token === "floor") {
      expect("(")
      const inner = product()
      expect("/")
      const divisor = Number(tokens[at++])
      expect(")")
      if (!(divisor > 0)) fail()
      return polynomialOf(dimFloorDiv(format(inner), divisor))
    }
    if (!/^[A-Za-z_]/.test(token)) fail()
    return new Map([[token, 1]])
  }
  const result = sum()
  if (at !== tokens.length) fail()
  return result
}

/** The canonical form of a dim as written by a person. */
export function dimOf(dim: Dim): Dim {
  return format(polynomialOf(dim))
}

export function dimAdd(a: Dim, b: Dim): Dim {
  return format(addPolynomials(polynomialOf(a), polynomialOf(b), 1))
}

export function dimSub(a: Dim, b: Dim): Dim {
  return format(addPolynomials(polynomialOf(a), polynomialOf(b), -1))
}

export function dimMul(a: Dim, b: Dim): Dim {
  return format(multiplyPolynomials(polynomialOf(a), polynomialOf(b)))
}

/**
 * floor(a / divisor), in one form: whole multiples leave the quotient, common factors are cancelled, and what stays
 * inside has coefficients of 0 to divisor - 1. (So it is never negative, and a division that truncates, as ONNX has it,
 * is the same.)
 */
export function dimFloorDiv(a: Dim, divisor: number): Dim {
  invariant(Number.isInteger(divisor) && divisor > 0, `dims are divided by positive integers, got ${divisor}`)
  if (typeof a === "number") return Math.floor(a / divisor)
  const whole = new Map<string, number>()
  const rest = new Map<string, number>()
  for (const [key, coefficient] of polynomialOf(a)) {
    const quotient = Math.floor(coefficient / divisor)
    if (quotient !== 0) whole.set(key, quotient)
    if (coefficient !== quotient * divisor) rest.set(key, coefficient - quotient * divisor)
  }
  const symbolic = [...rest].filter(([key]) => key !== "")
  if (symbolic.length === 0) return format(whole)
  const common = symbolic.reduce((divides, [, coefficient]) => greatestCommonDivisor(divides, coefficient), divisor)
  const inside = new Map(symbolic.map(([key, coefficient]) => [key, coefficient / common]))
  const constant = Math.floor((rest.get("") ?? 0) / common)
  if (constant !== 0) inside.set("", constant)
  const quotient = divisor === common ? inside : new Map([[`floor((${format(inside)})/${divisor / common})`, 1]])
  return format(addPolynomials(whole, quotient, 1))
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b)
}

export function dimProduct(dims: Shape): Dim {
  return dims.reduce<Dim>(dimMul, 1)
}

export function dimsEqual(a: Dim, b: Dim): boolean {
  return a === b || dimOf(a) === dimOf(b)
}

export function shapesEqual(a: Shape, b: Shape): boolean {
  return a.length === b.length && a.every((dim, i) => dimsEqual(dim, b[i]!))
}

export function showShape(shape: Shape): string {
  return `[${shape.join(", ")}]`
}

/** A dim as a tree, for whoever must compute it (here or inside an ONNX graph). */
export type DimTerm = { readonly coefficient: number; readonly factors: readonly DimFactor[] }
export type DimFactor = { readonly symbol: string } | { readonly floorOf: Dim; readonly divisor: number }

/** The terms whose sum is the dim. */
export function dimTerms(dim: Dim): DimTerm[] {
  return [...polynomialOf(dim)].map(([monomial, coefficient]) => ({
    coefficient,
    factors: factorsOf(monomial).map((factor) => {
      const floor = /^floor\(\((.*)\)\/(\d+)\)$/.exec(factor)
      return floor ? { floorOf: floor[1]!, divisor: Number(floor[2]) } : { symbol: factor }
    }),
  }))
}

/** The names of all symbols in a dim. */
export function dimSymbols(dim: Dim): Set<string> {
  const symbols = new Set<string>()
  for (const term of dimTerms(dim)) {
    for (const factor of term.factors) {
      if ("symbol" in factor) symbols.add(factor.symbol)
      else for (const symbol of dimSymbols(factor.floorOf)) symbols.add(symbol)
    }
  }
  return symbols
}

/** Values of symbols at run time. */
export type DimBindings = ReadonlyMap<string, number>

/** @throws ShapeError when a symbol has no value */
export function evalDim(dim: Dim, bindings: DimBindings): number {
  if (typeof dim === "number") return dim
  let total = 0
  for (const { coefficient, factors } of dimTerms(dim)) {
    let value = coefficient
    for (const factor of factors) {
      if ("floorOf" in factor) value *= Math.floor(evalDim(factor.floorOf, bindings) / factor.divisor)
      else {
        const bound = bindings.get(factor.symbol)
        if (bound === undefined) {
          throw new ShapeError(
            `dim "${dim}": expected a value for ${factor.symbol}, got none (no input has it as a dim)`,
          )
        }
        value *= bound
      }
    }
    total += value
  }
  return total
}

/** @throws ShapeError when a symbol has no value or a dim would be negative */
export function evalShape(shape: Shape, bindings: DimBindings): number[] {
  return shape.map((dim) => {
    const size = evalDim(dim, bindings)
    if (size < 0) throw new ShapeError(`dim "${dim}": expected a size of at least 0, got ${size}`)
    return size
  })
}
