/**
 * @file Two looks at JSON text that JSON.parse does not offer: nesting too deep to be parsed in reasonable time, and a
 * name that occurs twice in one object (the parser keeps the last in silence, which would hide one tensor behind another).
 */

const QUOTE = 0x22
const BACKSLASH = 0x5c
const OPEN_BRACKET = 0x5b
const CLOSE_BRACKET = 0x5d
const OPEN_BRACE = 0x7b
const CLOSE_BRACE = 0x7d
const COMMA = 0x2c

/** Whether brackets nest deeper than `limit`. The text need not be valid. */
export function nestsDeeperThan(text: string, limit: number): boolean {
  let depth = 0
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at)
    if (code === QUOTE) at = stringEnd(text, at) - 1
    else if (code === OPEN_BRACKET || code === OPEN_BRACE) {
      if (++depth > limit) return true
    } else if (code === CLOSE_BRACKET || code === CLOSE_BRACE) depth--
  }
  return false
}

/** The first name that is repeated in one object of `text`, which must be valid JSON; undefined when all are unique. */
export function findDuplicateKey(text: string): string | undefined {
  const objects: (Set<string> | undefined)[] = [] // one per open bracket; undefined for arrays
  let nameNext = false
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at)
    if (code === QUOTE) {
      const end = stringEnd(text, at)
      const seen = objects.at(-1)
      if (nameNext && seen !== undefined) {
        const name = JSON.parse(text.slice(at, end)) as string
        if (seen.has(name)) return name
        seen.add(name)
      }
      nameNext = false
      at = end - 1
    } else if (code === OPEN_BRACE) {
      objects.push(new Set())
      nameNext = true
    } else if (code === OPEN_BRACKET) objects.push(undefined)
    else if (code === CLOSE_BRACE || code === CLOSE_BRACKET) objects.pop()
    else if (code === COMMA) nameNext = objects.at(-1) !== undefined
  }
  return undefined
}

/** Index after the closing quote of the string that opens at `start`, or the end of the text. */
function stringEnd(text: string, start: number): number {
  let at = start + 1
  while (at < text.length && text.charCodeAt(at) !== QUOTE) at += text.charCodeAt(at) === BACKSLASH ? 2 : 1
  return at + 1
}
