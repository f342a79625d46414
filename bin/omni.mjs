#!/usr/bin/env node
/**
 * @file The `omni` command. Plain JavaScript that old Node.js versions can run: it hands over to the Node.js that
 * `npm ci` installed where the machine's own is too old, sets what the process's allocator reads at its start, and says
 * what to do where no Node.js will do.
 */
import { spawn } from "node:child_process"
import { existsSync } from "node:fs"
import module from "node:module"
import { constants, homedir } from "node:os"
import { isAbsolute, join } from "node:path"
import { pathToFileURL } from "node:url"
import { bundledNode, isOldNode, nodeProblem, ROOT } from "../scripts/check-node.mjs"

// A clone runs its sources; the installed package has what was built of them.
const source = join(ROOT, "src", "cli", "omni.ts")
const entry = existsSync(source) ? source : join(ROOT, "dist", "cli", "omni.js")
const node = isOldNode() ? bundledNode() : process.execPath

/**
 * Weights of gigabytes in huge pages load with a third of the page faults; glibc reads this when a process starts. It asks for
 * them in the first arena alone, which is why there is no other.
 */
const hugePages =
  process.platform === "linux" ? { GLIBC_TUNABLES: "glibc.malloc.hugetlb=1:glibc.malloc.arena_max=1" } : {}
/** Compiled modules are kept: commands start in half a second instead of two. A folder that cannot be written changes nothing. */
const caches = isAbsolute(process.env.XDG_CACHE_HOME ?? "") ? process.env.XDG_CACHE_HOME : join(homedir(), ".cache")
process.env.NODE_COMPILE_CACHE ??= join(caches, "omni", "compiled")
const isTuned = process.platform !== "linux" || process.env.GLIBC_TUNABLES !== undefined

if (!isOldNode() && isTuned) {
  module.enableCompileCache?.(process.env.NODE_COMPILE_CACHE)
  await import(pathToFileURL(entry).href)
} else if (node === undefined) {
  console.error(nodeProblem())
  process.exitCode = 1
} else {
  const child = spawn(node, [entry, ...process.argv.slice(2)], {
    stdio: "inherit",
    env: { ...hugePages, ...process.env },
  })
  // The child decides when to stop, this process waits for it. A terminal sends Ctrl-C to both: the child takes two
  // interrupts at once for one.
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => child.kill(signal))
  child.on("error", (error) => {
    console.error(`omni: expected ${node} to start, got ${error.message} (run npm ci again)`)
    process.exitCode = 1
  })
  child.on("exit", (code, signal) => {
    process.exitCode = code ?? 128 + (signal ? constants.signals[signal] : 0)
  })
}
