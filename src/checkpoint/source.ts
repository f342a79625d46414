/**
 * @file A folder of files that is read by byte ranges, and the in-memory one. Where the bytes come from (disk, network,
 * a picked folder in a browser) is the implementer's business; the readers here never ask for more than they need.
 */
import { failure, quote } from "./fail.ts"

/** A folder of files read by byte ranges. Paths are relative, with `/`. Every method rejects with CheckpointError. */
export type FileSource = {
  /** What messages call the folder: its path or address. */
  readonly name: string
  /** The paths of all files; absent where a folder cannot be listed (plain HTTP). */
  list?(): Promise<string[]>
  /** Whether `path` is a file. */
  exists(path: string): Promise<boolean>
  /** Size in bytes; rejects when the file is missing. */
  size(path: string): Promise<number>
  /** Exactly `length` bytes from `start`, in a fresh array owned by the caller; rejects when the range leaves the file. */
  read(path: string, start: number, length: number): Promise<Uint8Array>
}

/** @throws CheckpointError unless `path` is relative and stays inside its folder, on every platform */
export function checkPath(where: string, path: string): void {
  const inside = !/[\\:\0]/.test(path) && path.split("/").every((part) => part !== "" && part !== "." && part !== "..")
  if (!inside) {
    throw failure(where, "a relative path inside the folder", quote(path), "paths that lead elsewhere are refused")
  }
}

/** @throws CheckpointError when the range is not inside a file of `size` bytes */
export function checkRange(path: string, start: number, length: number, size: number): void {
  const valid = Number.isSafeInteger(start) && Number.isSafeInteger(length) && start >= 0 && length >= 0
  if (!valid || start + length > size) {
    throw failure(path, `${length} bytes from byte ${start}`, `a file of ${size} bytes`)
  }
}

/** The error of a source that has no such file. */
export function missingFile(source: string, path: string): Error {
  return failure(path, `a file in ${source}`, "none", "check the model folder, or download the file again")
}

/** A source over bytes held in memory: tests, and files that arrived whole. */
export function memorySource(files: ReadonlyMap<string, Uint8Array>, name = "memory"): FileSource {
  const find = (path: string): Uint8Array => {
    const bytes = files.get(path)
    if (bytes === undefined) throw missingFile(name, path)
    return bytes
  }
  return {
    name,
    list: async () => [...files.keys()],
    exists: async (path) => files.has(path),
    size: async (path) => find(path).byteLength,
    read: async (path, start, length) => {
      const bytes = find(path)
      checkRange(path, start, length, bytes.byteLength)
      return Uint8Array.prototype.slice.call(bytes, start, start + length)
    },
  }
}
