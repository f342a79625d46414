/** @file JSON and text files of a model folder, with errors that say which file is wrong and where in it. */
import { ConfigError, errorText, exactJson } from "../util/index.ts"
import { nestsDeeperThan } from "./json-scan.ts"
import type { FileSource } from "./source.ts"

/** A JSON object as parsed; members still have to be checked. */
export type JsonObject = { readonly [name: string]: unknown }

/** No text file of a model folder comes near this; a file that does is not one. */
const MAX_TEXT_BYTES = 64 * 2 ** 20
/** Real files nest about five deep; a file of brackets alone would keep the parser busy for many seconds. */
const MAX_DEPTH = 100

type Fail = (message: string) => Error
const configError: Fail = (message) => new ConfigError(message)

/** A UTF-8 text file, without its byte order mark. @throws ConfigError when missing, too large or not UTF-8 */
export async function readText(source: FileSource, path: string, fail: Fail = configError): Promise<string> {
  if (!(await source.exists(path))) {
    throw fail(`${path}: expected a file in ${source.name}, got none (check the model folder)`)
  }
  const sizeBytes = await source.size(path)
  if (sizeBytes > MAX_TEXT_BYTES) {
    throw fail(`${path}: expected at most ${MAX_TEXT_BYTES} bytes of text, got ${sizeBytes} (check the model folder)`)
  }
  const bytes = await source.read(path, 0, sizeBytes)
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes)
  } catch {
    throw fail(`${path}: expected UTF-8 text, got other bytes (the file is damaged; download it again)`)
  }
}

/** A file that holds one JSON object. @throws ConfigError when missing, too large, not UTF-8, not JSON, or no object */
export async function readJsonObject(source: FileSource, path: string, fail: Fail = configError): Promise<JsonObject> {
  return parseJsonObject(await readText(source, path, fail), path, fail)
}

/** @throws what `fail` makes, ConfigError by default, when `text` is not JSON or not an object */
export function parseJsonObject(text: string, where: string, fail: Fail = configError): JsonObject {
  if (nestsDeeperThan(text, MAX_DEPTH)) {
    throw fail(`${where}: expected JSON at most ${MAX_DEPTH} levels deep, got more (the file is damaged)`)
  }
  let value: unknown
  try {
    value = exactJson(text)
  } catch (error) {
    throw fail(`${where}: expected JSON, got ${problem(text, errorText(error))} (the file is damaged or incomplete)`)
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    const got = Array.isArray(value) ? "an array" : value === null ? "null" : `a ${typeof value}`
    throw fail(`${where}: expected a JSON object, got ${got} (check the file)`)
  }
  return value as JsonObject
}

/** What the parser found and where. Engines word it differently, so only the position is taken from their message. */
function problem(text: string, message: string): string {
  const found = /position (\d+)/.exec(message)
  const position = found ? Number(found[1]) : text.length
  const before = text.slice(0, position)
  const line = before.split("\n").length
  const column = position - before.lastIndexOf("\n")
  const what = position >= text.trimEnd().length ? "an end" : `an unexpected ${JSON.stringify(text[position])}`
  return `${what} at line ${line}, column ${column} (position ${position})`
}
