/** @file The one shape of this folder's messages, and safe quoting of text that came from a file. */
import { CheckpointError } from "../util/index.ts"

const DAMAGED = "the file is damaged or incomplete; download it again"

/** `where: expected X, got Y (advice)`. */
export function failure(where: string, expected: string, got: string, advice: string = DAMAGED): CheckpointError {
  return new CheckpointError(`${where}: expected ${expected}, got ${got} (${advice})`)
}

/** Text from a file, quoted, without control characters, and cut so that a message stays readable. */
export function quote(text: string): string {
  return JSON.stringify(text.length > 120 ? `${text.slice(0, 120)}…` : text)
}

/** Any value parsed from a file, short enough for a message. */
export function show(value: unknown): string {
  if (value === undefined) return "nothing"
  if (typeof value === "string") return quote(value)
  if (typeof value === "number" || typeof value === "boolean" || value === null) return String(value)
  if (Array.isArray(value)) {
    const items = value.slice(0, 8).map((item) => (typeof item === "object" && item !== null ? "…" : show(item)))
    return `[${items.join(", ")}${value.length > 8 ? ", …" : ""}]`
  }
  return "an object"
}
