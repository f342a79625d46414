/**
 * @file JSON Schemas as grammars (EBNF as XGrammar reads it). What a grammar admits is valid under its schema; the
 * reverse does not hold: members come in the schema's order, separators are `, ` and `: `, an object with named members has
 * no others, numbers have at most 15 digits. Schemas come from outside, so their size is limited before anything is built.
 * We do not use XGrammar's own converter: 0.1.27 ignores or mistakes several keywords, and prints schemas to the console.
 */
import { InputError } from "../util/index.ts"
import { MAX_DIGITS, numberRange } from "./number-range.ts"

/**
 * `strict`: a keyword that no grammar can keep is an error. `loose`: it is ignored, so that tools written for larger
 * services work, and their arguments still have the right shape.
 */
export type SchemaMode = "strict" | "loose"

type Schema = { readonly [key: string]: unknown }

const MAX_DEPTH = 32
const MAX_SCHEMAS = 1000
const MAX_VALUES = 1000
const MAX_LENGTH = 512
const MAX_TEXT = 100_000

const ANNOTATIONS = new Set(
  "$schema $id $anchor $comment $defs definitions title description default examples deprecated readOnly writeOnly strict".split(
    " ",
  ),
)
const TYPES = ["object", "array", "string", "integer", "number", "boolean", "null"] as const
type Type = (typeof TYPES)[number]

const KEYWORDS: Readonly<Record<Type, readonly string[]>> = {
  object: ["properties", "required", "additionalProperties"],
  array: ["items", "prefixItems", "minItems", "maxItems"],
  string: ["minLength", "maxLength", "format"],
  integer: ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"],
  number: ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"],
  boolean: [],
  null: [],
}
const OF_TYPES = new Set(Object.values(KEYWORDS).flat())

// Right recursion and the look-ahead let XGrammar decide most tokens beforehand: 1 ms per step instead of 100.
const COMMON = String.raw`value ::= object | array | string | number | boolean | "null"
object ::= "{" (member (", " member)*)? "}"
member ::= string ": " value
array ::= "[" (value (", " value)*)? "]"
string ::= "\"" rest (= [,}: \]])
rest ::= "\"" | [^"\\\x00-\x1f] rest | "\\" escape rest
escape ::= ["\\/bfnrt] | "u" unit
unit ::= [0-9a-cA-CefEF] hex hex hex | [dD] [0-7] hex hex
hex ::= [0-9a-fA-F]
char ::= [^"\\\x00-\x1f] | "\\" escape
boolean ::= "true" | "false"
integer ::= "-"? ("0" | [1-9] [0-9]{0,${MAX_DIGITS - 1}})
number ::= integer ("." [0-9]{1,${MAX_DIGITS}})? ([eE] [+-]? [0-9]{1,2})?
two ::= [0-9] [0-9]
date ::= two two "-" (("0" [13578] | "10" | "12") "-" ([012] [1-9] | [123] "0" | "31") | ("0" [469] | "11") "-" ([012] [1-9] | [123] "0") | "02-" ([01] [1-9] | "10" | "2" [0-8] | "20"))
time ::= ([01] [0-9] | "2" [0-3]) ":" [0-5] [0-9] ":" [0-5] [0-9] ("." [0-9]{1,9})? ("Z" | [+-] ([01] [0-9] | "2" [0-3]) ":" [0-5] [0-9])
word ::= [a-zA-Z0-9] [a-zA-Z0-9_-]{0,61}
byte ::= "25" [0-5] | "2" [0-4] [0-9] | "1" two | [1-9] [0-9] | [0-9]
h4 ::= hex hex hex hex
`

const FORMATS: Readonly<Record<string, string>> = {
  date: "date",
  time: "time",
  "date-time": 'date "T" time',
  email: 'word ("." word)* "@" word ("." word)*',
  hostname: "[a-z0-9]+",
  ipv4: 'byte "." byte "." byte "." byte',
  uuid: 'h4 h4 "-" h4 "-" h4 "-" h4 "-" h4 h4 h4',
}

