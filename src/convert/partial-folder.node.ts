/** @file Folders that appear whole or not at all: written under another name, then renamed. */
import { mkdir, readdir, rename, rm, stat } from "node:fs/promises"
import { basename, dirname, join } from "node:path"
import { ConfigError, errorText } from "../util/index.ts"

let partialFolders = 0

/** A partial folder that nobody has touched for so long was left behind by a process that died. */
const ABANDONED_MS = 3_600_000

/**
 * Makes the folder `target` through `fill`, which gets the folder to write into. When several processes make the same
 * one at once, the first to finish wins and the others take its result.
 * @param isWhole tells a finished folder from a broken one, which is replaced
 * @throws what `fill` throws; nothing is left behind then
 */
export async function publishFolder(
  target: string,
  fill: (partial: string) => Promise<void>,
  isWhole: (directory: string) => boolean,
): Promise<void> {
  await removeAbandoned(target)
  const partial = partialName(target)
  try {
    await mkdir(partial, { recursive: true })
    await fill(partial)
    for (let attempt = 0; ; attempt++) {
      try {
        await rename(partial, target)
        return
      } catch (error) {
        if (attempt > 2 || !(await exists(target))) throw error
        if (isWhole(target)) return
        await setAside(target)
      }
    }
  } finally {
    await rm(partial, { recursive: true, force: true })
  }
}

function partialName(target: string): string {
  return `${target}.${process.pid}-${partialFolders++}.partial`
}

/** Moves a broken folder out of the way before it is removed, so that nobody sees half of it. */
async function setAside(target: string): Promise<void> {
  const aside = partialName(target)
  await rename(target, aside).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "ENOENT") throw error // another process was faster
  })
  await rm(aside, { recursive: true, force: true })
}

async function removeAbandoned(target: string): Promise<void> {
  const parent = dirname(target)
  for (const name of await readdir(parent).catch(() => [])) {
    if (!name.startsWith(`${basename(target)}.`) || !name.endsWith(".partial")) continue
    const path = join(parent, name)
    const files = await readdir(path).catch(() => [])
    const times = await Promise.all([path, ...files.map((file) => join(path, file))].map(modifiedMs))
    if (Date.now() - Math.max(...times) > ABANDONED_MS) await rm(path, { recursive: true, force: true })
  }
}

async function modifiedMs(path: string): Promise<number> {
  return (await stat(path).catch(() => undefined))?.mtimeMs ?? 0
}

export async function exists(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined)) !== undefined
}

/** @throws ConfigError unless `directory` is missing or empty */
export async function refuseOccupied(where: string, directory: string): Promise<void> {
  const files = await readdir(directory).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return []
    throw new ConfigError(`${where}: expected a new folder, got ${directory} (${errorText(error)})`, { cause: error })
  })
  if (files.length === 0) return
  throw new ConfigError(
    `${where}: expected a new or empty folder, got ${directory} with ${files.length} files (choose another, or empty it)`,
  )
}
