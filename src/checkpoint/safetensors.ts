/**
 * @file Opens safetensors: one file, or a model folder in the official layout (`model.safetensors`, or shards named by
 * `model.safetensors.index.json`). Only headers are read here; tensors come later, by ranges.
 */
import { CheckpointError } from "../util/index.ts"
import { readJsonObject } from "./config-file.ts"
import { failure, quote, show } from "./fail.ts"
import { readHeader } from "./safetensors-header.ts"
import { checkPath, type FileSource } from "./source.ts"
import { type Checkpoint, createCheckpoint, type StoredTensor } from "./tensor-reader.ts"

/** The official name of an unsharded checkpoint. */
export const SINGLE_FILE = "model.safetensors"
/** The official name of the list of shards. */
export const INDEX_FILE = "model.safetensors.index.json"

/** Opens one safetensors file. @throws CheckpointError when it is missing or damaged */
export async function openSafetensors(source: FileSource, path: string): Promise<Checkpoint> {
  const { tensors, metadata } = await readHeader(source, path)
  return createCheckpoint(source, path, tensors, metadata)
}

/**
 * Opens the checkpoint of a model folder. Where both layouts exist the single file wins, as in the official loader.
 * @throws CheckpointError when there is none, or when index and shards disagree
 */
export async function openCheckpoint(source: FileSource): Promise<Checkpoint> {
  if (await source.exists(SINGLE_FILE)) return openSafetensors(source, SINGLE_FILE)
  if (await source.exists(INDEX_FILE)) return openShards(source)
  const expected = `${SINGLE_FILE} or ${INDEX_FILE}`
  throw failure(source.name, expected, "neither", "is this a model folder, and is its download complete?")
}

async function openShards(source: FileSource): Promise<Checkpoint> {
  const shardByName = await readIndex(source)
  const tensors = new Map<string, StoredTensor>()
  for (const shard of new Set(shardByName.values())) {
    if (!(await source.exists(shard))) {
      throw failure(INDEX_FILE, `the shard ${quote(shard)} in ${source.name}`, "none", "download it")
    }
    for (const [name, stored] of (await readHeader(source, shard)).tensors) {
      const listed = shardByName.get(name)
      if (listed !== shard) {
        const got = listed === undefined ? "no entry" : `an entry for ${quote(listed)}`
        throw failure(INDEX_FILE, `${quote(name)} in ${quote(shard)}, where it is stored`, got)
      }
      tensors.set(name, stored)
    }
  }
  for (const [name, shard] of shardByName) {
    if (!tensors.has(name)) throw failure(shard, `the tensor ${quote(name)} that ${INDEX_FILE} lists`, "none")
  }
  return createCheckpoint(source, INDEX_FILE, tensors, new Map())
}

/** The shard of each tensor. */
async function readIndex(source: FileSource): Promise<Map<string, string>> {
  const index = await readJsonObject(source, INDEX_FILE, (message) => new CheckpointError(message))
  const { weight_map: weightMap } = index
  if (typeof weightMap !== "object" || weightMap === null || Array.isArray(weightMap)) {
    throw failure(INDEX_FILE, "an object weight_map", show(weightMap))
  }
  const shards = new Map<string, string>()
  for (const [name, shard] of Object.entries(weightMap)) {
    if (typeof shard !== "string") throw failure(INDEX_FILE, `a file name for ${quote(name)}`, show(shard))
    checkPath(INDEX_FILE, shard)
    shards.set(name, shard)
  }
  return shards
}
