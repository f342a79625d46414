import { expect, test } from "vitest"
import { ConfigError } from "../util/index.ts"
import { readJsonObject, readText } from "./config-file.ts"
import { findDuplicateKey, nestsDeeperThan } from "./json-scan.ts"
import { oneFile, utf8 } from "./test-support.ts"

const read = (text: string | Uint8Array) =>
  readJsonObject(oneFile("config.json", typeof text === "string" ? utf8(text) : text), "config.json")

test("reads an object, with or without a byte order mark", async () => {
  expect(await read('{"a": [1, {"b": null}]}')).toEqual({ a: [1, { b: null }] })
  expect(await read('\ufeff{"a": 1}')).toEqual({ a: 1 })
})

test.each([
  ['{"a": 1', "config.json: expected JSON, got an end at line 1, column 8 (position 7)"],
  ["", "config.json: expected JSON, got an end at line 1, column 1 (position 0)"],
  ['{\n  "a": 1,\n  b: 2}', 'config.json: expected JSON, got an unexpected "b" at line 3, column 3 (position 14)'],
  ["[1]", "config.json: expected a JSON object, got an array (check the file)"],
  ["null", "config.json: expected a JSON object, got null (check the file)"],
  ["3", "config.json: expected a JSON object, got a number (check the file)"],
  ["[".repeat(1000), "config.json: expected JSON at most 100 levels deep, got more (the file is damaged)"],
])("refuses %j", async (text, message) => {
  await expect(read(text)).rejects.toThrow(ConfigError)
  await expect(read(text)).rejects.toThrow(message)
})

test("refuses bytes that are not UTF-8", async () => {
  await expect(read(Uint8Array.of(0x7b, 0xff, 0x7d))).rejects.toThrow(
    "config.json: expected UTF-8 text, got other bytes",
  )
})

test("names a missing file and its folder", async () => {
  const message = "merges.txt: expected a file in memory, got none (check the model folder)"
  await expect(readText(oneFile("vocab.json", utf8("{}")), "merges.txt")).rejects.toThrow(message)
})

test("refuses a huge file before reading it", async () => {
  const source = { ...oneFile("a", utf8("{}")), size: async () => 64 * 2 ** 20 + 1, read: () => Promise.reject("read") }
  await expect(readText(source, "a")).rejects.toThrow("a: expected at most 67108864 bytes of text, got 67108865")
})

test("finds a name that is repeated in one object, spelled differently or not", () => {
  expect(findDuplicateKey('{"a": {"x": 1}, "b": {"x": 2}, "c": ["a", "a"]}')).toBeUndefined()
  expect(findDuplicateKey('{"a": [{"x": "y", "y": "x"}], "b": 1, "\\u0061": 2}')).toBe("a")
  expect(findDuplicateKey('{"a": {"q\\"": 1, "r": 2, "q\\"": 3}}')).toBe('q"')
})

test("brackets inside strings do not nest", () => {
  expect(nestsDeeperThan('{"[[[[": "{{{\\"{"}', 1)).toBe(false)
  expect(nestsDeeperThan("[[[]]]", 2)).toBe(true)
  expect(nestsDeeperThan('"unterminated \\', 2)).toBe(false)
})
