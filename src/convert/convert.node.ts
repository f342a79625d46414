/**
 * @file Converts a model folder on disk: its quantized weights become a bundle, made once and found again, or a model
 * folder of their own.
 */
import { mkdir } from "node:fs/promises"
import { availableParallelism } from "node:os"
import { join } from "node:path"
import { type FolderSource, folderSink, openFolder } from "../checkpoint/index.node.ts"
import { type Checkpoint, openCheckpoint } from "../checkpoint/index.ts"
import { ConfigError } from "../util/index.ts"
import { type Bundle, openBundle, readManifest } from "./bundle.node.ts"
import { type BundlePlan, bundleOptions, type Quantization } from "./bundle.ts"
import { type TaskOptions, writeBundle } from "./bundle-writer.ts"
import { type BundleKeys, bundleKeys } from "./fingerprint.ts"
import { copySmallFiles, copyTensors, joinedProgress, makeModelFolder } from "./model-folder.node.ts"
import { checkOwnStorage, OWN_BUNDLE_FOLDER, readComponents } from "./model-folder.ts"
import { floatWeights, type ModelWeights } from "./model-weights.ts"
import { checkSpace, exists, publishFolder, setAside } from "./partial-folder.node.ts"
import { checkBundle, componentTensors, planCheckpoint, quantizeCheckpoint } from "./quantize-checkpoint.ts"
import { localQuantizer } from "./quantize-rows.ts"
import { quantizerPool } from "./quantizer-pool.node.ts"

/** Bundles beside a checkpoint, one folder each, named by key. */
const CACHE_FOLDER = ".omni"

/** Below this, threads cost more than they save. */
const POOL_BYTES = 64 * 2 ** 20
const MAX_THREADS = 8

export type ConvertOptions = TaskOptions & {
  /** The model folder. */
  readonly directory: string
  /** `none` keeps exact floats, for which nothing has to be made. */
  readonly quantize: Quantization | "none"
  /** Elements that share an int4 scale: 32, 64 or 128. */
  readonly blockSize?: number | undefined
  /** Where bundles go when the model folder cannot be written. */
  readonly cacheDirectory?: string | undefined
  readonly threads?: number | undefined
  /** Makes a model folder of its own here, which needs the original no more. */
  readonly out?: string | undefined
}

export type ConvertResult = {
  /** Undefined for `none`. */
  readonly bundleDirectory: string | undefined
  /** True when the bundle was there already. */
  readonly reused: boolean
  readonly sizeBytes: number
  /** Of the weights it was made from; undefined where that was not looked at. */
  readonly origin?: string
}

/**
 * Makes the bundle of a model folder, or finds the one made before. Broken bundles are made again.
 * @throws ConfigError for wrong options or no place to write, CheckpointError for a bad checkpoint, the signal's reason
 *   when aborted
 */
export async function convertCheckpoint(options: ConvertOptions): Promise<ConvertResult> {
  const { directory, quantize, signal } = options
  const own = await ownBundle(directory, quantize)
  if (own && options.out === undefined) return own
  if (options.out !== undefined && (own || quantize === "none")) {
    const got = own ? "a model that is quantized already" : "none"
    throw new ConfigError(`convert: expected weights to quantize into ${options.out}, got ${got} (leave out)`)
  }
  await using source = openFolder(directory)
  const components = await readComponents(source)
  const checkpoint = await openCheckpoint(source)
  if (quantize === "none") return { bundleDirectory: undefined, reused: true, sizeBytes: 0 }
  const wanted = bundleOptions(quantize, options.blockSize)
  const specs = componentTensors(components)
  const plan = planCheckpoint(checkpoint, components, wanted)
  const keys = await bundleKeys(checkpoint, specs, wanted, signal)
  const { key, origin } = keys
  if (options.out !== undefined) {
    const rest = checkpoint.names().filter((name) => !specs.has(name))
    await convertFolder(options.out, source, { checkpoint, plan, rest, keys }, options)
    return { bundleDirectory: join(options.out, OWN_BUNDLE_FOLDER), reused: false, sizeBytes: plan.sizeBytes, origin }
  }
  const places = [join(directory, CACHE_FOLDER), ...(options.cacheDirectory ? [options.cacheDirectory] : [])]
  for (const place of places) {
    const bundleDirectory = join(place, key)
    if (isWholeBundle(bundleDirectory, key)) return { bundleDirectory, reused: true, sizeBytes: plan.sizeBytes, origin }
  }
  const bundleDirectory = join(await firstWritable(places), key)
  await checkSpace(bundleDirectory, plan.sizeBytes)
  const make = (partial: string) => quantizeInto(partial, checkpoint, plan, { ...options, ...keys, sourceless: false })
  await publishFolder(bundleDirectory, make, async (existing) => {
    if (isWholeBundle(existing, key)) return true
    await setAside(existing)
    return false
  })
  return { bundleDirectory, reused: false, sizeBytes: plan.sizeBytes, origin }
}

