/**
 * @file A lock between processes that a crash cannot leave behind: a file that names its owner and is touched while the
 * owner works. It goes to another process when its owner is gone from this machine, or silent for minutes.
 */
import { randomUUID } from "node:crypto"
import { mkdir, open, readFile, rm, stat, utimes } from "node:fs/promises"
import { hostname } from "node:os"
import { dirname } from "node:path"
import { ConfigError, errorText, OmniError } from "../util/index.ts"

/** A lock that is held. */
export type FolderLock = AsyncDisposable & {
  /** Cheap; looks at the disk when that was long ago. @throws when another process has taken the lock meanwhile */
  check(): Promise<void>
}

type Owner = { readonly pid: number; readonly host: string; readonly token: string }

const HEARTBEAT_MS = 10_000
const POLL_MS = 200
/** The owner may be of another machine, or its number given to another process: then silence alone tells. */
const SILENT_MS = 10 * 60_000
/** Taking a lock over lasts milliseconds. */
const TAKE_OVER_MS = 10_000

/**
 * Waits for the lock and takes it.
 * @param onWait called once with the process that holds it
 * @throws ConfigError when its folder cannot be written, the signal's reason
 */
export async function takeLock(
  path: string,
  options: {
    readonly signal?: AbortSignal | undefined
    readonly onWait?: ((pid: number | undefined) => void) | undefined
  } = {},
): Promise<FolderLock> {
  const owner: Owner = { pid: process.pid, host: hostname(), token: randomUUID() }
  await mkdir(dirname(path), { recursive: true }).catch(unwritable(path))
  for (let waits = 0; !(await create(path, JSON.stringify(owner))); waits++) {
    options.signal?.throwIfAborted()
    const holder = await readOwner(path)
    if (holder !== "none" && (await isStale(path, holder))) {
      await breakLock(path, holder)
      continue
    }
    if (waits === 0 && holder !== "none") options.onWait?.(holder?.pid)
    await new Promise((resolve) => setTimeout(resolve, POLL_MS))
  }
  return heldLock(path, owner)
}

function heldLock(path: string, owner: Owner): FolderLock {
  let lastMs = Date.now()
  const isOurs = async () => {
    const holder = await readOwner(path)
    return holder !== "none" && holder?.token === owner.token
  }
  const beat = async () => {
    if (!(await isOurs())) return
    const now = new Date()
    await utimes(path, now, now)
    lastMs = now.getTime()
  }
  const timer = setInterval(() => void beat().catch(() => {}), HEARTBEAT_MS)
  timer.unref()
  return {
    check: async () => {
      // A process that slept (a closed lid, Ctrl-Z) may have lost its lock without noticing.
      if (Date.now() - lastMs < 3 * HEARTBEAT_MS) return
      if (!(await isOurs())) {
        throw new OmniError("network", `${path}: expected our lock, got one of another process (pull again)`)
      }
      lastMs = Date.now()
    },
    [Symbol.asyncDispose]: async () => {
      clearInterval(timer)
      if (await isOurs()) await rm(path, { force: true })
    },
  }
}

async function create(path: string, text: string): Promise<boolean> {
  try {
    const file = await open(path, "wx")
    await file.writeFile(text).finally(() => file.close())
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false
    return unwritable(path)(error)
  }
}

function unwritable(path: string): (error: unknown) => never {
  return (cause) => {
    const message = `${path}: expected a folder that can be written, got ${errorText(cause)} (check permissions)`
    throw new ConfigError(message, { cause })
  }
}

/** The owner; undefined while the text is not there yet or is damaged, "none" without a lock. */
async function readOwner(path: string): Promise<Owner | undefined | "none"> {
  const text = await readFile(path, "utf8").catch(() => "none")
  if (text === "none") return "none"
  try {
    const { pid, host, token } = JSON.parse(text) as { [name: string]: unknown }
    const valid = Number.isSafeInteger(pid) && (pid as number) > 0 && typeof host === "string"
    return valid && typeof token === "string" ? { pid: pid as number, host, token } : undefined
  } catch {
    return undefined
  }
}

async function isStale(path: string, owner: Owner | undefined): Promise<boolean> {
  const status = await stat(path).catch(() => undefined)
  if (!status) return false
  const silentMs = Date.now() - status.mtimeMs
  if (silentMs > SILENT_MS) return true
  if (owner === undefined) return silentMs > TAKE_OVER_MS // its owner died while writing its name
  return owner.host === hostname() && !isAlive(owner.pid)
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM"
  }
}

/** Removes a stale lock; one process at a time, so that nobody removes the lock that another has just made. */
async function breakLock(path: string, seen: Owner | undefined): Promise<void> {
  const gate = `${path}.break`
  if (!(await create(gate, ""))) {
    const status = await stat(gate).catch(() => undefined)
    if (status && Date.now() - status.mtimeMs > TAKE_OVER_MS) await rm(gate, { force: true })
    await new Promise((resolve) => setTimeout(resolve, POLL_MS / 10))
    return
  }
  try {
    const now = await readOwner(path)
    if (now !== "none" && now?.token === seen?.token) await rm(path, { force: true })
  } finally {
    await rm(gate, { force: true })
  }
}
