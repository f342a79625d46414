/**
 * @file The wall between folders: level table, faces, platform code, cycles and file sizes. ARCHITECTURE.md explains the
 * rules; `repository.test.ts` keeps its table equal to LEVELS.
 */
import { join } from "node:path"
import { describe, expect, test } from "vitest"
import { BUDGETS, findProblems, readSources, type Source } from "./architecture.ts"

const ROOT = join(import.meta.dirname, "..")
const sources = readSources(join(ROOT, "src"))

const source = (path: string, text: string): Source => ({ path, text })
const HEADER = "/** @file A probe. */\n"
const probe = (path: string, text: string, ...others: string[]) =>
  findProblems([source(path, HEADER + text), ...others.map((other) => source(other, HEADER))])

describe("the source tree", () => {
  test("obeys every rule", () => {
    expect(sources.length).toBeGreaterThan(50)
    expect(findProblems(sources)).toEqual([])
  })

  test("prints what exceeds its soft line budget", () => {
    const lines = new Map<string, number>()
    for (const { path, text } of sources) {
      if (path.includes("test")) continue
      const folder = path.split("/")[0]!
      lines.set(folder, (lines.get(folder) ?? 0) + text.split("\n").length)
    }
    const over = [...lines].filter(([folder, count]) => count > (BUDGETS[folder] ?? 0) && folder in BUDGETS)
    console.log(over.map(([folder, count]) => `src/${folder}: ${count} of ${BUDGETS[folder]} lines`).join("\n"))
    expect([...lines.values()].every((count) => count > 0)).toBe(true)
  })
})

describe("each rule fires", () => {
  test("levels", () => {
    expect(probe("graph/a.ts", 'import { b } from "../nn/index.ts"\n', "nn/index.ts")).toEqual([
      "graph/a.ts: expected imports from levels below 2, got ../nn/index.ts of level 3",
    ])
    expect(probe("audio/a.ts", 'import type { b } from "../image/index.ts"\n', "image/index.ts")).toEqual([
      "audio/a.ts: expected imports from levels below 2, got ../image/index.ts of level 2",
    ])
    expect(probe("audio/a.test.ts", 'import { b } from "../image/index.ts"\n', "image/index.ts")).toEqual([])
    expect(probe("nowhere/a.ts", "")).toEqual(["nowhere/a.ts: expected a folder of the level table, got nowhere"])
  })

  test("faces", () => {
    expect(probe("nn/a.ts", 'export { b } from "../graph/ops/b.ts"\n', "graph/ops/b.ts")).toEqual([
      "nn/a.ts: expected the face of graph, got ../graph/ops/b.ts (export it from src/graph/index.ts)",
    ])
    expect(probe("graph/ops/a.ts", 'const b = await import("../index.ts")\n', "graph/index.ts")).toEqual([
      "graph/ops/a.ts: expected a direct import, got its own folder's ../index.ts",
    ])
  })

  test("platform code", () => {
    const expected = "expected browser-safe code, got"
    expect(probe("audio/a.ts", 'import { readFile } from "node:fs/promises"\n')[0]).toContain(`${expected} node:fs`)
    expect(probe("image/a.ts", 'import sharp from "sharp"\n')[0]).toContain(`${expected} sharp`)
    expect(probe("nn/a.ts", 'import "../runtime/index.node.ts"\n', "runtime/index.node.ts")).toContainEqual(
      expect.stringContaining(`${expected} ../runtime/index.node.ts`),
    )
    expect(probe("runtime/a.node.ts", 'import { InferenceSession } from "onnxruntime-node"\n')).toEqual([])
  })

  test("cycles", () => {
    const a = source("util/a.ts", `${HEADER}import { b } from "./b.ts"\n`)
    const b = (keyword: string) => source("util/b.ts", `${HEADER}${keyword} { a } from "./a.ts"\n`)
    expect(findProblems([a, b("import")])).toEqual([
      "util/a.ts: expected no cycle, got util/a.ts > util/b.ts > util/a.ts",
    ])
    expect(findProblems([a, b("import type")])).toEqual([])
  })

  test("files", () => {
    expect(findProblems([source("util/a.ts", "export const a = 1\n")])[0]).toContain("expected a /** @file … */ header")
    expect(probe("util/a.ts", "export default 1\n")[0]).toContain("expected named exports")
    expect(probe("util/a.ts", "\n".repeat(401))[0]).toContain('"Long because …" in the @file header')
    expect(findProblems([source("util/a.ts", `/** @file A. Long because B. */${"\n".repeat(401)}`)])).toEqual([])
    expect(findProblems([source("util/a.ts", `/** @file A. Long because B. */${"\n".repeat(601)}`)])).toHaveLength(1)
    expect(probe("graph/ops/a.ts", "\n".repeat(900))).toEqual([])
    expect(probe("util/a.test.ts", "\n".repeat(501))[0]).toContain("expected at most 500 lines")
    expect(probe("util/a.ts", 'import { b } from "./b.ts"\n')[0]).toContain("expected an existing file, got ./b.ts")
  })
})
