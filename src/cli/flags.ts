/** @file Flags that commands share, and their checks: a wrong flag is named, never ignored. */
import { existsSync } from "node:fs"
import { parseArgs } from "node:util"
import type { ArgsDef } from "citty"
import { DEVICES, QUANTIZE_KINDS } from "../engine/index.ts"
import type { AnswerOptions } from "../session/index.ts"
import { ConfigError } from "../util/index.ts"
import { suggestion } from "./suggest.ts"

export const OUTPUT_FLAGS = {
  json: { type: "boolean", description: "print one JSON object per line" },
  quiet: { type: "boolean", description: "print results only" },
} as const satisfies ArgsDef

export const MODEL_FLAGS = {
  model: {
    type: "string",
    description: "folder or name of the model; nano, which comes with the program, when absent",
    valueHint: "NAME|DIR",
  },
  device: { type: "string", description: DEVICES.join(", "), default: "auto" },
  quantize: { type: "string", description: QUANTIZE_KINDS.join(", "), default: "auto" },
  threads: { type: "string", description: "threads that compute one step", valueHint: "N" },
} as const satisfies ArgsDef

export const BEHAVIOURS = ["live", "reference"] as const

export const BEHAVIOUR_FLAG = {
  behaviour: {
    type: "string",
    description: `${BEHAVIOURS.join(", ")}: our improvements, or what the official code does`,
    default: "live",
  },
} as const satisfies ArgsDef

/** Samples of WAV files, by their names on the command line. */
const SAMPLE_FORMATS = { int16: "s16", float32: "f32" } as const

export const SAMPLES_FLAG = {
  format: {
    type: "string",
    description: `${Object.keys(SAMPLE_FORMATS).join(", ")}: samples of the WAV file`,
    default: "int16",
  },
} as const satisfies ArgsDef

/** @throws ConfigError naming the formats */
export function sampleEncoding(value: string): (typeof SAMPLE_FORMATS)[keyof typeof SAMPLE_FORMATS] {
  return SAMPLE_FORMATS[choice("format", value, Object.keys(SAMPLE_FORMATS) as (keyof typeof SAMPLE_FORMATS)[])]
}

/** How answers are written. */
export const SAMPLING_FLAGS = {
  "max-tokens": { type: "string", description: "longest answer in tokens", valueHint: "N" },
  temperature: { type: "string", description: "0 always takes the most likely token", valueHint: "X" },
  "top-p": { type: "string", description: "share of probability that is kept", valueHint: "X" },
  "top-k": { type: "string", description: "number of tokens that are kept", valueHint: "N" },
  "repetition-penalty": { type: "string", description: "above 1 avoids repetition", valueHint: "X" },
  seed: { type: "string", description: "the same seed gives the same answer", valueHint: "N", default: "0" },
} as const satisfies ArgsDef

/** Values of {@link SAMPLING_FLAGS}. */
type SamplingFlags = { readonly [F in keyof typeof SAMPLING_FLAGS]?: string | undefined }

/** The options that were given, checked before a model is loaded. @throws ConfigError naming the flag that is wrong */
export function samplingOptions(args: SamplingFlags): AnswerOptions {
  const options = {
    maxNewTokens: numberFlag("max-tokens", args["max-tokens"], 1),
    temperature: numberFlag("temperature", args.temperature, 0, false),
    topP: positiveFlag("top-p", args["top-p"], 1),
    topK: numberFlag("top-k", args["top-k"], 0),
    repetitionPenalty: positiveFlag("repetition-penalty", args["repetition-penalty"]),
    seed: numberFlag("seed", args.seed, 0),
  }
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined))
}

/**
 * Checks what was typed against a command's flags, before anything else looks at it: no flag is ignored or misread.
 * @param command its name, for the way to its help
 * @throws ConfigError naming the first flag or argument that is unknown, missing or without its value
 */
export function checkArguments(command: string, rawArgs: readonly string[], flags: ArgsDef): void {
  const help = `see omni ${command} --help`
  const named = Object.entries(flags).filter(([, { type }]) => type !== "positional")
  const positional = Object.entries(flags).filter(([, { type }]) => type === "positional")
  const options = Object.fromEntries(
    named.map(([name, { type }]) => [name, { type: type === "boolean" ? ("boolean" as const) : ("string" as const) }]),
  )
  const { tokens } = parseArgs({ args: [...rawArgs], options, allowPositionals: true, strict: false, tokens: true })
  const given = new Set<string>()
  for (const token of tokens) {
    if (token.kind !== "option") continue
    const { name, rawName, value } = token
    const flag = Object.hasOwn(options, name) && rawName === `--${name}` ? options[name]! : undefined
    if (!flag) {
      const known = named.map(([other]) => `--${other}`)
      const hint = suggestion(rawName, known)
      throw new ConfigError(
        `flags: expected ${known.join(", ")}, got ${rawName} (${hint}${help}; text that starts with - goes after --)`,
      )
    }
    if (flag.type === "boolean" && value !== undefined)
      throw new ConfigError(`${rawName}: expected no value, got ${value} (${help})`)
    // Taken for the value, a flag would be lost, and the value is what was forgotten.
    const lost = !token.inlineValue && value?.startsWith("--")
    if (flag.type === "string" && (value === undefined || value === "" || lost))
      throw new ConfigError(`${rawName}: expected a value, got ${value || "none"} (${help})`)
    given.add(name)
  }
  for (const [name, { description, required, default: fallback }] of named) {
    if (required === true && fallback === undefined && !given.has(name))
      throw new ConfigError(`--${name}: expected ${description}, got none (${help})`)
  }
  const count = tokens.filter(({ kind }) => kind === "positional").length
  const missing = positional[count]
  if (missing) throw new ConfigError(`${missing[0]}: expected ${missing[1].description}, got none (${help})`)
  // A list says so by its hint.
  const isList = positional.some(([, flag]) => "valueHint" in flag && flag.valueHint?.endsWith("…"))
  if (count > positional.length && !isList)
    throw new ConfigError(`arguments: expected ${positional.length}, got ${count} (quote text with spaces; ${help})`)
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

/** A number above 0, and at most `most`. */
function positiveFlag(flag: string, value: string | undefined, most = Infinity): number | undefined {
  const number = numberFlag(flag, value, 0, false)
  if (number === undefined || (number > 0 && number <= most)) return number
  throw new ConfigError(`--${flag}: expected a number ${most === Infinity ? "> 0" : `in (0, ${most}]`}, got ${value}`)
}

/**
 * The parts of a flag that takes a list: between commas, or from the flag given again. A part that is the whole name of a file,
 * commas included, stays whole.
 * @param rawArgs what was typed, checked by {@link checkArguments}
 * @throws ConfigError when there is nothing between the commas
 */
export function listFlag(flag: string, rawArgs: readonly string[]): string[] {
  const options = { [flag]: { type: "string", multiple: true } } as const
  const { values } = parseArgs({ args: [...rawArgs], options, allowPositionals: true, strict: false })
  return ((values[flag] ?? []) as readonly string[]).flatMap((value) => {
    if (existsSync(value)) return [value]
    const parts = listParts(value)
    if (parts.length === 0) throw new ConfigError(`--${flag}: expected a list with commas between, got ${value}`)
    return parts
  })
}

/** What stands between commas. */
export function listParts(value: string): string[] {
  return value
    .split(",")
    .map((part) => part.trim())
    .filter((part) => part !== "")
}
