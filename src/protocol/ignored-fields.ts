/** @file Which fields of a request a schema dropped: servers ignore what they do not know, and say so. */

const MOST = 20
const MOST_DEEP = 6
/** Names are what clients send: only plain ones are told. */
const PLAIN = /^\w{1,40}$/

/**
 * Paths of object fields that were sent with a value and are gone after parsing, such as `audio.input.delay`. Array elements
 * share one path, `tools.strict`; names of content are never told.
 */
export function ignoredFields(sent: unknown, kept: unknown): string[] {
  const found = new Set<string>()
  collect(sent, kept, [], found)
  return [...found]
}

function collect(sent: unknown, kept: unknown, path: readonly string[], found: Set<string>): void {
  if (path.length > MOST_DEEP || found.size >= MOST) return
  if (Array.isArray(sent) && Array.isArray(kept)) {
    for (const [i, item] of sent.slice(0, 100).entries()) collect(item, kept[i], path, found)
    return
  }
  if (!isObject(sent) || !isObject(kept)) return
  for (const [name, value] of Object.entries(sent)) {
    if (value === undefined || value === null) continue
    const here = [...path, PLAIN.test(name) ? name : "(field)"]
    if (Object.hasOwn(kept, name)) collect(value, kept[name], here, found)
    else if (found.size < MOST) found.add(here.join("."))
  }
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value)
