/** @file Models on this machine: finding one by its name, listing them, removing one. Nothing here uses the network. */
import type { Dirent } from "node:fs"
import { readdir, readFile, realpath, rm, stat } from "node:fs/promises"
import { basename, join, resolve } from "node:path"
import { CheckpointError, ConfigError } from "../util/index.ts"
import { readRecord, repoFolder, repoLock } from "./layout.node.ts"
import { takeLock } from "./lock.node.ts"
import { isCommit, isPathLike, type ModelName, parseModelName } from "./names.ts"
import { missingFiles } from "./select.ts"

/** Where models are looked for. */
export type ModelPlaces = {
  /** The shared cache. */
  readonly cacheFolder: string
  /** Models that come with the program: folders by name. */
  readonly embedded: { readonly [name: string]: string }
}

/** A model on disk. */
export type LocalModel = {
  /** What `--model` takes to mean it. */
  readonly name: string
  readonly folder: string
  readonly repo: string | undefined
  readonly revision: string | undefined
  readonly commit: string | undefined
  /** On disk, parts of downloads and quantized weights included. */
  readonly sizeBytes: number
  /** Files that it lacks to be loaded. */
  readonly missing: readonly string[]
  /** Keys of quantized weights made from it. */
  readonly bundles: readonly string[]
}

/**
 * The folder that a model's name means: an existing folder, a model that comes with the program, or one that was pulled.
 * @throws CheckpointError saying what was tried and what to do
 */
export async function resolveModel(name: string, { cacheFolder, embedded }: ModelPlaces): Promise<string> {
  if (await isFolder(name)) return resolve(name)
  const own = Object.hasOwn(embedded, name) ? embedded[name] : undefined
  if (own !== undefined && (await isFolder(own))) return own
  const parsed = isPathLike(name) ? undefined : parseModelName(name)
  if (!parsed) {
    const advice = own === undefined ? "" : ", which this copy of the program lacks"
    throw new CheckpointError(
      `${name}: expected a model folder with a config.json, got none${advice} (give the folder of a checkpoint, make ` +
        "one with omni init, or fetch one with omni pull org/name)",
    )
  }
  const snapshot = await findSnapshot(cacheFolder, parsed)
  const missing = snapshot && (await missingModelFiles(snapshot.folder))
  if (snapshot && missing?.length === 0) return snapshot.folder
  const again = missing ? "fetch the rest" : "fetch it"
  const got = missing ? `${snapshot.folder} without ${missing.slice(0, 3).join(", ")}` : "neither"
  throw new CheckpointError(
    `${name}: expected a folder of that name or a whole model in ${repoFolder(cacheFolder, parsed.repo)}, got ${got} ` +
      `(${again} with omni pull ${name}, or give the folder of a checkpoint)`,
  )
}

type Snapshot = { readonly folder: string; readonly commit: string }

async function findSnapshot(cacheFolder: string, { repo, revision }: ModelName): Promise<Snapshot | undefined> {
  const root = repoFolder(cacheFolder, repo)
  const ref = await readFile(join(root, "refs", ...revision.split("/")), "utf8").catch(() => revision)
  const commit = ref.trim()
  const folder = join(root, "snapshots", commit)
  return isCommit(commit) && (await isFolder(folder)) ? { folder, commit } : undefined
}

/** A pulled revision that lacks nothing. */
export async function completeSnapshot(
  cacheFolder: string,
  name: ModelName,
): Promise<(Snapshot & { readonly files: number; readonly sizeBytes: number }) | undefined> {
  const snapshot = await findSnapshot(cacheFolder, name)
  if (!snapshot || (await missingModelFiles(snapshot.folder)).length > 0) return undefined
  const files = (await walk(snapshot.folder)).filter((path) => !path.startsWith(join(snapshot.folder, ".omni")))
  return { ...snapshot, files: files.length, sizeBytes: (await diskUse(files)).bytes }
}

/** What was pulled into a plain folder, where it is this revision and lacks nothing; sizes are compared, not contents. */
export async function completeFolder(
  folder: string,
  { repo, revision }: ModelName,
): Promise<(Snapshot & { readonly files: number; readonly sizeBytes: number }) | undefined> {
  const record = await readRecord(folder)
  if (record?.repo !== repo || (record.revision !== revision && record.commit !== revision)) return undefined
  const files = Object.entries(record.files)
  const isHere = async ([path, { sizeBytes }]: (typeof files)[number]) => {
    const status = await stat(join(folder, path)).catch(() => undefined)
    return status?.isFile() === true && status.size === sizeBytes
  }
  if (!(await Promise.all(files.map(isHere))).every(Boolean)) return undefined
  if ((await missingModelFiles(folder)).length > 0) return undefined
  const sizeBytes = files.reduce((sum, [, file]) => sum + file.sizeBytes, 0)
  return { folder, commit: record.commit, files: files.length, sizeBytes }
}

/** What a folder lacks to be loaded, as `missingFiles` tells it. */
export function missingModelFiles(folder: string): Promise<string[]> {
  const has = async (path: string) => (await stat(join(folder, path)).catch(() => undefined))?.isFile() ?? false
  return missingFiles(has, () => readFile(join(folder, "model.safetensors.index.json"), "utf8"))
}

/**
 * The models of the cache, those that come with the program, and the folders given. Models of other kinds, which other
 * programs keep in the same cache, are left out.
 */
