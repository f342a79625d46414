/**
 * @file Where downloads lie: the cache that huggingface_hub and others share (blobs named by checksum, snapshots that
 * link to them, refs), or one plain folder. Source: "Understand caching", huggingface_hub.
 */
import { randomUUID } from "node:crypto"
import { copyFile, link, mkdir, readFile, rename, rm, stat, symlink, writeFile } from "node:fs/promises"
import { dirname, join, relative } from "node:path"
import { z } from "zod"
import type { HubFile, Listing } from "./listing.ts"
import type { DiskPart } from "./part-file.node.ts"
import { isSameFile } from "./part-file.node.ts"

/** A place for the files of one listing. */
export type Layout = {
  /** The model folder. */
  readonly folder: string
  readonly lockPath: string
  partPath(file: HubFile): string
  /** True when the file is here, whole and right. */
  has(file: HubFile, signal?: AbortSignal): Promise<boolean>
  /** Gives a finished part its place. */
  publish(file: HubFile, part: DiskPart): Promise<void>
  /** Called when all files are there. */
  finish(): Promise<void>
}

/** The folder of a model in the shared cache. */
export function repoFolder(cacheFolder: string, repo: string): string {
  return join(cacheFolder, `models--${repo.replace("/", "--")}`)
}

export function repoLock(cacheFolder: string, repo: string): string {
  return join(cacheFolder, ".locks", `models--${repo.replace("/", "--")}`, "omni.lock")
}

export function cacheLayout(cacheFolder: string, listing: Pick<Listing, "repo" | "revision" | "commit">): Layout {
  const { repo, revision, commit } = listing
  const root = repoFolder(cacheFolder, repo)
  const folder = join(root, "snapshots", commit)
  const blob = ({ checksum }: HubFile) => join(root, "blobs", checksum.hex)
  const linkIn = async (file: HubFile) => {
    const path = join(folder, file.path)
    await mkdir(dirname(path), { recursive: true })
    await replaceByLink(blob(file), path)
  }
  return {
    folder,
    lockPath: repoLock(cacheFolder, repo),
    partPath: (file) => `${blob(file)}.omni-part`,
    has: async (file) => {
      if ((await fileSize(blob(file))) === file.sizeBytes) {
        if ((await fileSize(join(folder, file.path))) !== file.sizeBytes) await linkIn(file)
        return true
      }
      // Where links cannot be made, other programs keep the file itself in the snapshot.
      return (await fileSize(join(folder, file.path))) === file.sizeBytes
    },
    publish: async (file, part) => {
      await part.publish(blob(file))
      await linkIn(file)
    },
    finish: async () => {
      if (revision !== commit) await replaceText(join(root, "refs", ...revision.split("/")), commit)
    },
  }
}

/** Our own record in a plain folder: what was pulled, and the state in which each file was left. */
const RECORD = z.object({
  repo: z.string(),
  revision: z.string(),
  commit: z.string(),
  files: z.record(z.string(), z.object({ checksum: z.string(), sizeBytes: z.number(), modifiedMs: z.number() })),
})
export type PullRecord = z.infer<typeof RECORD>

/** The record of a plain folder; undefined when it was not pulled, or the record is damaged. */
export async function readRecord(folder: string): Promise<PullRecord | undefined> {
  try {
    return RECORD.parse(JSON.parse(await readFile(recordPath(folder), "utf8")))
  } catch {
    return undefined
  }
}

const recordPath = (folder: string) => join(folder, ".omni", "pull.json")

export async function plainLayout(
  folder: string,
  { repo, revision, commit }: Pick<Listing, "repo" | "revision" | "commit">,
): Promise<Layout> {
  const known: PullRecord["files"] = { ...(await readRecord(folder))?.files }
  const note = async ({ path, sizeBytes, checksum }: HubFile) => {
    known[path] = { checksum: checksum.hex, sizeBytes, modifiedMs: (await stat(join(folder, path))).mtimeMs }
  }
  const save = () => replaceText(recordPath(folder), `${JSON.stringify({ repo, revision, commit, files: known })}\n`)
  return {
    folder,
    lockPath: join(folder, ".omni", "pull.lock"),
    partPath: ({ checksum }) => join(folder, ".omni", "parts", `${checksum.hex}.part`),
    has: async (file, signal) => {
      const path = join(folder, file.path)
      const status = await stat(path).catch(() => undefined)
      if (!status?.isFile() || status.size !== file.sizeBytes) return false
      const before = Object.hasOwn(known, file.path) ? known[file.path] : undefined
      if (before?.checksum === file.checksum.hex && before.modifiedMs === status.mtimeMs) return true
      if (!(await isSameFile(path, file, signal))) return false
      await note(file)
      return true
    },
    publish: async (file, part) => {
      await part.publish(join(folder, file.path))
      await note(file)
      await save()
    },
    finish: async () => {
      await save()
      await rm(join(folder, ".omni", "parts"), { recursive: true, force: true })
    },
  }
}

async function fileSize(path: string): Promise<number | undefined> {
  const status = await stat(path).catch(() => undefined)
  return status?.isFile() ? status.size : undefined
}

/** A link to a blob, atomically; where the system allows no symbolic links, a hard one or a copy. */
async function replaceByLink(blob: string, path: string): Promise<void> {
  const temporary = `${path}.${randomUUID()}.omni-link`
  try {
    await symlink(relative(dirname(path), blob), temporary)
      .catch(() => link(blob, temporary))
      .catch(() => copyFile(blob, temporary))
    await rename(temporary, path)
  } finally {
    await rm(temporary, { force: true })
  }
}

async function replaceText(path: string, text: string): Promise<void> {
  const temporary = `${path}.${randomUUID()}.omni-part`
  await mkdir(dirname(path), { recursive: true })
  try {
    await writeFile(temporary, text)
    await rename(temporary, path)
  } finally {
    await rm(temporary, { force: true })
  }
}
