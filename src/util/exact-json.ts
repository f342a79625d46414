/**
 * @file `JSON.parse`, exact for names with escapes too. V8 13 to 14 (Node 24 to 26, Chrome) remembers which name followed
 * others in objects it has parsed, and compares it with the raw text of the next one: after `{"a":1,"\\":2}`, the `\n` of
 * `{"a":1,"\n":2}` is read as a backslash. Anyone's text can so change how somebody else's is read. Objects with more than
 * 128 names, such as vocabularies, do not suffer, and strings never do.
 */

const QUOTE = 0x22
const COLON = 0x3a
const BACKSLASH = 0x5c

/** Characters of no meaning, one of which begins the names that stand for others while a text is parsed. */
const PRIVATE_USE = [0xe000, 0xf8ff] as const

/**
 * The value of a JSON text.
 * @throws SyntaxError as `JSON.parse`; RangeError for names with escapes below thousands of levels
 */
export function exactJson(text: string): unknown {
  const escaped = escapedNames(text)
  const mark = escaped.length > 0 ? unusedIn(text) : undefined
  if (mark === undefined) return JSON.parse(text)
  try {
    const names = new Map<string, string>()
    let renamed = ""
    let done = 0
    for (const { start, end } of escaped) {
      const name = `${mark}${names.size}`
      names.set(name, JSON.parse(text.slice(start, end)) as string) // strings, unlike names, are always read right
      renamed += `${text.slice(done, start)}"${name}"`
      done = end
    }
    return underOwnNames(JSON.parse(renamed + text.slice(done)), names)
  } catch (error) {
    JSON.parse(text) // says where this text is wrong
    throw error
  }
}

type Range = { readonly start: number; readonly end: number }

/** The names of objects that have an escape, with their quotes. */
function escapedNames(text: string): Range[] {
  const names: Range[] = []
  if (!text.includes("\\")) return names
  for (let at = text.indexOf('"'); at >= 0; at = text.indexOf('"', at + 1)) {
    const start = at
    let hasEscape = false
    for (at++; at < text.length && text.charCodeAt(at) !== QUOTE; at++) {
      if (text.charCodeAt(at) !== BACKSLASH) continue
      hasEscape = true
      at++
    }
    if (hasEscape && isName(text, at + 1)) names.push({ start, end: at + 1 })
  }
  return names
}

/** A string is a name when a colon follows, perhaps after white space. */
function isName(text: string, end: number): boolean {
  let at = end
  while (text.charCodeAt(at) <= 0x20) at++
  return text.charCodeAt(at) === COLON
}

function unusedIn(text: string): string | undefined {
  for (let code = PRIVATE_USE[0]; code <= PRIVATE_USE[1]; code++) {
    const mark = String.fromCharCode(code)
    if (!text.includes(mark)) return mark
  }
  return undefined
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
