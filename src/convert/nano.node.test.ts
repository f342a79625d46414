/** @file `nano` in a cache folder: made once, whole, by however many processes and after whatever went wrong. */
import { spawn } from "node:child_process"
import { once } from "node:events"
import { existsSync, mkdirSync, readdirSync, rmSync, statSync, truncateSync, utimesSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { expect, test } from "vitest"
import { temporaryFolders } from "./folders.test-util.node.ts"
import { ensureNano, nanoFolder } from "./nano.node.ts"

const temporary = temporaryFolders()
const WEIGHTS = "model.safetensors"

/** Makes nano in a process of its own. */
function maker(cache: string) {
  const script = `
    const { ensureNano } = await import(${JSON.stringify(join(import.meta.dirname, "nano.node.ts"))})
    process.stdout.write("go")
    console.log(await ensureNano(${JSON.stringify(cache)}))`
  return spawn(process.execPath, ["--input-type=module", "-e", script], { stdio: ["ignore", "pipe", "inherit"] })
}

test("it is made when it is missing, taken when it is there, and made again when it is damaged", async () => {
  const cache = join(temporary(), "new", "cache")
  const stages = new Set<string>()
  const directory = await ensureNano(cache, { onProgress: ({ name }) => stages.add(name) })
  expect(directory).toBe(nanoFolder(cache))
  expect(stages.has("llm.model.embed_tokens.weight")).toBe(true)
  const weights = join(directory, WEIGHTS)
  const { mtimeMs, size } = statSync(weights)
  expect(await ensureNano(cache)).toBe(directory)
  expect(statSync(weights).mtimeMs).toBe(mtimeMs)
  truncateSync(weights, 0)
  await ensureNano(cache)
  expect(statSync(weights).size).toBe(size)
  rmSync(join(directory, "config.json"))
  await ensureNano(cache)
  expect(existsSync(join(directory, "config.json"))).toBe(true)
  expect(readdirSync(dirname(directory))).toEqual(["nano"])
})

test("a process that is killed leaves nothing half, and its remains are removed", async () => {
  const cache = temporary()
  const parent = dirname(nanoFolder(cache))
  const child = maker(cache)
  await once(child.stdout, "data")
  while (!existsSync(parent) || !readdirSync(parent).some((name) => name.endsWith(".partial")))
    await new Promise((resolve) => setTimeout(resolve, 2))
  child.kill("SIGKILL")
  await once(child, "exit")
  expect(readdirSync(parent)).not.toContain("nano")
  // As if a minute had passed: then its process is known to be gone for good.
  const [partial] = readdirSync(parent)
  const longAgo = new Date(Date.now() - 120_000)
  for (const path of [...readdirSync(join(parent, partial!)).map((name) => join(partial!, name)), partial!])
    utimesSync(join(parent, path), longAgo, longAgo)
  // Of a process that still runs: it is left alone.
  const others = join(parent, `nano.${process.pid}-99.partial`)
  mkdirSync(others)
  utimesSync(others, longAgo, longAgo)
  await ensureNano(cache)
  expect(readdirSync(parent).sort()).toEqual(["nano", `nano.${process.pid}-99.partial`])
})

test("several processes at once end up with the same one", async () => {
  const cache = temporary()
  const children = Array.from({ length: 3 }, () => maker(cache))
  const codes = await Promise.all(children.map(async (child) => (await once(child, "exit"))[0] as number))
  expect(codes).toEqual([0, 0, 0])
  expect(readdirSync(dirname(nanoFolder(cache)))).toEqual(["nano"])
}, 30_000)

test("a cache that cannot be a folder is told, and an abort is obeyed", async () => {
  const file = join(temporary(), "file")
  writeFileSync(file, "")
  await expect(ensureNano(file)).rejects.toThrow(
    /file: expected a folder to keep the model nano in, got .+XDG_CACHE_HOME/,
  )
  const cache = temporary()
  await expect(ensureNano(cache, { signal: AbortSignal.abort(new Error("no")) })).rejects.toThrow("no")
  expect(readdirSync(dirname(nanoFolder(cache)))).toEqual([])
})
