/** @file The rules of src/ as data and one check: which folder may import which, and what a file may hold. */
import { readdirSync, readFileSync } from "node:fs"
import { join, posix } from "node:path"

/** A folder imports only from lower levels. `omni` stands for the entry files `src/omni.*.ts`. */
export const LEVELS: Readonly<Record<string, number>> = {
  util: 0,
  protocol: 1,
  tensor: 1,
  graph: 2,
  audio: 2,
  image: 2,
  tokenizer: 2,
  checkpoint: 2,
  grammar: 3,
  nn: 3,
  runtime: 3,
  media: 3,
  models: 4,
  convert: 5,
  hub: 5,
  turns: 5,
  inference: 5,
  session: 6,
  train: 6,
  engine: 7,
  omni: 8,
  server: 9,
  eval: 9,
  cli: 10,
}

/** Lines per folder to argue with, tests apart. */
export const BUDGETS: Readonly<Record<string, number>> = {
  util: 400,
  protocol: 400,
  tensor: 500,
  graph: 2000,
  audio: 800,
  image: 400,
  tokenizer: 600,
  checkpoint: 600,
  grammar: 500,
  nn: 800,
  runtime: 1400,
  media: 500,
  models: 2000,
  convert: 600,
  hub: 400,
  turns: 300,
  inference: 1500,
  session: 900,
  train: 1200,
  engine: 700,
  eval: 600,
  server: 4000,
  cli: 700,
}

export type Source = { path: string; text: string } // path below src/, with /

const NODE_ONLY = new Set(["media", "train", "eval", "server", "cli"])
const isFace = (path: string) => /(^|\/)index(\.node|\.web)?\.ts$/.test(path)
const isTest = (path: string) => /(^|[./-])test[./-]/.test(posix.basename(path))
const isPlatform = (path: string) => /\.(node|web)\.ts$/.test(path)
const folderOf = (path: string) => (path.startsWith("omni.") ? "omni" : path.split("/")[0]!)
const IMPORT =
  /^(?:import|export)(?<type> type)? (?:[\w*{][^"'`;=()]*? from )?"(?<from>[^"]+)"|\bimport\("(?<lazy>[^"]+)"\)/gm

export function readSources(root: string): Source[] {
  return readdirSync(root, { recursive: true, encoding: "utf8" })
    .filter((path) => path.endsWith(".ts"))
    .map((path) => ({ path: path.replaceAll("\\", "/"), text: readFileSync(join(root, path), "utf8") }))
    .sort((a, b) => (a.path < b.path ? -1 : 1))
}

type Import = { name: string; target: string | undefined; typeOnly: boolean } // target: path below src/

function importsOf({ path, text }: Source): Import[] {
  return [...text.matchAll(IMPORT)].map(({ groups }) => {
    const name = (groups!.from ?? groups!.lazy)!
    const target = name.startsWith(".") ? posix.join(posix.dirname(path), name) : undefined
    return { name, target, typeOnly: groups!.type !== undefined }
  })
}

function fileProblem({ path, text }: Source): string | undefined {
  const lines = text.split("\n").length - 1
  const header = /^\/\*\* *\n? *\*? *@file [\s\S]*?\*\//.exec(text)?.[0]
  if (isTest(path) && lines > 500) return `expected at most 500 lines, got ${lines} (split the suite)`
  if (isTest(path) || isFace(path)) return undefined
  if (header === undefined) return "expected a /** @file … */ header, got none"
  if (/^export default\b/m.test(text)) return "expected named exports, got export default"
  const limit = path.startsWith("graph/ops/") ? 1000 : 600
  if (lines > limit) return `expected at most ${limit} lines, got ${lines} (split it)`
  if (lines > 400 && limit === 600 && !header.includes("Long because"))
    return `expected at most 400 lines or "Long because …" in the @file header, got ${lines}`
  return undefined
}

function importProblem(path: string, { name, target }: Import, known: ReadonlySet<string>): string | undefined {
  const folder = folderOf(path)
  if (!isTest(path) && !isPlatform(path) && !NODE_ONLY.has(folder)) {
    const outside = target === undefined && /^(node:|sharp$|onnxruntime-node$)/.test(name)
    if (outside || (target !== undefined && isPlatform(target)))
      return `expected browser-safe code, got ${name} (move it to a *.node.ts file, or take it as an argument)`
  }
  if (!target?.endsWith(".ts") || (isTest(path) && target.startsWith("../"))) return undefined
  if (!known.has(target)) return `expected an existing file, got ${name}`
  const targetFolder = folderOf(target)
  if (targetFolder === folder) {
    const own = isFace(target) && path.startsWith(`${posix.dirname(target)}/`) && !(isTest(path) || isFace(path))
    return own ? `expected a direct import, got its own folder's ${name}` : undefined
  }
  if (!isFace(target) && targetFolder !== "omni" && !isTest(target))
    return `expected the face of ${targetFolder}, got ${name} (export it from src/${targetFolder}/index.ts)`
  if (!isTest(path) && LEVELS[targetFolder]! >= LEVELS[folder]!)
    return `expected imports from levels below ${LEVELS[folder]}, got ${name} of level ${LEVELS[targetFolder]}`
  return undefined
}

/** The first cycle of value imports met from each file, as the path that closes it; each cycle once. */
function cycles(edges: ReadonlyMap<string, readonly string[]>): string[][] {
  const found: string[][] = []
  const done = new Set<string>()
  const visit = (path: string, trail: readonly string[]): void => {
    if (trail.includes(path)) {
      found.push([...trail.slice(trail.indexOf(path)), path])
      return
    }
    if (done.has(path)) return
    for (const next of edges.get(path) ?? []) visit(next, [...trail, path])
    done.add(path)
  }
  for (const path of edges.keys()) visit(path, [])
  return found
}

/** Everything in which the sources break the rules, one line each: `path: expected X, got Y`. */
export function findProblems(sources: readonly Source[]): string[] {
  const known = new Set(sources.map(({ path }) => path))
  const problems: string[] = []
  const edges = new Map<string, string[]>()
  for (const source of sources) {
    const { path } = source
    if (!(folderOf(path) in LEVELS))
      problems.push(`${path}: expected a folder of the level table, got ${folderOf(path)}`)
    const imports = importsOf(source)
    edges.set(
      path,
      imports.flatMap((one) => (one.typeOnly || !known.has(one.target ?? "") ? [] : [one.target!])),
    )
    const found = [fileProblem(source), ...imports.map((one) => importProblem(path, one, known))]
    problems.push(...found.filter((one) => one !== undefined).map((one) => `${path}: ${one}`))
  }
  for (const cycle of cycles(edges)) problems.push(`${cycle[0]}: expected no cycle, got ${cycle.join(" > ")}`)
  return problems
}