/** Text as an EBNF literal. */
export function literal(text: string): string {
  const escaped = text.replaceAll(/["\\]/g, "\\$&").replaceAll(/\p{Cc}/gu, (char) => {
    return `\\x${char.charCodeAt(0).toString(16).padStart(2, "0")}`
  })
  return `"${escaped}"`
}

/** Rules under construction. Names start with `s` and a number, apart from the common ones. */
export class JsonGrammar {
  readonly #rules: string[] = []
  /** Rule of each schema that a reference names, by its pointer. */
  readonly #references = new Map<string, string>()
  #schemas = 0
  #values = 0
  #size = 0

  /**
   * Adds a schema; returns what stands for it in another rule.
   * @param where name of the schema for errors
   * @throws InputError naming the place and keyword that cannot be kept, or the limit that is passed
   */
  add(schema: unknown, mode: SchemaMode, where: string): string {
    this.#references.clear() // references are pointers into their own schema
    return this.#schema(schema, { root: schema, mode, path: where, depth: 0, open: [] })
  }

  /** All rules, with `root` as start. */
  print(root: string): string {
    return `root ::= ${root}\n${this.#rules.join("\n")}\n${COMMON}`
  }

  #rule(body: string, { path }: Place): string {
    this.#size += body.length
    if (this.#size > MAX_TEXT) throw new InputError(`${path}: expected a smaller schema, got one with too much text`)
    this.#rules.push(`s${this.#rules.length} ::= ${body}`)
    return `s${this.#rules.length - 1}`
  }

  #schema(schema: unknown, at: Place): string {
    if (++this.#schemas > MAX_SCHEMAS)
      throw new InputError(`${at.path}: expected at most ${MAX_SCHEMAS} schemas inside, got more`)
    if (at.depth > MAX_DEPTH) throw new InputError(`${at.path}: expected at most ${MAX_DEPTH} levels, got more`)
    if (schema === true) return "value"
    if (typeof schema !== "object" || schema === null || Array.isArray(schema))
      throw new InputError(`${at.path}: expected an object, got ${schema === false ? "false" : kindOf(schema)}`)
    const one = schema as Schema
    for (const key of ["$ref", "const", "enum", "anyOf", "oneOf", "allOf"]) {
      if (!Object.hasOwn(one, key)) continue
      if (at.mode === "strict") checkAlone(one, key, at.path)
      return this.#combined(one, key, at)
    }
    return this.#typed(one, at)
  }

