/**
 * @file What `npm pack` and `npm publish` run before and after: Node.js refuses to strip types below node_modules, so the
 * package carries JavaScript and declarations in dist/, and its manifest names those for as long as npm packs it.
 */
import { spawnSync } from "node:child_process"
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs"
import { stripTypeScriptTypes } from "node:module"
import { dirname, join } from "node:path"

const ROOT = join(import.meta.dirname, "..")
const DIST = join(ROOT, "dist")
const MANIFEST = join(ROOT, "package.json")
/** The manifest as it was; it lies here while npm packs, and after a packing that was cut off. */
const SAVED = join(ROOT, "package.json.original")

/** Where a door leads, or where it leads under each condition. */
type Target = string | { readonly [condition: string]: Target }

type Manifest = { exports: { [door: string]: Target }; files: string[]; [field: string]: unknown }

const isShipped = (path: string) => path.endsWith(".ts") && !/\.test\.ts$|test-util/.test(path)

/** Relative modules are JavaScript now, those that are started as workers too. */
export function builtSpecifiers(code: string): string {
  return code.replace(/(["'])(\.{1,2}\/[^"'\n]*)\.ts\1/g, "$1$2.js$1")
}

/** The manifest of the package: doors lead to dist/, and sources stay at home. */
export function packedManifest({ exports, files, ...rest }: Manifest): Manifest {
  const built = (target: Target): Target => {
    if (typeof target !== "string")
      return Object.fromEntries(Object.entries(target).map(([condition, inner]) => [condition, built(inner)]))
    const base = target.replace(/^\.\/src\//, "./dist/").replace(/\.ts$/, "")
    return target.endsWith(".ts") ? { types: `${base}.d.ts`, default: `${base}.js` } : target
  }
  const { scripts, devDependencies, workspaces, ...kept } = rest
  return {
    ...kept,
    exports: Object.fromEntries(Object.entries(exports).map(([door, target]) => [door, built(target)])),
    files: ["dist", ...files.filter((path) => !/^!?src\b/.test(path))],
  }
}

function build(): void {
  rmSync(DIST, { recursive: true, force: true })
  for (const path of readdirSync(join(ROOT, "src"), { recursive: true, encoding: "utf8" }).filter(isShipped)) {
    const target = join(DIST, path.replace(/\.ts$/, ".js"))
    mkdirSync(dirname(target), { recursive: true })
    const code = stripTypeScriptTypes(readFileSync(join(ROOT, "src", path), "utf8"))
    writeFileSync(target, builtSpecifiers(code))
  }
  const compiler = join(ROOT, "node_modules", "typescript", "bin", "tsc")
  const { status } = spawnSync(process.execPath, [compiler, "-p", join(ROOT, "tsconfig.package.json")], {
    stdio: ["ignore", "inherit", "inherit"],
  })
  if (status !== 0) throw new Error(`package: expected declarations, got exit code ${status} of the compiler`)
  for (const path of readdirSync(DIST, { recursive: true, encoding: "utf8" }).filter((name) =>
    name.endsWith(".d.ts"),
  )) {
    const file = join(DIST, path)
    writeFileSync(file, builtSpecifiers(readFileSync(file, "utf8")))
  }
}

function restore(): void {
  if (existsSync(SAVED)) renameSync(SAVED, MANIFEST)
}

if (import.meta.main) {
  restore()
  if (process.argv[2] === "before") {
    build()
    copyFileSync(MANIFEST, SAVED)
    const manifest = JSON.parse(readFileSync(MANIFEST, "utf8")) as Manifest
    writeFileSync(MANIFEST, `${JSON.stringify(packedManifest(manifest), null, 2)}\n`)
  }
}
