/** @file What the tests of this folder share: the recorded cases and a folder of text files in memory. */
import { readFileSync } from "node:fs"
import type { TextFiles } from "./files.ts"

const FIXTURES = new URL("../../test/fixtures/tiny-a/", import.meta.url)

export const fixtureText = (path: string): string => readFileSync(new URL(path, FIXTURES), "utf8")

/** A recorded case; its shape is what the test says it is. */
export const fixtureJson = <Shape>(path: string): Shape => JSON.parse(fixtureText(path)) as Shape

/** The tiny checkpoint, without the files named in `hidden`. */
export const checkpointFiles = (...hidden: string[]): TextFiles => ({
  readText: async (path) => {
    if (hidden.includes(path)) throw new Error(`no such file: ${path}`)
    return fixtureText(`checkpoint/${path}`)
  },
})

export const memoryFiles = (files: Record<string, string>): TextFiles => ({
  readText: async (path) => {
    const text = files[path]
    if (text === undefined) throw new Error(`no such file: ${path}`)
    return text
  },
})
