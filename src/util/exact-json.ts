/**
 * @file `JSON.parse`, exact for names with escapes too. V8 13 to 14 (Node 24 to 26, Chrome) remembers which name followed
 * others in objects it has parsed, and compares it with the raw text of the next one: after `{"a":1,"\\":2}`, the `\n` of
 * `{"a":1,"\n":2}` is read as a backslash. Anyone's text can so change how somebody else's is read. Objects with more than
 * 128 names, such as vocabularies, do not suffer, and strings never do.
 */
import { unusedCharacter } from "./private-use.ts"

const QUOTE = 0x22
const COLON = 0x3a
const BACKSLASH = 0x5c

/**
 * The value of a JSON text.
 * @throws SyntaxError as `JSON.parse`; RangeError for names with escapes below thousands of levels
 */
export function exactJson(text: string): unknown {
  const mark = escapedNames(text).next().done ? undefined : unusedCharacter([text])
  if (mark === undefined) return JSON.parse(text)
  try {
    const standIns = new StandIns(mark)
    const renamed: string[] = []
    let done = 0
    for (const { start, end } of escapedNames(text)) {
      renamed.push(text.slice(done, start), standIns.of(text.slice(start, end)))
      done = end
    }
    renamed.push(text.slice(done))
    return underOwnNames(JSON.parse(renamed.join("")), standIns.names)
  } catch (error) {
    JSON.parse(text) // says where this text is wrong
    throw error
  }
}

/** Names without escapes for those that have some: written plainly, or where that cannot be, under a mark and a number. */
class StandIns {
  /** What stands in for which name. */
  readonly names = new Map<string, string>()
  readonly #mark: string
  /** By how the name was written, and by the name as JSON: each name has one, so that the last of two counts. */
  readonly #found = new Map<string, string>()

  constructor(mark: string) {
    this.#mark = mark
  }

  /** @param raw a name with its quotes */
  of(raw: string): string {
    let standIn = this.#found.get(raw)
    if (standIn === undefined) {
      const name = JSON.parse(raw) as string // strings, unlike names, are always read right
      const json = JSON.stringify(name)
      const isPlain = !json.includes("\\") && !name.startsWith(this.#mark)
      standIn = isPlain ? json : (this.#found.get(json) ?? this.#create(name))
      this.#found.set(raw, standIn).set(json, standIn)
    }
    return standIn
  }

  #create(name: string): string {
    const standIn = `${this.#mark}${this.names.size}`
    this.names.set(standIn, name)
    return `"${standIn}"`
  }
}

type Range = { readonly start: number; readonly end: number }

/** The names of objects that have an escape, with their quotes. */
function* escapedNames(text: string): Generator<Range, void, void> {
  if (!text.includes("\\")) return
  for (const string of jsonStrings(text)) if (string.hasEscape && isName(text, string.end)) yield string
}

/** The strings of a JSON text, with their quotes: one after the other, since patterns run out of stack in long ones. */
export function* jsonStrings(text: string): Generator<Range & { readonly hasEscape: boolean }, void, void> {
  for (let at = text.indexOf('"'); at >= 0; at = text.indexOf('"', at)) {
    const start = at
    let hasEscape = false
    for (at++; at < text.length && text.charCodeAt(at) !== QUOTE; at++) {
      if (text.charCodeAt(at) !== BACKSLASH) continue
      hasEscape = true
      at++
    }
    at++
    yield { start, end: at, hasEscape }
  }
}

/** A string is a name when a colon follows, perhaps after white space. */
function isName(text: string, end: number): boolean {
  let at = end
  while (text.charCodeAt(at) <= 0x20) at++
  return text.charCodeAt(at) === COLON
}

function underOwnNames(value: unknown, names: ReadonlyMap<string, string>): unknown {
  if (typeof value !== "object" || value === null) return value
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i++) value[i] = underOwnNames(value[i], names)
    return value
  }
  const members = value as { [name: string]: unknown }
  const own: { [name: string]: unknown } = {}
  for (const name of Object.keys(members)) {
    const real = names.get(name) ?? name
    const member = underOwnNames(members[name], names)
    if (real !== "__proto__") own[real] = member
    else Object.defineProperty(own, real, { value: member, enumerable: true, configurable: true, writable: true })
  }
  return own
}
