/** @file Flags that commands share, and their checks: a wrong flag is named, never ignored. */
import { homedir } from "node:os"
import { join } from "node:path"
import type { ArgsDef } from "citty"
import { DEVICES, QUANTIZE_KINDS } from "../engine/index.ts"
import { ConfigError } from "../util/index.ts"

export const OUTPUT_FLAGS = {
  json: { type: "boolean", description: "print one JSON object per line" },
  quiet: { type: "boolean", description: "print results only" },
} as const satisfies ArgsDef

export const MODEL_FLAGS = {
  model: { type: "string", description: "folder of the model", valueHint: "DIR", required: true },
  device: { type: "string", description: DEVICES.join(", "), default: "auto" },
  quantize: { type: "string", description: QUANTIZE_KINDS.join(", "), default: "auto" },
  threads: { type: "string", description: "threads that compute one step", valueHint: "N" },
} as const satisfies ArgsDef

/** @throws ConfigError when a flag is none of the command's */
export function checkFlags(args: { readonly [name: string]: unknown }, flags: ArgsDef): void {
  const known = new Set(["_"])
  for (const [name, { type, ...rest }] of Object.entries(flags)) {
    known.add(name)
    known.add(camel(name)) // citty gives both spellings
    const { alias } = rest as { alias?: string | string[] }
    for (const other of [alias ?? []].flat()) known.add(other)
    if (type === "string" && args[name] === "") throw new ConfigError(`--${name}: expected a value, got none`)
  }
  const names = Object.entries(flags).flatMap(([name, { type }]) => (type === "positional" ? [] : [`--${name}`]))
  for (const name of Object.keys(args)) {
    if (!known.has(name)) throw new ConfigError(`--${name}: expected one of ${names.join(", ")} (see --help)`)
  }
  const positionals = Object.values(flags).filter(({ type }) => type === "positional").length
  const given = (args._ as readonly string[]).length
  if (given > positionals)
    throw new ConfigError(`expected ${positionals} arguments, got ${given} (quote text with spaces)`)
}

function camel(name: string): string {
  return name.replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase())
}

/** A flag whose value is one of a list. */
export function choice<T extends string>(flag: string, value: string, allowed: readonly T[]): T {
  const found = allowed.find((item) => item === value)
  if (!found) throw new ConfigError(`--${flag}: expected ${allowed.join(", ")}, got ${value}`)
  return found
}

/** A numeric flag; undefined when it was not given. */
export function numberFlag(flag: string, value: string | undefined, least: number, integer = true): number | undefined {
  if (value === undefined) return undefined
  const number = Number(value)
  if (value.trim() === "" || !Number.isFinite(number) || number < least || (integer && !Number.isSafeInteger(number))) {
    throw new ConfigError(`--${flag}: expected a ${integer ? "whole " : ""}number ≥ ${least}, got ${value}`)
  }
  return number
}

/** The folder for what can be made again: `$XDG_CACHE_HOME/omni`, or `~/.cache/omni`. */
export function cacheFolder(): string {
  return join(process.env.XDG_CACHE_HOME ?? join(homedir(), ".cache"), "omni")
}