  #combined(schema: Schema, key: string, at: Place): string {
    const value = schema[key]
    if (key === "$ref") return this.#reference(value, at)
    if (key === "const") return literal(JSON.stringify(value))
    if (!Array.isArray(value) || value.length === 0)
      throw new InputError(`${at.path}: expected ${key} to be a filled list, got ${kindOf(value)}`)
    if (key === "enum") {
      const types = typesOf(schema, at.path)
      const values = types ? value.filter((item) => types.some((type) => isOf(item, type))) : value
      this.#values += values.length
      if (this.#values > MAX_VALUES) throw new InputError(`${at.path}: expected at most ${MAX_VALUES} values, got more`)
      if (values.length === 0) throw new InputError(`${at.path}: expected a value of the schema's type, got none`)
      return this.#rule(values.map((item) => literal(JSON.stringify(item))).join(" | "), at)
    }
    if (key === "allOf" && value.length > 1 && at.mode === "strict")
      throw new InputError(`${at.path}: expected allOf of one schema, got ${value.length} (merge them)`)
    if (key === "oneOf" && at.mode === "strict" && !areDisjoint(value))
      throw new InputError(
        `${at.path}: expected alternatives of different types or constants in oneOf, got others (use anyOf)`,
      )
    const options = key === "allOf" ? value.slice(0, 1) : value
    const alternatives = options.map((item, i) => this.#schema(item, inside(at, `${key}[${i}]`, at.open)))
    return this.#rule(alternatives.join(" | "), at)
  }

  #reference(pointer: unknown, at: Place): string {
    if (typeof pointer !== "string" || !/^#(\/|$)/.test(pointer))
      throw new InputError(`${at.path}: expected a $ref into this schema, got another (inline it)`)
    if (at.open.includes(pointer)) throw new InputError(`${at.path}: expected a $ref that ends, got a circle`)
    const known = this.#references.get(pointer)
    if (known !== undefined) return known
    let target: unknown = at.root
    for (const part of pointer.split("/").slice(1)) {
      const key = decodePointer(part)
      if (typeof target !== "object" || target === null || !Object.hasOwn(target, key))
        throw new InputError(`${at.path}: expected a $ref to something, got one to nothing`)
      target = (target as Schema)[key]
    }
    // The rule is named before its body is known: schemas may contain themselves.
    const index = this.#rules.push("") - 1
    this.#references.set(pointer, `s${index}`)
    const body = this.#schema(target, inside(at, `(${pointer})`, [...at.open, pointer]))
    this.#rules[index] = `s${index} ::= ${body}`
    return `s${index}`
  }

  #typed(schema: Schema, at: Place): string {
    const given = typesOf(schema, at.path)
    const implied = TYPES.filter((type) => type !== "integer" && KEYWORDS[type].some((key) => key in schema))
    const types = given ?? implied
    if (at.mode === "strict") checkKeywords(schema, types, at.path)
    if (types.length === 0) return "value"
    const alternatives = types.map((type) => this.#ofType(type, schema, at))
    return alternatives.length === 1 ? alternatives[0]! : this.#rule(alternatives.join(" | "), at)
  }

  #ofType(type: Type, schema: Schema, at: Place): string {
    switch (type) {
      case "object":
        return this.#object(schema, at)
      case "array":
        return this.#array(schema, at)
      case "string":
        return this.#string(schema, at)
      case "integer":
      case "number":
        return this.#number(schema, type === "integer", at)
      case "boolean":
        return "boolean"
      case "null":
        return '"null"'
    }
  }

