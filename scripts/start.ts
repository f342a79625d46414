/**
 * @file `npm start`: builds the page when it is missing or stale, then runs `omni serve` with the model that comes with the
 * program. Flags after `--` are those of `omni serve`.
 */

import { once } from "node:events"
import { existsSync } from "node:fs"
import { createServer } from "node:net"
import { join } from "node:path"
import { pathToFileURL } from "node:url"

const ROOT = join(import.meta.dirname, "..")
/** As `omni serve` has it; the next ones are tried when another program listens there. */
const FIRST_PORT = 8000
const PORTS = 20

async function isFree(port: number): Promise<boolean> {
  const server = createServer()
  const listening = once(server, "listening")
  server.listen(port, "127.0.0.1")
  const free = await listening.then(
    () => true,
    () => false,
  )
  if (free) await new Promise((resolve) => server.close(resolve))
  return free
}

/** What `omni serve` is given: somebody who only wants to talk does not care about the port. */
export async function serveArguments(given: readonly string[]): Promise<string[]> {
  if (given.some((flag) => flag === "--port" || flag.startsWith("--port="))) return ["serve", ...given]
  for (let port = FIRST_PORT; port < FIRST_PORT + PORTS; port++) {
    if (await isFree(port)) return ["serve", "--port", String(port), ...given]
  }
  return ["serve", "--port", "0", ...given]
}

if (import.meta.main) {
  if (existsSync(join(ROOT, "node_modules", "vite"))) {
    const { ensureWebBuilt } = await import("./build-web.ts")
    await ensureWebBuilt({ onBuild: () => console.error("building the page …") })
    process.argv.splice(2, process.argv.length, ...(await serveArguments(process.argv.slice(2))))
    await import(pathToFileURL(join(ROOT, "bin", "omni.mjs")).href)
  } else {
    console.error("npm start: expected installed packages, got none (run npm ci first)")
    process.exitCode = 2
  }
}
