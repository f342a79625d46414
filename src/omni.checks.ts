/** @file What callers without types may get wrong: checked before the engine keeps it, so that no call is spoilt. */
import { BEHAVIOURS } from "./session/index.ts"
import { ConfigError, InputError } from "./util/index.ts"

/** A value as errors name it: short, and never what somebody said. */
function kindOf(value: unknown): string {
  if (value === null) return "null"
  return Array.isArray(value) ? "an array" : typeof value
}

/** @throws ConfigError naming the option; an undefined one is not given */
export function checkChoice(option: string, value: unknown, allowed: readonly string[]): void {
  if (value === undefined || allowed.some((one) => one === value)) return
  const got = typeof value === "string" ? value : kindOf(value)
  throw new ConfigError(`${option}: expected ${allowed.join(", ")}, got ${got}`)
}

/** @throws InputError naming what is no text; undefined is not given */
export function checkText(where: string, value: unknown): void {
  if (value === undefined || typeof value === "string") return
  throw new InputError(`${where}: expected text, got ${kindOf(value)}`)
}

/** @throws InputError naming what is no list; undefined is not given */
export function checkList(where: string, value: unknown): void {
  if (value === undefined || Array.isArray(value)) return
  throw new InputError(`${where}: expected a list, got ${kindOf(value)}`)
}

/** @throws InputError naming what is no object */
export function checkObject(where: string, value: unknown): void {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return
  throw new InputError(`${where}: expected an object, got ${kindOf(value)}`)
}

const BEHAVIOUR_NAMES = Object.keys(BEHAVIOURS)
const FORMATS = ["text", "json-object", "json-schema", "tool-call"]

/** What a question, a call and an answer have in common. */
type Checked = {
  readonly behaviour?: unknown
  readonly format?: unknown
  readonly tools?: unknown
  readonly instructions?: unknown
  readonly stop?: unknown
  readonly onEvent?: unknown
}

/**
 * @param where the method, for errors
 * @throws ConfigError or InputError naming the option
 */
export function checkOptions(where: string, options: Checked): void {
  checkObject(where, options)
  const { behaviour, format, tools, instructions, stop, onEvent } = options
  checkChoice(`${where}: behaviour`, behaviour, BEHAVIOUR_NAMES)
  checkText(`${where}: instructions`, instructions)
  if (format !== undefined) {
    checkObject(`${where}: format`, format)
    checkChoice(`${where}: format.type`, (format as { readonly type?: unknown }).type ?? null, FORMATS)
  }
  if (onEvent !== undefined && typeof onEvent !== "function")
    throw new InputError(`${where}: onEvent: expected a function, got ${kindOf(onEvent)}`)
  checkList(`${where}: stop`, stop)
  checkList(`${where}: tools`, tools)
  for (const [i, tool] of ((tools ?? []) as readonly unknown[]).entries()) {
    checkObject(`${where}: tools[${i}]`, tool)
    checkText(`${where}: tools[${i}].name`, (tool as { readonly name?: unknown }).name ?? null)
  }
}
