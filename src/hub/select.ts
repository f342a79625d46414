/** @file Which files of a repository are fetched, and what a folder needs to be a whole model. */
import { VOCOS_FILE } from "../models/minicpmo/index.ts"
import { TTS_TOKENIZER_FOLDER } from "../tokenizer/index.ts"
import { CheckpointError } from "../util/index.ts"

/** What the model is made of: configs, tokenizers, weights, and quantized weights of our own. */
export const MODEL_FILES: readonly string[] = [
  "config.json",
  "generation_config.json",
  "preprocessor_config.json",
  "tokenizer.json",
  "tokenizer_config.json",
  "special_tokens_map.json",
  "added_tokens.json",
  "vocab.json",
  "merges.txt",
  "chat_template.jinja",
  "model.safetensors.index.json",
  "@weights",
  VOCOS_FILE,
  `${TTS_TOKENIZER_FOLDER}/*`,
  "bundle/*",
]

/** Shards lie beside config.json; other folders may hold weights of other formats. */
const WEIGHTS = /^[^/]+\.safetensors$/

export type Selection = {
  /** Patterns of the files to fetch; the model's own files when absent. */
  readonly include?: readonly string[] | undefined
  /** Patterns of files to leave out. */
  readonly exclude?: readonly string[] | undefined
}

/**
 * A pattern as a test of paths: `*` is any text, slashes too, `?` one character, everything else itself.
 * Source: the patterns of huggingface_hub (Python's fnmatch). Differs: no character sets.
 */
export function globTest(pattern: string): (path: string) => boolean {
  if (pattern === "@weights") return (path) => WEIGHTS.test(path)
  // A star once more changes nothing but the time that a mismatch takes.
  const source = pattern
    .replace(/\*+/g, "*")
    .replace(/[\\^$.|+()[\]{}]/g, "\\$&")
    .replaceAll("*", ".*")
    .replaceAll("?", ".")
  const expression = new RegExp(`^${source}$`, "su")
  return (path) => expression.test(path)
}

/** @throws CheckpointError when nothing is left, or the repository is no model */
export function selectFiles<File extends { readonly path: string }>(
  where: string,
  files: readonly File[],
  { include, exclude = [] }: Selection,
): File[] {
  const wanted = (include ?? MODEL_FILES).map(globTest)
  const unwanted = exclude.map(globTest)
  const selected = files.filter(({ path }) => wanted.some((is) => is(path)) && !unwanted.some((is) => is(path)))
  if (selected.length === 0) {
    const advice = include ? "check the patterns" : "is it a model of this kind?"
    throw new CheckpointError(`${where}: expected files to fetch, got none of ${files.length} (${advice})`)
  }
  if (include === undefined && !files.some(({ path }) => path === "config.json"))
    throw new CheckpointError(`${where}: expected a model with a config.json, got none (is it a model of this kind?)`)
  return selected
}

/**
 * What a folder lacks to be a model that can be loaded: paths, or a word for one of several. Weights are asked for by
 * the names in the index; their contents are not looked at.
 * @param has whether a file exists
 * @param readIndex the text of `model.safetensors.index.json`, when that exists
 */
export async function missingFiles(
  has: (path: string) => Promise<boolean>,
  readIndex: () => Promise<string>,
): Promise<string[]> {
  const missing: string[] = []
  const need = async (path: string) => {
    if (!(await has(path))) missing.push(path)
  }
  await need("config.json")
  await need("tokenizer_config.json")
  if (!(await has("tokenizer.json")) && !((await has("vocab.json")) && (await has("merges.txt"))))
    missing.push("tokenizer.json")
  const bundled = await has("bundle/bundle.json")
  if (bundled) await need("bundle/weights.bin")
  if (await has("model.safetensors.index.json")) {
    const shards = indexedShards(await readIndex())
    if (shards === undefined) missing.push("model.safetensors.index.json (damaged)")
    for (const shard of shards ?? []) await need(shard)
  } else if (!bundled) await need("model.safetensors")
  return missing
}

function indexedShards(text: string): string[] | undefined {
  try {
    const { weight_map: map } = JSON.parse(text) as { weight_map: { [tensor: string]: unknown } }
    const shards = [...new Set(Object.values(map))]
    return shards.every((shard) => typeof shard === "string" && WEIGHTS.test(shard)) ? (shards as string[]) : undefined
  } catch {
    return undefined
  }
}
