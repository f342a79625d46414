/** @file A model folder that a person picked in a browser: the handle of a folder, or its files. */
import { CheckpointError, errorText } from "../util/index.ts"
import { failure } from "./fail.ts"
import { checkPath, checkRange, type FileSource, missingFile } from "./source.ts"

/** A file by its path below the folder. */
export type PickedFile = { readonly path: string; readonly file: Blob }

/** A source over a folder's handle (`showDirectoryPicker`). Files are opened once. */
export function openFolderHandle(handle: FileSystemDirectoryHandle): FileSource {
  return blobSource(handle.name, async (path) => {
    const folders = path.split("/")
    const last = folders.pop()!
    try {
      let folder = handle
      for (const part of folders) folder = await folder.getDirectoryHandle(part)
      return await (await folder.getFileHandle(last)).getFile()
    } catch (cause) {
      const name = cause instanceof Error ? cause.name : ""
      if (name === "NotFoundError" || name === "TypeMismatchError") return undefined
      throw unreadable(path, cause)
    }
  })
}

/** A source over the files of a folder (`<input type="file" webkitdirectory>`). */
export function openPickedFiles(name: string, files: readonly PickedFile[]): FileSource {
  const byPath = new Map(files.map(({ path, file }) => [path, file]))
  return blobSource(name, async (path) => byPath.get(path))
}

function blobSource(name: string, find: (path: string) => Promise<Blob | undefined>): FileSource {
  const files = new Map<string, Promise<Blob | undefined>>()
  const found = (path: string): Promise<Blob | undefined> => {
    let file = files.get(path)
    if (file === undefined) {
      checkPath(name, path)
      file = find(path)
      files.set(path, file)
      file.catch(() => files.delete(path))
    }
    return file
  }
  const open = async (path: string): Promise<Blob> => {
    const file = await found(path)
    if (file) return file
    throw missingFile(name, path)
  }
  return {
    name,
    exists: async (path) => (await found(path)) !== undefined,
    size: async (path) => (await open(path)).size,
    read: async (path, start, length) => {
      const file = await open(path)
      checkRange(path, start, length, file.size)
      let bytes: Uint8Array
      try {
        bytes = new Uint8Array(await file.slice(start, start + length).arrayBuffer())
      } catch (cause) {
        throw unreadable(path, cause)
      }
      if (bytes.length !== length)
        throw failure(path, `${length} bytes from byte ${start}`, `an end after ${bytes.length}`)
      return bytes
    },
  }
}

function unreadable(path: string, cause: unknown): CheckpointError {
  const advice = "did it change since it was picked? Pick the folder again"
  return new CheckpointError(`${path}: expected a readable file, got: ${errorText(cause)} (${advice})`, { cause })
}