/**
 * The weights of a model folder, ready to run: a bundle, made when missing, or floats in memory for `none`.
 * @throws as `convertCheckpoint`
 */
export async function openModelWeights(options: ConvertOptions): Promise<ModelWeights> {
  const { bundleDirectory, origin } = await convertCheckpoint(options)
  await using source = openFolder(options.directory)
  const components = await readComponents(source)
  if (bundleDirectory !== undefined) {
    const bundle = openBundle(bundleDirectory)
    try {
      checkBundle(bundle.manifest, components, bundleDirectory)
    } catch (error) {
      bundle.close()
      throw error
    }
    return origin === undefined ? bundle : { ...bundle, origin }
  }
  return await floatWeights(await openCheckpoint(source), componentTensors(components), {
    ownedPrefixes: components.map(({ prefix }) => prefix),
    signal: options.signal,
  })
}

/** What becomes of a checkpoint: the plan's tensors are quantized, the rest is copied. */
type Conversion = {
  readonly checkpoint: Checkpoint
  readonly plan: BundlePlan
  readonly rest: readonly string[]
  readonly keys: BundleKeys
}

async function convertFolder(
  out: string,
  source: FolderSource,
  { checkpoint, plan, rest, keys }: Conversion,
  { onProgress, signal, threads }: ConvertOptions,
): Promise<void> {
  const restBytes = rest.reduce((sum, name) => sum + checkpoint.info(name).sizeBytes, 0)
  await checkSpace(out, restBytes + plan.sizeBytes)
  const progress = joinedProgress(restBytes + plan.sizeBytes, onProgress)
  await makeModelFolder("convert", out, async (partial) => {
    await copySmallFiles(source, partial)
    await copyTensors(checkpoint, rest, partial, { onProgress: progress.piece, signal })
    const bundle = join(partial, OWN_BUNDLE_FOLDER)
    await quantizeInto(bundle, checkpoint, plan, {
      ...keys,
      sourceless: true,
      onProgress: progress.absolute,
      signal,
      threads,
    })
  })
}

/** Quantizes into a folder, on threads where there is much to do. */
async function quantizeInto(
  directory: string,
  checkpoint: Checkpoint,
  plan: BundlePlan,
  options: TaskOptions & BundleKeys & { readonly sourceless: boolean; readonly threads?: number | undefined },
): Promise<void> {
  const threads = Math.max(1, Math.min(MAX_THREADS, options.threads ?? availableParallelism()))
  if (plan.sizeBytes < POOL_BYTES) {
    const pieces = quantizeCheckpoint(checkpoint, plan, localQuantizer, options.signal)
    await writeBundle(folderSink(directory), plan, pieces, options)
    return
  }
  await using pool = quantizerPool(threads)
  const pieces = quantizeCheckpoint(checkpoint, plan, pool, options.signal)
  await writeBundle(folderSink(directory), plan, pieces, options)
}

/** The bundle of a folder that has no other weights, when it serves the wish. */
async function ownBundle(directory: string, quantize: Quantization | "none"): Promise<ConvertResult | undefined> {
  const bundleDirectory = join(directory, OWN_BUNDLE_FOLDER)
  if (!(await exists(bundleDirectory))) return undefined
  const manifest = readManifest(bundleDirectory)
  checkOwnStorage(directory, manifest, quantize)
  return { bundleDirectory, reused: true, sizeBytes: manifest.sizeBytes }
}

function isWholeBundle(directory: string, key: string): boolean {
  try {
    using bundle: Bundle = openBundle(directory)
    return bundle.manifest.key === key
  } catch {
    return false // missing, damaged or of another version: it is made again
  }
}

async function firstWritable(places: readonly string[]): Promise<string> {
  for (const place of places) {
    const made = await mkdir(place, { recursive: true }).then(
      () => true,
      () => false,
    )
    if (made && (await canWrite(place))) return place
  }
  throw new ConfigError(`convert: expected a folder that can be written, got ${places.join(", ")} (check permissions)`)
}

/** Tried out: permission bits do not tell everything, such as read-only mounts. */
async function canWrite(place: string): Promise<boolean> {
  const probe = await folderSink(place)
    .create("probe")
    .catch(() => undefined)
  await probe?.abort()
  return probe !== undefined
}
