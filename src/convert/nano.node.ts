/**
 * @file `nano`, the model that works without a download: made once by {@link initCheckpoint} and kept in a cache folder.
 * Its weights are random until a trained one ships with the program.
 */
import { createHash } from "node:crypto"
import { mkdir, stat } from "node:fs/promises"
import { dirname, join } from "node:path"
import { ConfigError, errorText } from "../util/index.ts"
import type { TaskOptions } from "./bundle-writer.ts"
import { initCheckpoint } from "./init.node.ts"
import { exists, removeAbandoned, setAside } from "./partial-folder.node.ts"
import { modelPlan } from "./presets.ts"

/** Changes when `initCheckpoint` makes other files of the same plan; a change of the plan is seen without it. */
const VERSION = 1

/** Without one of these the folder is damaged, and made again. */
const ESSENTIAL = ["config.json", "tokenizer.json", "model.safetensors"]

/** Where `nano` lies in a cache folder; programs of other versions may keep another one beside it. */
export function nanoFolder(cacheFolder: string): string {
  const plan = JSON.stringify([VERSION, modelPlan("nano")])
  const key = createHash("sha256").update(plan).digest("hex").slice(0, 12)
  return join(cacheFolder, "embedded", key, "nano")
}

/**
 * The folder of `nano`, made when it is missing (2 s, 25 MB). It appears whole or not at all, and when several processes
 * make it at once all end up with the same one.
 * @param cacheFolder a folder for what can be made again; it need not exist
 * @throws ConfigError when the folder cannot be written or the disk is full, the signal's reason when aborted
 */
export async function ensureNano(cacheFolder: string, options: TaskOptions = {}): Promise<string> {
  const directory = nanoFolder(cacheFolder)
  try {
    await removeAbandoned(directory)
    if (await isWhole(directory)) return directory
    await mkdir(dirname(directory), { recursive: true })
  } catch (cause) {
    throw new ConfigError(
      `${cacheFolder}: expected a folder to keep the model nano in, got ${errorText(cause)} (set XDG_CACHE_HOME to one that can be written)`,
      { cause },
    )
  }
  if (await exists(directory)) await setAside(directory)
  try {
    await initCheckpoint({ ...options, directory, preset: "nano", seed: 0 })
  } catch (error) {
    // Another process that was faster is no failure.
    if (options.signal?.aborted || !(await isWhole(directory))) throw error
  }
  return directory
}

async function isWhole(directory: string): Promise<boolean> {
  const files = await Promise.all(ESSENTIAL.map((name) => stat(join(directory, name)).catch(() => undefined)))
  return files.every((file) => file?.isFile() === true && file.size > 0)
}
