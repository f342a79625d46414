/**
 * @file A folder that files are written into, each appearing whole or not at all, and the in-memory one.
 */

import { concatenate } from "../util/index.ts"
import { checkPath } from "./source.ts"

/** One file being written. Nothing is visible under its name before `commit`. */
export type FileWriter = {
  /** Appends; the bytes may be reused by the caller once the promise resolves. */
  write(bytes: Uint8Array): Promise<void>
  /** Makes the file appear under its name, replacing an older one in one step. */
  commit(): Promise<void>
  /** Throws away what was written; does nothing after `commit`. */
  abort(): Promise<void>
}

/** A folder of files being written. Paths are relative, with `/`. */
export type FileSink = {
  /** What messages call the folder. */
  readonly name: string
  create(path: string): Promise<FileWriter>
  /** Removes a file; does nothing when it is absent. */
  remove(path: string): Promise<void>
}

/** Writes one file through `body`: committed when it resolves, thrown away when it rejects. */
export async function writeFile(
  sink: FileSink,
  path: string,
  body: (writer: FileWriter) => Promise<void>,
): Promise<void> {
  const writer = await sink.create(path)
  try {
    await body(writer)
    await writer.commit()
  } catch (error) {
    await writer.abort()
    throw error
  }
}

/** Writes a small text file at once. */
export async function writeText(sink: FileSink, path: string, text: string): Promise<void> {
  await writeFile(sink, path, (writer) => writer.write(new TextEncoder().encode(text)))
}

/** A sink that fills `files`, which `memorySource` can read. */
export function memorySink(files: Map<string, Uint8Array>, name = "memory"): FileSink {
  return {
    name,
    create: async (path) => {
      checkPath(name, path)
      const pieces: Uint8Array[] = []
      return {
        write: async (bytes) => void pieces.push(bytes.slice()),
        commit: async () => void files.set(path, concatenate(pieces)),
        abort: async () => {},
      }
    },
    remove: async (path) => void files.delete(path),
  }
}
