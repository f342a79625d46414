/** @file Reads a tokenizer from a model folder, wherever that folder lives. */
import { ConfigError, errorText } from "../util/index.ts"
import type { OmniTokenizer } from "./tokenizer.ts"
import { loadTokenizer } from "./tokenizer.ts"
import type { TokenizerConfig, TokenizerJson } from "./tokenizer-json.ts"
import { tokenizerJsonFromParts } from "./tokenizer-json.ts"
import type { TtsTokenizer } from "./tts-tokenizer.ts"
import { loadTtsTokenizer } from "./tts-tokenizer.ts"

/** A folder of text files; a missing file rejects. */
export type TextFiles = { readText(path: string): Promise<string> }

/** Folder of the speech decoder's tokenizer inside a model folder. */
export const TTS_TOKENIZER_FOLDER = "assets/chattts_tokenizer"

/**
 * The language model's tokenizer: from `tokenizer.json`, or where that is missing from `vocab.json`, `merges.txt` and
 * `added_tokens.json`.
 * @throws ConfigError naming the file that is missing or not JSON
 */
export async function readTokenizer(
  files: TextFiles,
): Promise<{ tokenizer: OmniTokenizer; tokenizerConfig: TokenizerConfig }> {
  const tokenizerConfig = ((await optionalJson(files, "tokenizer_config.json")) ?? {}) as TokenizerConfig
  const complete = (await optionalJson(files, "tokenizer.json")) as TokenizerJson | undefined
  const tokenizerJson = complete ?? (await readParts(files))
  return { tokenizer: loadTokenizer({ tokenizerJson, tokenizerConfig }), tokenizerConfig }
}

/**
 * The speech decoder's text tokenizer.
 * @param folder of its files, relative to the model folder
 */
export async function readTtsTokenizer(files: TextFiles, folder: string = TTS_TOKENIZER_FOLDER): Promise<TtsTokenizer> {
  const path = `${folder}/tokenizer.json`
  const tokenizerJson = parseJson(path, await required(files, path)) as TokenizerJson
  const config = await optionalJson(files, `${folder}/tokenizer_config.json`)
  return loadTtsTokenizer({ tokenizerJson, tokenizerConfig: (config ?? {}) as TokenizerConfig })
}

async function readParts(files: TextFiles): Promise<TokenizerJson> {
  const vocab = parseJson("vocab.json", await required(files, "vocab.json")) as Record<string, number>
  const merges = await required(files, "merges.txt")
  const addedTokens = (await optionalJson(files, "added_tokens.json")) as Record<string, number> | undefined
  return tokenizerJsonFromParts({ vocab, merges, ...(addedTokens === undefined ? {} : { addedTokens }) })
}

async function required(files: TextFiles, path: string): Promise<string> {
  try {
    return await files.readText(path)
  } catch (error) {
    throw new ConfigError(`tokenizer: expected the file ${path}, got ${errorText(error)} (fetch the model again)`, {
      cause: error,
    })
  }
}

async function optionalJson(files: TextFiles, path: string): Promise<unknown> {
  let text: string
  try {
    text = await files.readText(path)
  } catch {
    return undefined // absent: whoever needs it says so
  }
  return parseJson(path, text)
}

function parseJson(path: string, text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    throw new ConfigError(`${path}: expected JSON, got ${errorText(error)} (fetch the file again)`, { cause: error })
  }
}