  #object(schema: Schema, at: Place): string {
    const { properties = {}, required = [], additionalProperties = true } = schema
    if (typeof properties !== "object" || properties === null || Array.isArray(properties))
      throw new InputError(`${at.path}: expected properties to be an object, got ${kindOf(properties)}`)
    if (!Array.isArray(required) || required.some((name) => typeof name !== "string"))
      throw new InputError(`${at.path}: expected required to be a list of names, got ${kindOf(required)}`)
    const members = new Map(Object.entries(properties))
    for (const name of required as string[]) if (!members.has(name)) members.set(name, true)
    if (members.size === 0) {
      if (additionalProperties === false) return '"{}"'
      if (additionalProperties === true) return "object"
      const value = this.#schema(additionalProperties, inside(at, "additionalProperties"))
      const member = this.#rule(`string ": " ${value}`, at)
      return this.#rule(`"{" (${member} (", " ${member})*)? "}"`, at)
    }
    // Two chains of rules from the last member to the first: whether something was written before decides on the comma.
    let [first, later] = ['""', '""']
    for (const [name, value] of [...members].reverse()) {
      const text = literal(`${JSON.stringify(name)}: `)
      const member = this.#rule(`${text} ${this.#schema(value, inside(at, printName(name)))}`, at)
      const optional = !required.includes(name)
      const before = later
      later = this.#rule(`", " ${member} ${before}${optional ? ` | ${before}` : ""}`, at)
      first = this.#rule(`${member} ${before}${optional ? ` | ${first}` : ""}`, at)
    }
    return this.#rule(`"{" ${first} "}"`, at)
  }

  #array(schema: Schema, at: Place): string {
    const { prefixItems = [], items = true } = schema
    if (!Array.isArray(prefixItems))
      throw new InputError(`${at.path}: expected prefixItems to be a list, got ${kindOf(prefixItems)}`)
    const least = sizeOf(schema, "minItems", at) ?? 0
    const most = sizeOf(schema, "maxItems", at) ?? Number.POSITIVE_INFINITY
    const prefix = prefixItems.map((item, i) => this.#schema(item, inside(at, `prefixItems[${i}]`)))
    const closed = items === false
    const limit = closed ? Math.min(most, prefix.length) : most
    if (least > limit) throw new InputError(`${at.path}: expected minItems ≤ maxItems, got the reverse`)
    const item = closed ? "value" : this.#schema(items, inside(at, "items"))
    // From the last place to the first; beyond the prefix all places are alike.
    const rest = limit - prefix.length
    const needed = Math.max(0, least - prefix.length)
    const further = (from: number) => {
      if (rest - from <= 0) return '""'
      return `(", " ${item}){${Math.max(0, needed - from)},${Number.isFinite(rest) ? rest - from : ""}}`
    }
    let tail = prefix.length === 0 ? "" : further(0)
    for (let i = prefix.length - 1; i >= 1; i--) {
      if (i >= limit) tail = '""'
      else tail = this.#rule(`", " ${prefix[i]} ${tail}${i >= least ? ' | ""' : ""}`, at)
    }
    if (limit === 0) return '"[]"'
    const filled = `"[" ${prefix[0] ?? item} ${prefix.length === 0 ? further(1) : tail} "]"`
    return this.#rule(`${filled}${least === 0 ? ' | "[]"' : ""}`, at)
  }

  #string(schema: Schema, at: Place): string {
    const least = sizeOf(schema, "minLength", at)
    const most = sizeOf(schema, "maxLength", at)
    const format =
      typeof schema.format === "string" && Object.hasOwn(FORMATS, schema.format) ? schema.format : undefined
    if (format !== undefined) {
      if ((least !== undefined || most !== undefined) && at.mode === "strict")
        throw new InputError(`${at.path}: expected a format or a length, got both`)
      return this.#rule(`"\\"" ${FORMATS[format]} "\\""`, at)
    }
    if (least === undefined && most === undefined) return "string"
    if ((least ?? 0) > (most ?? MAX_LENGTH))
      throw new InputError(`${at.path}: expected minLength ≤ maxLength ≤ ${MAX_LENGTH}, got the reverse`)
    return this.#rule(`"\\"" char{${least ?? 0},${most ?? ""}} "\\""`, at)
  }

  #number(schema: Schema, whole: boolean, at: Place): string {
    const bound = (key: string) => {
      const value = schema[key]
      if (value === undefined) return undefined
      if (typeof value !== "number" || !Number.isFinite(value))
        throw new InputError(`${at.path}: expected ${key} to be a number, got ${kindOf(value)}`)
      return value
    }
    const [above, below] = [bound("exclusiveMinimum"), bound("exclusiveMaximum")]
    // For other numbers, an excluded bound takes a sixth decimal's neighbourhood with it.
    const step = whole ? 1 : 1e-6
    const past = (value: number, by: number) => (whole && !Number.isInteger(value) ? value : tidy(value + by))
    const lows = [bound("minimum"), above === undefined ? undefined : past(above, step)].filter((x) => x !== undefined)
    const highs = [bound("maximum"), below === undefined ? undefined : past(below, -step)].filter(
      (x) => x !== undefined,
    )
    if (lows.length + highs.length === 0) return whole ? "integer" : "number"
    const low = lows.length > 0 ? Math.max(...lows) : undefined
    const high = highs.length > 0 ? Math.min(...highs) : undefined
    const found = numberRange(low, high, whole)
    if (found) {
      // One rule per sign: XGrammar 0.1.27 merges the tails of longer lists of alternatives wrongly (100 passed for ≤ 69).
      const sides = [
        ...(found.positive.length > 0 ? [this.#rule(found.positive.join(" | "), at)] : []),
        ...(found.negative.length > 0 ? [`"-" ${this.#rule(found.negative.join(" | "), at)}`] : []),
      ]
      return this.#rule(sides.join(" | "), at)
    }
    if (at.mode === "strict")
      throw new InputError(`${at.path}: expected bounds with numbers between and at most 6 decimals, got others`)
    return whole ? "integer" : "number"
  }
}

