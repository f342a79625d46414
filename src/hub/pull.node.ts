/** @file Pulls a model: lists, checks names and space, fetches what is missing, several files at once, under a lock. */
import { stat } from "node:fs/promises"
import { setTimeout as sleep } from "node:timers/promises"
import { ConfigError } from "../util/index.ts"
import { completeFolder, completeSnapshot } from "./cache.node.ts"
import { fetchFile } from "./fetch-file.ts"
import { cacheLayout, type Layout, plainLayout } from "./layout.node.ts"
import { type HubFile, type Listing, listRepo } from "./listing.ts"
import { takeLock } from "./lock.node.ts"
import { checkFileNames, checkModelName, type ModelName } from "./names.ts"
import { checkSpace, type DiskPart, openPart } from "./part-file.node.ts"
import { createMeter, type PullProgress } from "./progress.ts"
import { checkEndpoint, type HubAccess } from "./requests.ts"
import { type Selection, selectFiles } from "./select.ts"

/** Files fetched at once. */
const PARALLEL = 4
const ATTEMPTS = 8
const STALL_MS = 60_000

export type PullOptions = Selection & {
  /** `org/name` or `org/name@revision`. */
  readonly model: string
  /** Branch, tag or commit; replaces the one in `model`. */
  readonly revision?: string | undefined
  readonly endpoint: string
  readonly token?: string | undefined
  /** The shared cache. */
  readonly cacheFolder: string
  /** A plain folder instead of the cache. */
  readonly directory?: string | undefined
  /** Asks nobody; what is in the cache, or the plain folder, has to do. */
  readonly offline?: boolean | undefined
  readonly signal?: AbortSignal | undefined
  readonly onProgress?: ((progress: PullProgress) => void) | undefined
  /** A line for people: waiting, trying again. */
  readonly onNote?: ((line: string) => void) | undefined
  /** Replaced in tests. */
  readonly hub?: Partial<Omit<HubAccess, "endpoint" | "token">> | undefined
}

export type PullResult = {
  readonly directory: string
  readonly repo: string
  readonly revision: string
  readonly commit: string
  readonly files: number
  readonly sizeBytes: number
  /** What came over the network now. */
  readonly downloadedBytes: number
}

/**
 * Makes a model complete on this machine.
 * @throws ConfigError for a wrong name, no access, no space; CheckpointError for unsafe names and wrong checksums; a
 *   network error when the hub cannot be reached; the signal's reason. Parts stay for the next time.
 */
export async function pullModel(options: PullOptions): Promise<PullResult> {
  const { cacheFolder, directory, signal, onNote } = options
  const name = checkModelName(options.model, options.revision)
  if (options.offline === true) return pulledBefore(name, options)
  const hub = hubAccess(options)
  const listing = await listRepo(hub, name, signal)
  const where = `${name.repo}@${name.revision}`
  const files = selectFiles(where, listing.files, options)
  checkFileNames(
    where,
    files.map(({ path }) => path),
  )
  const layoutOf = () => (directory === undefined ? cacheLayout(cacheFolder, listing) : plainLayout(directory, listing))
  const { lockPath } = await layoutOf()
  await using lock = await takeLock(lockPath, {
    signal,
    // Who has just begun has not written its number yet.
    onWait: (pid) => onNote?.(`${where}: waiting for ${pid ? `the process ${pid}` : "a process"}, which is pulling it`),
  })
  // Again, now that nobody else writes: the record of a plain folder may have changed while we waited.
  const layout = await layoutOf()
  const downloadedBytes = await fetchAll(hub, listing, files, layout, { ...options, check: lock.check })
  await layout.finish()
  const sizeBytes = files.reduce((sum, file) => sum + file.sizeBytes, 0)
  return {
    ...{ directory: layout.folder, ...name, commit: listing.commit },
    ...{ files: files.length, sizeBytes, downloadedBytes },
  }
}

