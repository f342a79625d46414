/** @file Names that come from people and servers: models, revisions, files. What could lead out of a folder is refused. */
import { checkPath } from "../checkpoint/index.ts"
import { CheckpointError, ConfigError } from "../util/index.ts"

/** A model of a hub: `org/name`, and a branch, tag or commit. */
export type ModelName = { readonly repo: string; readonly revision: string }

export const DEFAULT_REVISION = "main"

const REPO = /^[A-Za-z0-9][\w.-]{0,95}\/[A-Za-z0-9][\w.-]{0,95}$/
const REVISION = /^\w[\w.-]*(\/\w[\w.-]*)*$/
const LONGEST_PATH = 1000
const LONGEST_PART = 255

/** True for what looks like a place on disk: such a name is never looked up in a hub. */
export function isPathLike(name: string): boolean {
  return /^([./\\~]|[A-Za-z]:)/.test(name) || name.split(/[/\\]/).length > 2 || name.includes("\\")
}

/** `org/name` or `org/name@revision`; undefined for anything else. */
export function parseModelName(name: string): ModelName | undefined {
  const at = name.indexOf("@")
  const [repo, revision] = at < 0 ? [name, DEFAULT_REVISION] : [name.slice(0, at), name.slice(at + 1)]
  const valid = REPO.test(repo) && !/--|\.\./.test(repo) && isRevision(revision)
  return valid ? { repo, revision } : undefined
}

function isRevision(text: string): boolean {
  return REVISION.test(text) && text.length <= LONGEST_PART && !text.includes("..") && !/\.lock(\/|$)/.test(text)
}

/** @param revision replaces the one in the name. @throws ConfigError for anything that is no name of a hub's model */
export function checkModelName(name: string, revision?: string): ModelName {
  const parsed = parseModelName(name)
  if (!parsed) throw new ConfigError(`model: expected org/name or org/name@revision, got ${JSON.stringify(name)}`)
  if (revision === undefined) return parsed
  if (isRevision(revision)) return { ...parsed, revision }
  throw new ConfigError(`revision: expected a branch, tag or commit, got ${JSON.stringify(revision)}`)
}

/** True for a full commit id, which means the same files for ever. */
export function isCommit(revision: string): boolean {
  return /^[0-9a-f]{40}$/.test(revision)
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for
const BAD_CHARACTERS = /[\u0000-\u001f<>:"|?*\\\u007f]/
const DEVICE_NAMES = /^(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$)(\.|$)/i

/**
 * Checks the names of files that a server lists: each stays inside its folder, can exist on every platform, and no two
 * are one file where case or accents do not count.
 * @throws CheckpointError naming the first that does not hold
 */
export function checkFileNames(where: string, paths: readonly string[]): void {
  const refuse = (path: string, why: string) =>
    new CheckpointError(
      `${where}: expected file names that are safe on every system, got ${JSON.stringify(path.slice(0, 200))} (${why})`,
    )
  const seen = new Map<string, string>()
  const folders = new Map<string, string>()
  for (const path of paths) {
    checkPath(where, path)
    if (path.length > LONGEST_PATH) throw refuse(path, `longer than ${LONGEST_PATH} characters`)
    const parts = path.split("/")
    for (const part of parts) {
      if (BAD_CHARACTERS.test(part) || !part.isWellFormed()) throw refuse(path, "a character that Windows refuses")
      if (DEVICE_NAMES.test(part)) throw refuse(path, "the name of a device on Windows")
      if (/[. ]$/.test(part)) throw refuse(path, "ends in a dot or a space")
      if (new TextEncoder().encode(part).length > LONGEST_PART) throw refuse(path, `longer than ${LONGEST_PART} bytes`)
    }
    const folded = fold(path)
    if (folded === ".omni" || folded.startsWith(".omni/")) throw refuse(path, "kept for our own files")
    const twin = seen.get(folded)
    if (twin !== undefined) throw refuse(path, `the same as ${JSON.stringify(twin)} on some systems`)
    seen.set(folded, path)
    for (let i = 1; i < parts.length; i++) folders.set(fold(parts.slice(0, i).join("/")), path)
  }
  for (const [folded, path] of seen) {
    const inside = folders.get(folded)
    if (inside !== undefined) throw refuse(path, `a file and the folder of ${JSON.stringify(inside)}`)
  }
}

/** One spelling for names that are the same file where case and accents do not count. */
function fold(path: string): string {
  return path.normalize("NFC").toLowerCase().normalize("NFC")
}
