/** @file Whole model folders on disk: made at once or not at all, and copied in parts. */
import { copyFile, mkdir, rmdir } from "node:fs/promises"
import { dirname, join } from "node:path"
import { type FolderSource, folderSink } from "../checkpoint/index.node.ts"
import { type Checkpoint, INDEX_FILE, SINGLE_FILE, type TensorPlan, writeCheckpoint } from "../checkpoint/index.ts"
import type { Progress, TaskOptions } from "./bundle-writer.ts"
import { OWN_BUNDLE_FOLDER } from "./model-folder.ts"
import { publishFolder, refuseOccupied } from "./partial-folder.node.ts"

/** Makes a new model folder; an existing one must be empty. @throws ConfigError when it is not */
export async function makeModelFolder(
  where: string,
  directory: string,
  fill: (partial: string) => Promise<void>,
): Promise<void> {
  await refuseOccupied(where, directory)
  await mkdir(dirname(directory), { recursive: true })
  await publishFolder(directory, fill, async () => {
    await refuseOccupied(where, directory)
    await rmdir(directory)
    return false
  })
}

/** Copies everything of a model folder but weights and what was made from them. */
export async function copySmallFiles(source: FolderSource, to: string): Promise<void> {
  for (const path of await source.list()) {
    const weights = path === INDEX_FILE || path === SINGLE_FILE || path.endsWith(".safetensors")
    if (weights || path.startsWith(".") || path.startsWith(`${OWN_BUNDLE_FOLDER}/`)) continue
    await mkdir(dirname(join(to, path)), { recursive: true })
    await copyFile(join(source.name, path), join(to, path))
  }
}

/** Copies some tensors of a checkpoint into shards of their own; writes nothing when there are none. */
export async function copyTensors(
  checkpoint: Checkpoint,
  names: readonly string[],
  to: string,
  options: TaskOptions,
): Promise<void> {
  if (names.length === 0) return
  const plan = names.map((name): TensorPlan => {
    const { dtype, shape } = checkpoint.info(name)
    return { name, dtype, shape }
  })
  async function* rows({ name }: TensorPlan) {
    for await (const { tensor } of checkpoint.rowChunks(name, 8 * 2 ** 20)) {
      options.onProgress?.({ name, doneBytes: tensor.data.byteLength, totalBytes: 0 })
      yield tensor.data
    }
  }
  await writeCheckpoint(folderSink(to), plan, rows, options.signal ? { signal: options.signal } : {})
}

/** Adds up the progress of tasks that follow each other; each reports its own bytes. */
export function joinedProgress(totalBytes: number, onProgress: ((progress: Progress) => void) | undefined) {
  let before = 0
  return {
    /** For a task that reports how far it is. */
    absolute: ({ name, doneBytes }: Progress) => onProgress?.({ name, doneBytes: before + doneBytes, totalBytes }),
    /** For a task that reports each piece by itself. */
    piece: ({ name, doneBytes }: Progress) => {
      before += doneBytes
      onProgress?.({ name, doneBytes: before, totalBytes })
    },
  }
}
