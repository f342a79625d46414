/**
 * @file Builds the page when its sources changed: `node scripts/build-web.ts`, or {@link ensureWebBuilt} from a command. The
 * key of the sources lies beside the built files, so that checking takes milliseconds and no build is made twice.
 */
import { createHash } from "node:crypto"
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"

const ROOT = join(import.meta.dirname, "..")
const DIST = join(ROOT, "web/dist")
const KEY_FILE = ".sources"
/** What the page is made of: its own folder, and the folders of the engine that it imports. */
const SOURCES = ["web/src", "web/public", "src/protocol", "src/audio", "src/util"]
const SINGLE = ["web/index.html", "web/package.json", "web/vite.config.ts", "web/tsconfig.json"]

/** A key that changes with every change of what the page is built from. */
export function sourcesKey(root: string = ROOT): string {
  const paths = SOURCES.flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() && !/\.test(-util)?\./.test(entry.name))
      .map((entry) => join(entry.parentPath, entry.name)),
  )
  const hash = createHash("sha256")
  for (const path of [...paths, ...SINGLE.map((name) => join(root, name))].sort())
    hash.update(`${path.slice(root.length)}\0${createHash("sha256").update(readFileSync(path)).digest("hex")}\n`)
  return hash.digest("hex")
}

/**
 * The folder of the built page, built first when it is missing or stale (about 3 s). An installed package has no sources:
 * its page is taken as it is.
 * @param options `onBuild` is told before a build begins
 * @throws Error when the sources do not build, or nothing is built and the bundler is not installed
 */
export async function ensureWebBuilt(options: { onBuild?: () => void } = {}): Promise<string> {
  if (!existsSync(join(ROOT, "web/src")) && existsSync(join(DIST, "index.html"))) return DIST
  const key = sourcesKey()
  const keyFile = join(DIST, KEY_FILE)
  if (existsSync(keyFile) && readFileSync(keyFile, "utf8") === key) return DIST
  options.onBuild?.()
  const { build } = await import("vite")
  // Built aside and moved at once: a server that runs meanwhile never serves half a page.
  const aside = join(ROOT, ".cache", `web-${process.pid}`)
  mkdirSync(aside, { recursive: true })
  try {
    await build({
      root: join(ROOT, "web"),
      configFile: join(ROOT, "web/vite.config.ts"),
      logLevel: "warn",
      build: { outDir: aside, emptyOutDir: true },
    })
    writeFileSync(join(aside, KEY_FILE), key)
    rmSync(DIST, { recursive: true, force: true })
    renameSync(aside, DIST)
  } finally {
    rmSync(aside, { recursive: true, force: true })
  }
  return DIST
}

if (import.meta.main) {
  const began = performance.now()
  const folder = await ensureWebBuilt()
  console.log(`${folder}: ${((performance.now() - began) / 1000).toFixed(1)} s`)
}
