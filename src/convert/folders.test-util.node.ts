/** @file Folders that this folder's tests work in. */
import { cpSync, mkdtempSync, readdirSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll } from "vitest"

/** A checkpoint in the official layout. */
export const CHECKPOINT = join(import.meta.dirname, "../../test/fixtures/tiny-a/checkpoint")

/** Makes new folders, which are removed after the tests of the file. */
export function temporaryFolders(): () => string {
  const made: string[] = []
  afterAll(() => {
    for (const path of made) rmSync(path, { recursive: true, force: true })
  })
  return () => {
    const path = mkdtempSync(join(tmpdir(), "omni-convert-"))
    made.push(path)
    return path
  }
}

/** A copy of the checkpoint that may be changed. */
export function copyCheckpoint(to: string): string {
  cpSync(CHECKPOINT, to, { recursive: true })
  return to
}

/** All files below a folder, relative. */
export function filesBelow(path: string): string[] {
  return readdirSync(path, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(path.length + 1))
    .sort()
}
