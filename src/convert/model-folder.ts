/**
 * @file Model folders wherever they lie: what their weights are, floats in shards or a bundle that lies in a folder of its own
 * beside the small files and the vocoder.
 */
import { type FileSource, openCheckpoint, readJsonObject, shapesOf } from "../checkpoint/index.ts"
import { type Component, componentSpecs } from "../models/minicpmo/index.ts"
import { CheckpointError, ConfigError } from "../util/index.ts"
import { BUNDLE_FILE, type BundleManifest, parseManifest, type Quantization } from "./bundle.ts"
import { storedShapes } from "./model-weights.ts"

/** The bundle of a folder whose weights exist quantized alone. */
export const OWN_BUNDLE_FOLDER = "bundle"

/**
 * What the bundle of such a folder holds; undefined where the weights are floats.
 * @throws CheckpointError as `parseManifest`
 */
export async function readOwnManifest(source: FileSource): Promise<BundleManifest | undefined> {
  const path = `${OWN_BUNDLE_FOLDER}/${BUNDLE_FILE}`
  if (!(await source.exists(path))) return undefined
  const json = await readJsonObject(source, path, (message) => new CheckpointError(message))
  return parseManifest(json, `${source.name}/${path}`)
}

/** @throws ConfigError when a folder that exists quantized alone does not serve the wish */
export function checkOwnStorage(where: string, { options }: BundleManifest, wish: Quantization | "none"): void {
  if (wish !== "none" && wish.split("+").every((kind) => options.quantize.split("+").includes(kind))) return
  throw new ConfigError(
    `${where}: expected weights for ${wish}, got a model that exists as ${options.quantize} alone ` +
      "(choose that, or take the original model)",
  )
}

/**
 * The components of a model folder, whether its weights are floats or a bundle alone.
 * @throws ConfigError and CheckpointError as `componentSpecs`, and when there are no weights
 */
export async function readComponents(source: FileSource): Promise<Component[]> {
  const config = await readJsonObject(source, "config.json")
  const manifest = await readOwnManifest(source)
  const shapeOf = manifest ? storedShapes(manifest) : shapesOf(await openCheckpoint(source))
  return componentSpecs(config, shapeOf, `${source.name}/config.json`)
}