export async function listModels(places: ModelPlaces, folders: readonly string[] = []): Promise<LocalModel[]> {
  const found: LocalModel[] = []
  for (const [name, folder] of Object.entries(places.embedded)) {
    if (await isFolder(folder)) found.push(await plainModel(name, folder))
  }
  for (const folder of folders) {
    if (!(await isFolder(folder))) throw new ConfigError(`${folder}: expected a folder, got none (check the path)`)
    found.push(await plainModel(folder, resolve(folder)))
  }
  for (const entry of await entries(places.cacheFolder)) {
    const repo = /^models--(.+?)--(.+)$/.exec(entry.name)
    if (!entry.isDirectory() || !repo) continue
    found.push(...(await cachedModels(places.cacheFolder, `${repo[1]}/${repo[2]}`)))
  }
  return found
}

async function plainModel(name: string, folder: string): Promise<LocalModel> {
  const record = await readRecord(folder)
  return {
    name,
    folder,
    repo: record?.repo,
    revision: record?.revision,
    commit: record?.commit,
    sizeBytes: (await diskUse(await walk(folder))).bytes,
    missing: await missingModelFiles(folder),
    bundles: await bundlesOf(folder),
  }
}

async function cachedModels(cacheFolder: string, repo: string): Promise<LocalModel[]> {
  if (!parseModelName(repo)) return []
  const root = repoFolder(cacheFolder, repo)
  const refs = new Map<string, string>()
  for (const path of await walk(join(root, "refs"))) {
    const revision = path.slice(join(root, "refs").length + 1).replaceAll("\\", "/")
    refs.set((await readFile(path, "utf8").catch(() => "")).trim(), revision)
  }
  const models: LocalModel[] = []
  for (const { name: commit } of await entries(join(root, "snapshots"))) {
    const folder = join(root, "snapshots", commit)
    if (!isCommit(commit) || !(await isOurKind(folder))) continue
    const revision = refs.get(commit)
    const files = await walk(folder)
    models.push({
      name: revision === "main" ? repo : `${repo}@${revision ?? commit}`,
      ...{ folder, repo, revision, commit },
      sizeBytes: (await diskUse(files)).bytes,
      missing: await missingModelFiles(folder),
      bundles: await bundlesOf(folder),
    })
  }
  const parts = (await entries(join(root, "blobs"))).filter(({ name }) => name.endsWith(".omni-part"))
  const [first] = models
  if (parts.length > 0) {
    const { bytes } = await diskUse(parts.map(({ name }) => join(root, "blobs", name)))
    if (first && models.length === 1) return [{ ...first, sizeBytes: first.sizeBytes + bytes }]
    if (!first) {
      const nothing = { repo, revision: undefined, commit: undefined, missing: ["config.json"], bundles: [] }
      return [{ name: repo, folder: root, ...nothing, sizeBytes: bytes }]
    }
  }
  return models
}

/** Whether a snapshot is of this architecture; one whose config has not come yet may be. */
async function isOurKind(folder: string): Promise<boolean> {
  const text = await readFile(join(folder, "config.json"), "utf8").catch(() => undefined)
  if (text === undefined) return false
  try {
    return (JSON.parse(text) as { model_type?: unknown } | null)?.model_type === "minicpmo"
  } catch {
    return true // damaged: it is shown, so that it can be mended or removed
  }
}

async function bundlesOf(folder: string): Promise<string[]> {
  const made = (await entries(join(folder, ".omni"))).filter((entry) => entry.isDirectory())
  const keys = made.map(({ name }) => name).filter((name) => /^[0-9a-f]{32}$/.test(name))
  const own = (await isFolder(join(folder, "bundle"))) ? ["bundle"] : []
  return [...own, ...keys.map((key) => join(".omni", key))]
}

/**
 * Removes a model from the cache: all its revisions and parts.
 * @param name exactly its repository's name, which is the confirmation
 * @throws ConfigError when no such model is there
 */
export async function removeModel(cacheFolder: string, name: string, signal?: AbortSignal): Promise<number> {
  const parsed = parseModelName(name)
  const models = parsed && !name.includes("@") ? await cachedModels(cacheFolder, name) : []
  if (!parsed || models.length === 0) {
    throw new ConfigError(
      `${name}: expected the exact name org/name of a model in ${cacheFolder}, got none (omni models lists them; ` +
        "folders of your own are yours to remove)",
    )
  }
  const root = repoFolder(cacheFolder, name)
  await using _lock = await takeLock(repoLock(cacheFolder, name), { signal })
  const { bytes } = await diskUse(await walk(root))
  // Snapshots first: what is left after an interruption is then no model any more.
  await rm(join(root, "snapshots"), { recursive: true, force: true })
  await rm(root, { recursive: true, force: true })
  return bytes
}

async function isFolder(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined))?.isDirectory() ?? false
}

async function entries(folder: string): Promise<Dirent[]> {
  return await readdir(folder, { withFileTypes: true }).catch(() => [])
}

/** All files below a folder, links not followed into other folders. */
async function walk(folder: string): Promise<string[]> {
  const found: string[] = []
  for (const entry of await entries(folder)) {
    const path = join(folder, entry.name)
    if (entry.isDirectory()) found.push(...(await walk(path)))
    else if (basename(path) !== "pull.lock") found.push(path)
  }
  return found
}

/** Bytes of files, each counted once however many links lead to it. */
async function diskUse(paths: readonly string[]): Promise<{ readonly bytes: number }> {
  const seen = new Set<string>()
  let bytes = 0
  for (const path of paths) {
    const real = await realpath(path).catch(() => undefined)
    if (real === undefined || seen.has(real)) continue
    seen.add(real)
    bytes += (await stat(real)).size
  }
  return { bytes }
}
