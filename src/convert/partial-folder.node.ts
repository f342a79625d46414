/** @file Folders that appear whole or not at all: written under another name, then renamed. */
import { mkdir, readdir, rename, rm, stat, statfs } from "node:fs/promises"
import { basename, dirname, join, resolve } from "node:path"
import { ConfigError, errorText, sizeText } from "../util/index.ts"

let partialFolders = 0

/** A partial folder that nobody has touched for so long was left behind, whatever became of its process. */
const ABANDONED_MS = 3_600_000
/** So long is enough when its process is gone; one that runs on another machine of a shared disk writes more often. */
const GONE_MS = 60_000

/**
 * Makes the folder `target` through `fill`, which gets the folder to write into. When several processes make the same
 * one at once, the first to finish wins and the others take its result.
 * @param settle what to do with a folder that is there already: true accepts it, false says that it was moved away
 * @throws ConfigError when the disk is full or may not be written, what `fill` throws; nothing is left behind then
 */
export async function publishFolder(
  target: string,
  fill: (partial: string) => Promise<void>,
  settle: (existing: string) => Promise<boolean>,
): Promise<void> {
  await removeAbandoned(target)
  const partial = partialName(target)
  await mkdir(partial, { recursive: true }).catch(unwritable(target, () => true))
  try {
    await fill(partial).catch(unwritable(target, (code) => UNWRITABLE.has(code)))
    for (let attempt = 0; ; attempt++) {
      try {
        await rename(partial, target)
        return
      } catch (error) {
        if (attempt > 2 || !(await exists(target))) throw error
        if (await settle(target)) return
      }
    }
  } finally {
    await rm(partial, { recursive: true, force: true })
  }
}

const UNWRITABLE = new Set(["ENOSPC", "EDQUOT", "EROFS", "EACCES", "EPERM"])

/** Failures of the disk under `target` become an error that says what to do; others stay. */
function unwritable(target: string, isOurs: (code: string) => boolean): (error: unknown) => never {
  return (cause) => {
    if (!isOurs(String((cause as NodeJS.ErrnoException).code))) throw cause
    const advice = "free some space, or choose another folder"
    throw new ConfigError(`${target}: expected to write there, got: ${errorText(cause)} (${advice})`, { cause })
  }
}

function partialName(target: string): string {
  return `${target}.${process.pid}-${partialFolders++}.partial`
}

/** Moves a folder out of the way before it is removed, so that nobody sees half of it. */
export async function setAside(target: string): Promise<void> {
  const aside = partialName(target)
  await rename(target, aside).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "ENOENT") throw error // another process was faster
  })
  await rm(aside, { recursive: true, force: true })
}

/** Removes what processes that died have left of their attempts to make `target`. */
export async function removeAbandoned(target: string): Promise<void> {
  const parent = dirname(target)
  for (const name of await readdir(parent).catch(() => [])) {
    if (!name.startsWith(`${basename(target)}.`) || !name.endsWith(".partial")) continue
    const path = join(parent, name)
    const pid = Number(/\.(\d+)-\d+\.partial$/.exec(name)?.[1])
    const files = await readdir(path).catch(() => [])
    const times = await Promise.all([path, ...files.map((file) => join(path, file))].map(modifiedMs))
    const limitMs = isRunning(pid) ? ABANDONED_MS : GONE_MS
    if (Date.now() - Math.max(...times) > limitMs) await rm(path, { recursive: true, force: true })
  }
}

function isRunning(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM"
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

/** @throws ConfigError when the disk that will hold `path` has no room for `sizeBytes` */
export async function checkSpace(path: string, sizeBytes: number): Promise<void> {
  let folder = resolve(path)
  while (!(await exists(folder)) && dirname(folder) !== folder) folder = dirname(folder)
  const disk = await statfs(folder).catch(() => undefined) // no answer: writing will tell
  if (!disk || disk.bavail * disk.bsize >= sizeBytes) return
  throw new ConfigError(
    `${folder}: expected ${sizeText(sizeBytes)} of free space, got ${sizeText(disk.bavail * disk.bsize)} ` +
      "(free some, or choose int4)",
  )
}
