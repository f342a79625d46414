/**
 * @file The content of a tokenizer's files, and how they complete each other: `tokenizer.json` is the whole thing,
 * `tokenizer_config.json` may flag more strings, and `vocab.json` with `merges.txt` can stand in for the first.
 */
import { ConfigError } from "../util/index.ts"
import { isSpecialName } from "./special-tokens.ts"

/** One entry of `added_tokens`: a string matched whole in the raw text before anything else happens. */
export type AddedToken = {
  id: number
  content: string
  single_word: boolean
  lstrip: boolean
  rstrip: boolean
  normalized: boolean
  special: boolean
}

/** The parts of `tokenizer.json` that are read here; the library reads the others. */
export type TokenizerJson = {
  added_tokens: AddedToken[]
  model: { type: string; vocab: Record<string, number>; [key: string]: unknown }
  [key: string]: unknown
}

/** The parts of `tokenizer_config.json` that are read here. */
export type TokenizerConfig = {
  added_tokens_decoder?: Record<string, Partial<AddedToken> & { content: string }>
  additional_special_tokens?: string[]
  chat_template?: string | { name: string; template: string }[]
  clean_up_tokenization_spaces?: boolean
  [key: string]: unknown
}

/** How the base language model cuts text before merging: contractions, words, single digits, punctuation, spaces. */
export const SPLIT_PATTERN = [
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)",
  "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+",
  "\\p{N}",
  " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*",
  "\\s*[\\r\\n]+",
  "\\s+(?!\\S)",
  "\\s+",
].join("|")

/** An added string that is matched exactly as written, whatever surrounds it. */
export const addedToken = (id: number, content: string, special: boolean): AddedToken => ({
  id,
  content,
  single_word: false,
  lstrip: false,
  rstrip: false,
  normalized: false,
  special,
})

/** A complete `tokenizer.json` of a byte-level BPE tokenizer: NFC, {@link SPLIT_PATTERN}, no prefix space. */
export function bpeTokenizerJson(
  vocab: Record<string, number>,
  merges: readonly string[],
  added: readonly AddedToken[],
): TokenizerJson {
  const byteLevel = { type: "ByteLevel", add_prefix_space: false, trim_offsets: false, use_regex: false }
  const split = { type: "Split", pattern: { Regex: SPLIT_PATTERN }, behavior: "Isolated", invert: false }
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: [...added],
    normalizer: { type: "NFC" },
    pre_tokenizer: { type: "Sequence", pretokenizers: [split, byteLevel] },
    post_processor: byteLevel,
    decoder: { ...byteLevel, add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: {
      type: "BPE",
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
      vocab,
      merges: [...merges],
    },
  }
}

/**
 * Stands in for a missing `tokenizer.json`.
 * @param files contents of `vocab.json`, `merges.txt` and, where there is one, `added_tokens.json` (name → id)
 */
export function tokenizerJsonFromParts(files: {
  vocab: Record<string, number>
  merges: string
  addedTokens?: Record<string, number>
}): TokenizerJson {
  // Only the first line can be the version remark: "# #" and the like are merges.
  const lines = files.merges.split(/\r?\n/).filter((line) => line !== "")
  const merges = lines[0]?.startsWith("#version") === true ? lines.slice(1) : lines
  const added = Object.entries(files.addedTokens ?? {})
    .map(([content, id]) => addedToken(id, content, isSpecialName(content)))
    .sort((a, b) => a.id - b.id)
  return bpeTokenizerJson(files.vocab, merges, added)
}

/**
 * `json` with the strings that only the configuration flags: those of `added_tokens_decoder`, and the special ones
 * that are plain vocabulary so far. What `tokenizer.json` itself says about a string wins.
 * @throws ConfigError when `json` has no vocabulary
 */
export function withConfigTokens(json: TokenizerJson, config: TokenizerConfig): TokenizerJson {
  const vocab: Record<string, number> | undefined = (json as Partial<TokenizerJson>).model?.vocab
  if (vocab === undefined || !Array.isArray(json.added_tokens)) {
    throw new ConfigError(
      "tokenizer.json: expected model.vocab and added_tokens, got a file without them (fetch the file again)",
    )
  }
  const added = new Map(json.added_tokens.map((token) => [token.content, token]))
  for (const [id, token] of Object.entries(config.added_tokens_decoder ?? {})) {
    if (added.has(token.content)) continue
    added.set(token.content, { ...addedToken(Number(id), token.content, true), ...token })
  }
  const named = ["bos_token", "eos_token", "unk_token", "pad_token"].map((key) => config[key])
  for (const content of [...named, ...(config.additional_special_tokens ?? [])]) {
    if (typeof content !== "string" || added.has(content) || !Object.hasOwn(vocab, content)) continue
    added.set(content, addedToken(vocab[content]!, content, true))
  }
  return { ...json, added_tokens: [...added.values()] }
}