function hubAccess({ endpoint, token, hub, onNote }: PullOptions): HubAccess {
  if (token !== undefined && !/^[\x21-\x7e]+$/.test(token))
    throw new ConfigError("HF_TOKEN: expected a token without spaces, got something else (copy it again)")
  return {
    fetch: globalThis.fetch,
    sleep: (delayMs, signal) =>
      sleep(delayMs, undefined, { signal }).catch((error: unknown) => {
        throw signal?.aborted ? signal.reason : error
      }),
    random: Math.random,
    stallMs: STALL_MS,
    attempts: ATTEMPTS,
    onRetry: (problem, delayMs) => onNote?.(`${problem}; trying again in ${(delayMs / 1000).toFixed(1)} s`),
    ...hub,
    endpoint: checkEndpoint(endpoint),
    token,
  }
}

async function pulledBefore(name: ModelName, { cacheFolder, directory }: PullOptions): Promise<PullResult> {
  const found = await (directory === undefined ? completeSnapshot(cacheFolder, name) : completeFolder(directory, name))
  if (found) {
    const { folder, commit, files, sizeBytes } = found
    return { directory: folder, ...name, commit, files, sizeBytes, downloadedBytes: 0 }
  }
  throw new ConfigError(
    `${name.repo}@${name.revision}: expected a complete copy in ${directory ?? cacheFolder} while HF_HUB_OFFLINE is set, ` +
      "got none (unset HF_HUB_OFFLINE to download)",
  )
}

type FetchAll = PullOptions & { readonly check: () => Promise<void> }

/** Fetches what is missing, smallest files first, and stops all when one fails. @returns bytes that were fetched */
async function fetchAll(
  hub: HubAccess,
  listing: Listing,
  files: readonly HubFile[],
  layout: Layout,
  { signal, onProgress, check }: FetchAll,
): Promise<number> {
  const failure = new AbortController()
  const stop = signal ? AbortSignal.any([signal, failure.signal]) : failure.signal
  const meter = createMeter(files, () => performance.now(), onProgress)
  const missing: HubFile[] = []
  for (const file of files) {
    stop.throwIfAborted()
    if (await layout.has(file, stop)) meter.has(file)
    else missing.push(file)
  }
  // Files of the same content have one part: the second waits for the first.
  const groups = [...Map.groupBy(missing, (file) => layout.partPath(file)).values()]
  groups.sort(([a], [b]) => a!.sizeBytes - b!.sizeBytes)
  await using parts = new AsyncDisposableStack()
  const toFetch = await neededBytes(groups, layout)
  await checkSpace(layout.folder, toFetch)
  const fetchOne = async (file: HubFile) => {
    if (await layout.has(file, stop)) return meter.has(file)
    const part: DiskPart = await openPart(layout.partPath(file), file, check, stop)
    parts.defer(() => part.close())
    meter.start(file, part.sizeBytes)
    const onBytes = () => meter.update(file, part.sizeBytes)
    await fetchFile(hub, listing, file, part, { signal: stop, onBytes })
    await layout.publish(file, part)
    meter.finish(file)
  }
  const worker = async () => {
    for (let group = groups.shift(); group !== undefined; group = groups.shift()) {
      for (const file of group) await fetchOne(file)
    }
  }
  const workers = Array.from({ length: Math.min(PARALLEL, groups.length) }, () =>
    worker().catch((error: unknown) => {
      failure.abort(error)
    }),
  )
  await Promise.all(workers)
  signal?.throwIfAborted()
  if (failure.signal.aborted) throw failure.signal.reason
  return meter.fetchedBytes()
}

/** What has yet to be written: parts that exist are on the disk already. */
async function neededBytes(groups: readonly HubFile[][], layout: Layout): Promise<number> {
  let total = 0
  for (const [file] of groups) {
    const status = await stat(layout.partPath(file!)).catch(() => undefined)
    total += Math.max(0, file!.sizeBytes - (status?.size ?? 0))
  }
  return total
}