/** Where the conversion stands. `open`: references since the last character that the grammar takes. */
type Place = {
  readonly root: unknown
  readonly mode: SchemaMode
  readonly path: string
  readonly depth: number
  readonly open: readonly string[]
}

const inside = (at: Place, name: string, open: readonly string[] = []): Place => ({
  ...at,
  path: `${at.path}.${name}`,
  depth: at.depth + 1,
  open,
})
const tidy = (value: number) => Number(value.toFixed(6))
/** Names of members are content of the request; only plain ones appear in errors. */
const printName = (name: string) => (/^\w{1,40}$/.test(name) ? name : "(member)")
const kindOf = (value: unknown) => (Array.isArray(value) ? "a list" : value === null ? "null" : typeof value)

function decodePointer(part: string): string {
  try {
    return decodeURIComponent(part).replaceAll("~1", "/").replaceAll("~0", "~")
  } catch {
    return part
  }
}

function typesOf({ type }: Schema, path: string): readonly Type[] | undefined {
  if (type === undefined) return undefined
  const types = (Array.isArray(type) ? type : [type]) as Type[]
  const unknown = types.find((one) => !TYPES.includes(one))
  if (unknown !== undefined || types.length === 0)
    throw new InputError(`${path}: expected a type of ${TYPES.join(", ")}, got another`)
  return types
}

function isOf(value: unknown, type: Type): boolean {
  if (type === "integer") return Number.isInteger(value)
  if (type === "array") return Array.isArray(value)
  if (type === "null") return value === null
  return typeof value === type && value !== null && !Array.isArray(value)
}

function sizeOf(schema: Schema, key: string, { path, mode }: Place): number | undefined {
  const value = schema[key]
  if (value === undefined) return undefined
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < 0)
    throw new InputError(`${path}: expected ${key} to be a whole number ≥ 0, got ${kindOf(value)}`)
  if (value <= MAX_LENGTH) return value
  if (mode === "loose" || key.startsWith("max")) return key.startsWith("max") ? MAX_LENGTH : 0
  throw new InputError(`${path}: expected ${key} ≤ ${MAX_LENGTH}, got more`)
}

function checkAlone(schema: Schema, key: string, path: string): void {
  const beside = key === "enum" || key === "const" ? ["type"] : []
  const other = Object.keys(schema).find((one) => one !== key && !ANNOTATIONS.has(one) && !beside.includes(one))
  if (other !== undefined)
    throw new InputError(`${path}: expected ${key} alone, got ${printName(other)} beside it (move it inside)`)
}

function checkKeywords(schema: Schema, types: readonly Type[], path: string): void {
  const known = new Set(types.flatMap((type) => KEYWORDS[type]))
  for (const key of Object.keys(schema)) {
    if (key === "type" || ANNOTATIONS.has(key) || known.has(key) || OF_TYPES.has(key)) continue
    throw new InputError(
      `${path}: expected keywords that a grammar can keep, got ${printName(key)} (leave it out and check afterwards)`,
    )
  }
}

/** Whether no value fits two of the schemas, judged by types, or by constants under one name. */
function areDisjoint(schemas: readonly unknown[]): boolean {
  const kinds = schemas.map((schema) => {
    const types = typeof schema === "object" && schema !== null ? typesOf(schema as Schema, "oneOf") : undefined
    return types?.map((type) => (type === "integer" ? "number" : type))
  })
  const all = kinds.flat()
  if (all.every((kind) => kind !== undefined) && new Set(all).size === all.length) return true
  const constants = schemas.map((schema) => {
    const { properties, required } = (schema ?? {}) as { properties?: Record<string, Schema>; required?: string[] }
    return Object.entries(properties ?? {}).flatMap(([name, value]) =>
      required?.includes(name) && value && "const" in value ? [`${name}=${JSON.stringify(value.const)}`] : [],
    )
  })
  const names = constants[0]?.map((one) => one.slice(0, one.indexOf("="))) ?? []
  return names.some((name) => {
    const values = constants.map((list) => list.find((one) => one.startsWith(`${name}=`)))
    return values.every((value) => value !== undefined) && new Set(values).size === values.length
  })
}
