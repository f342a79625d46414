/**
 * @file Folders on disk for Node: a source with each file opened once and read by position, and a sink that writes under
 * a temporary name and renames. Links are followed: download caches are made of them.
 */
import { type FileHandle, mkdir, open, readdir, rename, rm, stat } from "node:fs/promises"
import { dirname, join, relative, sep } from "node:path"
import { CheckpointError, errorText } from "../util/index.ts"
import { failure } from "./fail.ts"
import type { FileSink, FileWriter } from "./sink.ts"
import { checkPath, checkRange, type FileSource, missingFile } from "./source.ts"

/** One read or write call moves at most this much; the system refuses 2 GiB and more. */
const CALL_BYTES = 2 ** 30

/** A folder on disk; files stay open until `close`. */
export type FolderSource = FileSource & { list(): Promise<string[]>; close(): Promise<void> } & AsyncDisposable

type OpenFile = { readonly handle: FileHandle; readonly sizeBytes: number }

/** A source over a folder. Nothing is opened before the first use of a file; use `await using` or `close`. */
export function openFolder(directory: string): FolderSource {
  const files = new Map<string, Promise<OpenFile>>()
  let closed = false

  const openFile = async (path: string): Promise<OpenFile> => {
    checkPath(directory, path)
    const handle = await open(join(directory, path), "r").catch((error: NodeJS.ErrnoException) => {
      throw error.code === "ENOENT" || error.code === "ENOTDIR" ? missingFile(directory, path) : unreadable(path, error)
    })
    const status = await handle.stat()
    if (status.isFile()) return { handle, sizeBytes: status.size }
    await handle.close()
    throw missingFile(directory, path)
  }

  const find = (path: string): Promise<OpenFile> => {
    if (closed) throw new CheckpointError(`${path}: expected an open folder, got one that was closed (${directory})`)
    let file = files.get(path)
    if (file === undefined) {
      file = openFile(path)
      files.set(path, file)
      file.catch(() => files.delete(path)) // a file that is absent now may be downloaded later
    }
    return file
  }

  const close = async (): Promise<void> => {
    closed = true
    const opened = await Promise.allSettled(files.values())
    files.clear()
    await Promise.all(opened.map((file) => (file.status === "fulfilled" ? file.value.handle.close() : undefined)))
  }

  return {
    name: directory,
    list: () => listFiles(directory),
    exists: async (path) => {
      checkPath(directory, path)
      return (await stat(join(directory, path)).catch(() => undefined))?.isFile() ?? false
    },
    size: async (path) => (await find(path)).sizeBytes,
    read: async (path, start, length) => {
      const { handle, sizeBytes } = await find(path)
      checkRange(path, start, length, sizeBytes)
      const bytes = allocateBytes(path, length)
      let done = 0
      while (done < length) {
        const piece = bytes.subarray(done, Math.min(length, done + CALL_BYTES))
        const { bytesRead } = await handle.read(piece, 0, piece.length, start + done).catch((error: Error) => {
          throw unreadable(path, error)
        })
        if (bytesRead === 0) throw failure(path, `${length} bytes from byte ${start}`, `an end after ${done}`)
        done += bytesRead
      }
      return bytes
    },
    close,
    [Symbol.asyncDispose]: close,
  }
}

let partialFiles = 0

/** A sink over a folder, which is made when missing. A file is flushed to disk before it takes its name. */
export function folderSink(directory: string): FileSink {
  return {
    name: directory,
    create: async (path) => {
      checkPath(directory, path)
      const target = join(directory, path)
      const partial = `${target}.${process.pid}-${partialFiles++}.partial`
      try {
        await mkdir(dirname(target), { recursive: true })
        return fileWriter(await open(partial, "wx"), partial, target)
      } catch (error) {
        throw unwritable(target, error)
      }
    },
    remove: async (path) => {
      checkPath(directory, path)
      await rm(join(directory, path), { force: true })
    },
  }
}

function fileWriter(handle: FileHandle, partial: string, target: string): FileWriter {
  let open = true
  return {
    write: async (bytes) => {
      try {
        let done = 0
        while (done < bytes.length) {
          const piece = bytes.subarray(done, done + CALL_BYTES)
          done += (await handle.write(piece, 0, piece.length)).bytesWritten
        }
      } catch (error) {
        throw unwritable(target, error)
      }
    },
    commit: async () => {
      try {
        await handle.sync()
        await handle.close()
        await rename(partial, target)
        open = false
      } catch (error) {
        throw unwritable(target, error)
      }
    },
    abort: async () => {
      if (!open) return
      open = false
      await handle.close().catch(() => {}) // closed already when only the rename failed
      await rm(partial, { force: true })
    },
  }
}

async function listFiles(directory: string): Promise<string[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true }).catch((error: unknown) => {
    throw failure(directory, "a folder", errorText(error), "check the path")
  })
  const paths = entries
    .filter((entry) => !entry.isDirectory())
    .map((entry) => relative(directory, join(entry.parentPath, entry.name)).split(sep).join("/"))
  return paths.sort()
}

function allocateBytes(path: string, length: number): Uint8Array {
  try {
    return new Uint8Array(length)
  } catch (error) {
    const advice = "read the tensor in pieces with rowChunks"
    throw new CheckpointError(`${path}: expected ${length} bytes of memory, got none (${advice})`, { cause: error })
  }
}

function unreadable(path: string, error: Error): CheckpointError {
  return new CheckpointError(`${path}: expected a readable file, got ${error.message} (check its permissions)`, {
    cause: error,
  })
}

function unwritable(path: string, error: unknown): CheckpointError {
  const advice = "check free space and permissions"
  return new CheckpointError(`${path}: expected a file that can be written, got ${errorText(error)} (${advice})`, {
    cause: error,
  })
}
