/**
 * @file Where models come from and lie, for the library and the commands: the environment variables that Hugging Face's own
 * tools read, and our defaults.
 */
import { existsSync } from "node:fs"
import { readFile } from "node:fs/promises"
import { homedir } from "node:os"
import { isAbsolute, join, resolve } from "node:path"
import { ensureNano, nanoFolder } from "./convert/index.node.ts"
import { type ModelPlaces, resolveModel } from "./hub/index.node.ts"

/** Environment variables by name. */
export type Environment = { readonly [name: string]: string | undefined }

export type HubSettings = {
  readonly endpoint: string
  /** The cache that Hugging Face's tools share. */
  readonly cacheFolder: string
  /** True when nothing may be asked of the network. */
  readonly offline: boolean
  readonly token: string | undefined
}

/** The model that comes with the program: trained and shipped, else made with random weights. */
const NANO = "nano"
const SHIPPED_NANO = join(import.meta.dirname, "..", "models", NANO)

/** A folder as the shell would have it: `~` means the home folder. */
function folderOf(value: string | undefined): string | undefined {
  if (!value) return undefined
  return resolve(value.replace(/^~(?=$|[/\\])/, homedir()))
}

/** `$HF_HOME`, `$XDG_CACHE_HOME/huggingface` or `~/.cache/huggingface`. */
function huggingFaceHome(environment: Environment): string {
  const shared = environment.XDG_CACHE_HOME ?? ""
  const cache = isAbsolute(shared) ? shared : join(homedir(), ".cache")
  return folderOf(environment.HF_HOME) ?? join(cache, "huggingface")
}

/** `$HF_HUB_CACHE`, or `hub` in Hugging Face's folder. */
export function hubCacheFolder(environment: Environment): string {
  return folderOf(environment.HF_HUB_CACHE) ?? join(huggingFaceHome(environment), "hub")
}

/** Source: "Environment variables", huggingface_hub. */
export async function hubSettings(environment: Environment): Promise<HubSettings> {
  const tokenPath = folderOf(environment.HF_TOKEN_PATH) ?? join(huggingFaceHome(environment), "token")
  const saved = await readFile(tokenPath, "utf8").catch(() => "")
  return {
    endpoint: environment.HF_ENDPOINT || "https://huggingface.co",
    cacheFolder: hubCacheFolder(environment),
    offline: /^(1|on|yes|true)$/i.test(environment.HF_HUB_OFFLINE ?? ""),
    token: environment.HF_TOKEN?.trim() || saved.trim() || undefined,
  }
}

export function modelPlaces(environment: Environment): ModelPlaces {
  const nano = existsSync(SHIPPED_NANO) ? SHIPPED_NANO : nanoFolder(cacheFolder(environment))
  return { cacheFolder: hubCacheFolder(environment), embedded: { [NANO]: nano } }
}

/** The folder for what can be made again: `$XDG_CACHE_HOME/omni`, or `~/.cache/omni`. */
export function cacheFolder(environment: Environment): string {
  const shared = environment.XDG_CACHE_HOME ?? ""
  return join(isAbsolute(shared) ? shared : join(homedir(), ".cache"), "omni") // others are void by that standard
}

/** What may take a while. */
type Waiting = {
  readonly signal?: AbortSignal | undefined
  readonly onProgress?: ((stage: string, fraction: number) => void) | undefined
}

/**
 * The folder that a name or folder means; the library and every command ask here. Without a name it is the model that comes
 * with the program, which is made when it is not there yet.
 * @throws CheckpointError saying what was tried and what to do
 */
export async function modelFolder(
  name: string | undefined,
  environment: Environment,
  { signal, onProgress }: Waiting = {},
): Promise<string> {
  if ((name ?? NANO) === NANO && !existsSync(SHIPPED_NANO)) {
    await ensureNano(cacheFolder(environment), {
      signal,
      onProgress: ({ doneBytes, totalBytes }) => onProgress?.("making nano", doneBytes / totalBytes),
    })
  }
  const places = modelPlaces(environment)
  return name === undefined ? places.embedded[NANO]! : await resolveModel(name, places)
}
