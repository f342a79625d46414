/** @file Flags: every way to get one wrong is told what was expected, what came, and where help is. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { describe, expect, test } from "vitest"
import { ConfigError } from "../util/index.ts"
import { checkArguments, choice, listFlag, numberFlag, OUTPUT_FLAGS, samplingOptions } from "./flags.ts"

const FLAGS = {
  text: { type: "positional", description: "what you say", required: true },
  model: { type: "string", description: "folder of the model", required: true },
  "max-tokens": { type: "string", description: "longest answer" },
  seed: { type: "string", description: "the seed", default: "0", required: true },
  ...OUTPUT_FLAGS,
} as const

const check = (...args: string[]) => checkArguments("chat", args, FLAGS)
const HELP = "see omni chat --help"
const UNKNOWN = "flags: expected --model, --max-tokens, --seed, --json, --quiet, got"
const AFTER_DASHES = `(${HELP}; text that starts with - goes after --)`

describe("arguments that are right", () => {
  test.each([
    [["hello there", "--model", "dir"]],
    [["--model=dir", "--max-tokens=5", "--json", "--quiet", "hello"]],
    [["--json", "hello", "--model", "dir", "--seed", "1", "--seed", "2"]],
    [["--model", "dir", "-"]],
    [["--model", "dir", "--", "--text"]],
    [["--model=--odd", "hello"]],
    [["", "--model", "dir"]],
    [["hello", "--model", "-1"]],
  ])("%j", (args) => check(...args))
})

describe("arguments that are wrong", () => {
  test.each([
    [["hi", "--model", "d", "--bogus"], `${UNKNOWN} --bogus ${AFTER_DASHES}`],
    [["hi", "--model", "d", "--bogus=1"], `${UNKNOWN} --bogus ${AFTER_DASHES}`],
    [
      ["hi", "--model", "d", "--maxTokens", "5"],
      `${UNKNOWN} --maxTokens ${AFTER_DASHES.replace("(", "(did you mean --max-tokens? ")}`,
    ],
    [["hi", "--model", "d", "--no-json"], `${UNKNOWN} --no-json ${AFTER_DASHES}`],
    [["hi", "--model", "d", "--text", "x"], `${UNKNOWN} --text ${AFTER_DASHES}`],
    [["hi", "--model", "d", "--toString"], `${UNKNOWN} --toString ${AFTER_DASHES}`],
    [["hi", "--model", "d", "-q"], `${UNKNOWN} -q ${AFTER_DASHES}`],
    [["hi", "-model", "d"], `${UNKNOWN} -m ${AFTER_DASHES}`],
    [["-5 degrees", "--model", "d"], `${UNKNOWN} -5 ${AFTER_DASHES}`],
    [["hi", "--model"], `--model: expected a value, got none (${HELP})`],
    [["hi", "--model="], `--model: expected a value, got none (${HELP})`],
    [["hi", "--model", ""], `--model: expected a value, got none (${HELP})`],
    [["hi", "--model", "--json"], `--model: expected a value, got --json (${HELP})`],
    [["hi", "--model", "d", "--max-tokens"], `--max-tokens: expected a value, got none (${HELP})`],
    [["hi", "--model", "d", "--json=5"], `--json: expected no value, got 5 (${HELP})`],
    [["hi", "--json"], `--model: expected folder of the model, got none (${HELP})`],
    [["--model", "d"], `text: expected what you say, got none (${HELP})`],
    [["two", "words", "--model", "d"], `arguments: expected 1, got 2 (quote text with spaces; ${HELP})`],
    [["one", "--model", "d", "--", "two"], `arguments: expected 1, got 2 (quote text with spaces; ${HELP})`],
  ])("%j", (args, message) => {
    expect(() => check(...args)).toThrow(new ConfigError(message))
  })
})

describe("values", () => {
  test("of a list", () => {
    expect(choice("device", "cpu", ["cpu", "webgpu"])).toBe("cpu")
    expect(() => choice("device", "abacus", ["cpu", "webgpu"])).toThrow(
      new ConfigError("--device: expected cpu, webgpu, got abacus"),
    )
  })

  test("that are numbers", () => {
    expect(numberFlag("seed", undefined, 0)).toBeUndefined()
    expect(numberFlag("seed", "0", 0)).toBe(0)
    expect(numberFlag("temperature", "0.5", 0, false)).toBe(0.5)
    for (const text of ["x", "", " ", "1.5", "-1", "Infinity", "NaN", "1e300", "5 tokens"]) {
      expect(() => numberFlag("seed", text, 0)).toThrow(
        new ConfigError(`--seed: expected a whole number ≥ 0, got ${text}`),
      )
    }
    for (const text of ["hot", "-0.1", "1e999"]) {
      expect(() => numberFlag("temperature", text, 0, false)).toThrow(
        new ConfigError(`--temperature: expected a number ≥ 0, got ${text}`),
      )
    }
  })

  test("that the model would refuse are refused before it is loaded", () => {
    expect(samplingOptions({ "top-p": "1", "repetition-penalty": "0.5" })).toEqual({ topP: 1, repetitionPenalty: 0.5 })
    for (const value of ["0", "1.01"])
      expect(() => samplingOptions({ "top-p": value })).toThrow(`--top-p: expected a number in (0, 1], got ${value}`)
    expect(() => samplingOptions({ "repetition-penalty": "0" })).toThrow(
      "--repetition-penalty: expected a number > 0, got 0",
    )
  })

  test("that are lists, from commas and from the flag given again", () => {
    const raw = ["--image", "a.png, b.png", "hi", "--model", "m", "--image=c.png", "--", "--image", "d.png"]
    expect(listFlag("image", raw)).toEqual(["a.png", "b.png", "c.png"])
    expect(listFlag("audio", raw)).toEqual([])
    expect(() => listFlag("image", ["--image", " ,"])).toThrow(
      new ConfigError("--image: expected a list with commas between, got  ,"),
    )
    const odd = join(mkdtempSync(join(tmpdir(), "omni-flags-")), "one, two.png")
    writeFileSync(odd, "")
    expect(listFlag("image", ["--image", odd])).toEqual([odd])
    rmSync(dirname(odd), { recursive: true })
  })
})
