/** @file What must hold for the repository as a whole: lock file, manifest, documents, lint rules that really fire. */
import { spawnSync } from "node:child_process"
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { describe, expect, test } from "vitest"
import { LEVELS } from "./architecture.ts"

const ROOT = join(import.meta.dirname, "..")
const read = (path: string): string => readFileSync(join(ROOT, path), "utf8")
const readJson = <T>(path: string): T => JSON.parse(read(path)) as T

type LockEntry = {
  version?: string
  integrity?: string
  hasInstallScript?: boolean
  dependencies?: Record<string, string>
  optionalDependencies?: Record<string, string>
}
type Manifest = {
  bin: Record<string, string>
  exports: Record<string, string>
  files: string[]
  allowScripts: Record<string, boolean>
  dependencies: Record<string, string>
  devDependencies: Record<string, string>
}
const manifest = readJson<Manifest>("package.json")
const lock = readJson<{ packages: Record<string, LockEntry> }>("package-lock.json")
/** The page is a workspace: npm links to its folder, which is no package from outside. */
const OWN = new Set(["", "web", "node_modules/omni-web"])
const installed = Object.entries(lock.packages).filter(([path]) => !OWN.has(path))

describe("package-lock.json", () => {
  test("names no registry", () => {
    const text = read("package-lock.json").replace('"resolved": "web"', "")
    expect(text).not.toContain('"resolved"')
    expect(text).not.toMatch(/\.tgz|registry\.|npmjs|npmmirror|codeload/)
  })

  test("pins each package by content, and lists every platform's optional binary", () => {
    const at = (path: string, name: string): boolean => {
      for (let folder = path; ; folder = folder.slice(0, Math.max(0, folder.lastIndexOf("/node_modules/")))) {
        if (`${folder && `${folder}/`}node_modules/${name}` in lock.packages) return true
        if (folder === "") return false
      }
    }
    const missing = Object.entries(lock.packages).flatMap(([path, entry]) =>
      Object.keys({ ...entry.dependencies, ...entry.optionalDependencies }).filter((name) => !at(path, name)),
    )
    expect(missing).toEqual([])
    expect(installed.filter(([, entry]) => entry.integrity === undefined)).toEqual([])
  })

  test("install scripts are all decided upon", () => {
    const names = installed
      .filter(([, entry]) => entry.hasInstallScript)
      .map(([path]) => path.split("node_modules/").at(-1))
    expect(new Set(names)).toEqual(new Set(Object.keys(manifest.allowScripts)))
    expect(Object.entries(manifest.allowScripts).filter(([, allowed]) => allowed)).toEqual([["node", true]])
  })
})

describe("package.json", () => {
  test("every door and command exists", () => {
    // A door may lead elsewhere under a condition.
    const doors = Object.values(manifest.exports).flatMap((to): string[] =>
      typeof to === "string" ? [to] : Object.values(to),
    )
    const paths = [...Object.values(manifest.bin), ...doors]
    expect(paths.filter((path) => !existsSync(join(ROOT, path)))).toEqual([])
  })

  test("dependencies are pinned and have their line in the dependency policy", () => {
    const page = readJson<Manifest>("web/package.json")
    const all = [manifest, page].flatMap((one) => Object.entries({ ...one.dependencies, ...one.devDependencies }))
    expect(all.filter(([, version]) => !/^\d+\.\d+\.\d+$/.test(version))).toEqual([])
    const policy = read("docs/decisions/0006-dependency-policy.md")
    expect(all.map(([name]) => name).filter((name) => !policy.includes(`\`${name}\``))).toEqual([])
  })
})

describe("the page", () => {
  test("reaches the engine's folders through one file alone", () => {
    const sources = readdirSync(join(ROOT, "web/src"), { recursive: true, encoding: "utf8" })
      .map((path) => path.replaceAll("\\", "/"))
      .filter((path) => /\.tsx?$/.test(path) && !path.includes(".test."))
    expect(sources.length).toBeGreaterThan(30)
    const outside = sources.filter((path) => /from "(\.\.\/)+src\//.test(read(`web/src/${path}`)))
    expect(outside).toEqual(["omni.ts"])
    const headless = sources.filter((path) => !/^\/\*\*\s+(\* )?@file /.test(read(`web/src/${path}`)))
    expect(headless).toEqual([])
    expect(sources.filter((path) => read(`web/src/${path}`).split("\n").length > 301)).toEqual([])
  })
})

describe("documents", () => {
  const documents = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"].concat(
    readdirSync(join(ROOT, "docs"), { recursive: true, encoding: "utf8" })
      .filter((path) => path.endsWith(".md"))
      .map((path) => `docs/${path}`),
  )

  test.each(documents)("links of %s resolve", (document) => {
    const links = [...read(document).matchAll(/\]\(([^)#\s]+)[^)]*\)/g)].map((match) => match[1]!)
    const broken = links.filter((link) => !/^https?:/.test(link) && !existsSync(join(ROOT, dirname(document), link)))
    expect(broken).toEqual([])
  })

  test("decision records are numbered without gaps", () => {
    const numbers = readdirSync(join(ROOT, "docs/decisions")).map((name) => Number(name.slice(0, 4)))
    expect(numbers.sort((a, b) => a - b)).toEqual(numbers.map((_, index) => index + 1))
  })

  test("ARCHITECTURE.md shows the level table of the test", () => {
    const rows = [...read("ARCHITECTURE.md").matchAll(/^\| `([\w.*/]+)` \| (\d+) \|/gm)]
    const name = (path: string) => (path.startsWith("omni.") ? "omni" : path.split("/")[0]!)
    expect(Object.fromEntries(rows.map(([, path, level]) => [name(path!), Number(level)]))).toEqual(LEVELS)
  })
})

describe("lint", () => {
  const lint = (code: string): string => {
    const folder = mkdtempSync(join(tmpdir(), "omni-lint-"))
    try {
      writeFileSync(join(folder, "probe.ts"), code)
      const biome = join(ROOT, "node_modules/@biomejs/biome/bin/biome")
      writeFileSync(join(folder, "biome.json"), read("biome.json"))
      const { stdout, stderr } = spawnSync(process.execPath, [biome, "lint", "probe.ts"], { cwd: folder })
      return `${stdout}${stderr}`
    } finally {
      rmSync(folder, { recursive: true })
    }
  }

  test("the rules that look into types and promises fire", () => {
    const report = lint(`
const work = async (): Promise<boolean> => true
export function lose(): void { work() }
export function misuse(): number { return work() ? 1 : 0 }
export function exhaust(kind: "a" | "b" | "c"): number {
  switch (kind) { case "a": return 1; case "b": return 2 }
  return 0
}
export const loose = (value: any): number => value[0]!
`)
    for (const rule of ["noFloatingPromises", "noMisusedPromises", "useExhaustiveSwitchCases", "noExplicitAny"])
      expect(report).toContain(rule)
    expect(report).not.toContain("noNonNullAssertion")
  })
})
