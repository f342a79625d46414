/**
 * @file Says what to do when this Node.js is too old. Plain JavaScript that old versions can run; `npm test` and the
 * `omni` command start here. Run alone, it exits with 1 when the version will not do.
 */
import { existsSync, realpathSync } from "node:fs"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"

export const MIN_NODE_MAJOR = 24
export const ROOT = dirname(dirname(fileURLToPath(import.meta.url)))

/** Path of the Node.js that npm installed beside the other dependencies, or undefined. */
export function bundledNode() {
  const path = join(ROOT, "node_modules", "node", "bin", process.platform === "win32" ? "node.exe" : "node")
  return existsSync(path) ? path : undefined
}

export function isOldNode() {
  return Number(process.versions.node.split(".")[0]) < MIN_NODE_MAJOR
}

/** What is wrong with the running Node.js and what to do about it, or undefined. */
export function nodeProblem() {
  if (!isOldNode()) return undefined
  const advice = bundledNode()
    ? "run it through npm, which uses the Node.js in node_modules: npm test, npm run NAME or npx omni"
    : existsSync(join(ROOT, "package-lock.json"))
      ? "run npm ci here first: it brings its own Node.js"
      : `install Node.js ${MIN_NODE_MAJOR} or later, https://nodejs.org`
  return `omni: expected Node.js ${MIN_NODE_MAJOR} or later, got ${process.versions.node} (${advice})`
}

if (process.argv[1] && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  const problem = nodeProblem()
  if (problem) {
    console.error(problem)
    process.exitCode = 1
  }
}
