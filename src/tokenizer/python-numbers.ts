/**
 * @file Numbers in prompts as Python's `json.dumps` prints them, which the official code does: `1.0`, `1e-05`, whole numbers
 * with all their digits. JavaScript's numbers cannot say which of these they were, so while a template works on them they are
 * strings between marks.
 */
import { exactJson, jsonStrings } from "../util/index.ts"

/** Before and after a number's text: no character, and so in no text that anybody wrote without wanting to deceive. */
export const NUMBER_MARK = "\u{ffff}"
const NUMBER = `${NUMBER_MARK}(-?(?:\\d|Infinity)[\\d.e+-]*)${NUMBER_MARK}`
const MARKED = new RegExp(`"${NUMBER}"|${NUMBER}`, "g")
const WHOLE = new RegExp(`^${NUMBER}$`)

/** A number of a JSON text, outside its strings. */
const JSON_NUMBER = /-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g

const marked = (text: string): string => NUMBER_MARK + text + NUMBER_MARK

/**
 * Data of a JSON text whose numbers are marked strings.
 * @throws SyntaxError when it is no JSON
 */
export function dataWithMarkedNumbers(json: string): unknown {
  exactJson(json) // what follows would mend some mistakes
  const parts: string[] = []
  let done = 0
  const mark = (end: number) =>
    parts.push(json.slice(done, end).replace(JSON_NUMBER, (token) => `"${marked(pythonNumber(token))}"`))
  for (const { start, end } of jsonStrings(json)) {
    mark(start)
    parts.push(json.slice(start, end))
    done = end
  }
  mark(json.length)
  return exactJson(parts.join(""))
}

/** Marks the numbers of data that JavaScript prints otherwise. Whole ones stay: whether they were floats is lost. */
export function markNumbers(value: unknown): unknown {
  if (typeof value === "number") return Number.isInteger(value) ? value : marked(pythonFloat(value))
  if (Array.isArray(value)) return value.map(markNumbers)
  if (typeof value !== "object" || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, markNumbers(member)]))
}

/** Whether a string stands for a number: nothing may be added to it. */
export const isMarkedNumber = (text: string): boolean => text.startsWith(NUMBER_MARK) && WHOLE.test(text)

/** A rendered text with its numbers. */
export function revealNumbers(text: string): string {
  return text.replace(MARKED, (_, quoted: string | undefined, bare: string | undefined) => quoted ?? bare ?? "")
}

function pythonNumber(token: string): string {
  if (/[.eE]/.test(token)) return pythonFloat(Number(token))
  return token === "-0" ? "0" : token
}

/** `repr` of a float: powers of ten below -4 and from 16 on, of two digits at least. */
function pythonFloat(value: number): string {
  const size = Math.abs(value)
  if (size === Number.POSITIVE_INFINITY) return value > 0 ? "Infinity" : "-Infinity"
  if (size >= 1e16 || (size > 0 && size < 1e-4)) return value.toExponential().replace(/([+-])(\d)$/, "$10$2")
  if (!Number.isInteger(value)) return String(value)
  return `${Object.is(value, -0) ? "-0" : value}.0`
}
