/** @file The part of a download on disk, hashed as it grows; what an earlier process left is read and hashed first. */
import { createHash, type Hash } from "node:crypto"
import { type FileHandle, mkdir, open, rename, stat, statfs } from "node:fs/promises"
import { dirname, resolve } from "node:path"
import { ConfigError, errorText, sizeText } from "../util/index.ts"
import type { PartFile } from "./fetch-file.ts"
import type { HubFile } from "./listing.ts"

const READ_BYTES = 2 ** 20

/** A part that is open. */
export type DiskPart = PartFile & {
  /** Flushes the bytes to disk and gives them their name. */
  publish(target: string): Promise<void>
  /** Closes without removing: the next pull goes on here. */
  close(): Promise<void>
}

/**
 * Opens the part of a file, or begins one.
 * @param check called before each write; throws when the part is not ours any more
 * @throws ConfigError when it cannot be written, the signal's reason
 */
export async function openPart(
  path: string,
  file: HubFile,
  check: () => Promise<void>,
  signal?: AbortSignal,
): Promise<DiskPart> {
  await mkdir(dirname(path), { recursive: true }).catch(unwritable(path))
  const handle = await open(path, "a+").catch(unwritable(path))
  try {
    const hash = newHash(file)
    const status = await handle.stat()
    if (!status.isFile()) unwritable(path)(new Error("something that is no file"))
    const sizeBytes = await hashFile(handle, hash, signal)
    return diskPart(path, file, handle, { hash, sizeBytes }, check)
  } catch (error) {
    await handle.close()
    throw error
  }
}

function diskPart(
  path: string,
  file: HubFile,
  handle: FileHandle,
  start: { readonly hash: Hash; readonly sizeBytes: number },
  check: () => Promise<void>,
): DiskPart {
  let { hash, sizeBytes } = start
  let open = true
  const close = async () => {
    if (open) await handle.close()
    open = false
  }
  return {
    get sizeBytes() {
      return sizeBytes
    },
    append: async (bytes) => {
      await check()
      for (let done = 0; done < bytes.length; ) {
        const { bytesWritten } = await handle.write(bytes, done).catch(unwritable(path))
        hash.update(bytes.subarray(done, done + bytesWritten))
        done += bytesWritten
        sizeBytes += bytesWritten
      }
    },
    clear: async () => {
      await check()
      await handle.truncate(0).catch(unwritable(path))
      hash = newHash(file)
      sizeBytes = 0
    },
    digest: async () => hash.copy().digest("hex"),
    publish: async (target) => {
      await check()
      try {
        await handle.sync()
        await close()
        await mkdir(dirname(target), { recursive: true })
        await rename(path, target)
      } catch (error) {
        unwritable(target)(error)
      }
    },
    close,
  }
}

function newHash({ sizeBytes, checksum }: HubFile): Hash {
  return checksum.kind === "sha256" ? createHash("sha256") : createHash("sha1").update(`blob ${sizeBytes}\0`)
}

/** Feeds a file to a hash from its start. @returns its size */
async function hashFile(handle: FileHandle, hash: Hash, signal: AbortSignal | undefined): Promise<number> {
  const buffer = new Uint8Array(READ_BYTES)
  for (let position = 0; ; ) {
    signal?.throwIfAborted()
    const { bytesRead } = await handle.read(buffer, 0, READ_BYTES, position)
    if (bytesRead === 0) return position
    hash.update(buffer.subarray(0, bytesRead))
    position += bytesRead
  }
}

/** Whether a file on disk is what the hub lists; reads all of it when the size is right. */
export async function isSameFile(path: string, file: HubFile, signal?: AbortSignal): Promise<boolean> {
  const status = await stat(path).catch(() => undefined)
  if (!status?.isFile() || status.size !== file.sizeBytes) return false
  const handle = await open(path, "r")
  try {
    const hash = newHash(file)
    await hashFile(handle, hash, signal)
    return hash.digest("hex") === file.checksum.hex
  } finally {
    await handle.close()
  }
}

const FULL = new Set(["ENOSPC", "EDQUOT"])

function unwritable(path: string): (error: unknown) => never {
  return (cause) => {
    const full = FULL.has(String((cause as NodeJS.ErrnoException).code))
    const expected = full ? "free space" : "a file that can be written"
    const advice = full ? "free some and pull again; what was downloaded is kept" : "check the folder's permissions"
    throw new ConfigError(`${path}: expected ${expected}, got ${errorText(cause)} (${advice})`, { cause })
  }
}

/** @throws ConfigError when the disk that holds `folder` has no room for `sizeBytes` more */
export async function checkSpace(folder: string, sizeBytes: number): Promise<void> {
  const freeBytes = await freeSpace(folder)
  if (freeBytes === undefined || freeBytes >= sizeBytes) return
  throw new ConfigError(
    `${folder}: expected ${sizeText(sizeBytes)} of free space, got ${sizeText(freeBytes)} ` +
      "(free some, or choose another disk: --dir DIR or HF_HUB_CACHE)",
  )
}

/** Free bytes on the disk that holds a folder, which need not exist yet; undefined where the system does not tell. */
export async function freeSpace(folder: string): Promise<number | undefined> {
  for (let place = resolve(folder); ; place = dirname(place)) {
    const disk = await statfs(place).catch(() => undefined)
    if (disk) return disk.bavail * disk.bsize
    if (dirname(place) === place) return undefined
  }
}
