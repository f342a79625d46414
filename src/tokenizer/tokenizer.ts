/**
 * @file Text ↔ token ids of the language model. The library cuts and merges; from ids back to text we go over bytes
 * ourselves, because its decoder tidies spaces unasked, fails on an empty list, searches all added strings for every
 * token, and cannot stop in the middle of a character, which streaming needs.
 */
import { Tokenizer } from "@huggingface/tokenizers"
import { ConfigError } from "../util/index.ts"
import { tokenBytes } from "./byte-alphabet.ts"
import type { TokenizerConfig, TokenizerJson } from "./tokenizer-json.ts"
import { withConfigTokens } from "./tokenizer-json.ts"

export type DecodeOptions = {
  /** Leave out the strings flagged special; `<tool_call>` and its kin stay. Default false. */
  skipSpecialTokens?: boolean
}

/** Decodes ids as they come. The pieces joined, `flush` included, are what `decode` gives for all ids at once. */
export type StreamDecoder = {
  /** The text that `id` completes; "" while a character is still incomplete. */
  push(id: number): string
  /** What remains: "" or the U+FFFD of an unfinished character. The decoder can be used again afterwards. */
  flush(): string
}

export type OmniTokenizer = {
  /** How many tokens there are: vocabulary entries plus added strings, each counted once. */
  readonly size: number
  /** Strings that are matched whole, with their ids. */
  readonly addedTokens: ReadonlyMap<string, number>
  /** Text to ids; added strings inside it become their one id. Nothing is put in front or behind. */
  encode(text: string): number[]
  /** The same, but an added string counts as ordinary text: for text that must not steer the model. */
  encodePlain(text: string): number[]
  /** Ids to text; broken UTF-8 becomes U+FFFD, ids without a token are skipped. */
  decode(ids: Iterable<number>, options?: DecodeOptions): string
  createDecoder(options?: DecodeOptions): StreamDecoder
  /** @throws ConfigError when no token has that name */
  idOf(name: string): number
  /** The vocabulary's own spelling of a token (bytes as characters of the byte alphabet). */
  tokenOf(id: number): string | undefined
  /** The bytes of a token, which may be a part of a character; none for an id without a token. */
  bytesOf(id: number): Uint8Array
  isSpecial(id: number): boolean
  /**
   * Ids below `vocabSize` that no token has; a sampler must not draw them.
   * @throws ConfigError when the tokenizer needs more than `vocabSize` ids
   */
  reservedIds(vocabSize: number): number[]
}

/**
 * @param files parsed `tokenizer.json` and, where there is one, `tokenizer_config.json`
 * @throws ConfigError when the first is not that of a byte-level BPE tokenizer
 */
export function loadTokenizer(files: {
  tokenizerJson: TokenizerJson
  tokenizerConfig?: TokenizerConfig
}): OmniTokenizer {
  const json = withConfigTokens(files.tokenizerJson, files.tokenizerConfig ?? {})
  if (json.model.type !== "BPE") {
    throw new ConfigError(
      `tokenizer.json: expected a byte-level BPE model, got ${json.model.type} (is this the speech decoder's file?)`,
    )
  }
  const library = createLibraryTokenizer(json, {})
  const vocabulary = indexVocabulary(json)
  const createDecoder = (options: DecodeOptions = {}): StreamDecoder => streamDecoder(vocabulary, options)
  return {
    size: vocabulary.idOf.size,
    addedTokens: vocabulary.added,
    encode: (text) => library.encode(text.toWellFormed(), { add_special_tokens: false }).ids,
    encodePlain: (text) => encodePlain(library, text.toWellFormed()),
    decode: (ids, options = {}) => decodeAll(vocabulary, ids, options),
    createDecoder,
    idOf: (name) => lookUp(vocabulary, name),
    tokenOf: (id) => vocabulary.tokenOf[id],
    bytesOf: (id) => vocabulary.bytesOf[id] ?? new Uint8Array(0),
    isSpecial: (id) => vocabulary.special.has(id),
    reservedIds: (vocabSize) => reservedIds(vocabulary, vocabSize),
  }
}

/** The library's tokenizer; what it throws about a damaged file becomes a ConfigError. */
export function createLibraryTokenizer(json: TokenizerJson, config: TokenizerConfig): Tokenizer {
  try {
    return new Tokenizer(json, config)
  } catch (error) {
    throw new ConfigError(`tokenizer.json: expected a complete tokenizer, got ${error} (fetch the file again)`, {
      cause: error,
    })
  }
}

/** Every token by name and by id, and the bytes of each. */
export type Vocabulary = {
  idOf: ReadonlyMap<string, number>
  tokenOf: readonly (string | undefined)[]
  bytesOf: readonly (Uint8Array | undefined)[]
  added: ReadonlyMap<string, number>
  special: ReadonlySet<number>
}

function indexVocabulary(json: TokenizerJson): Vocabulary {
  const idOf = new Map(Object.entries(json.model.vocab))
  const added = new Map(json.added_tokens.map((token) => [token.content, token.id]))
  for (const [content, id] of added) idOf.set(content, id)
  const tokenOf: (string | undefined)[] = []
  const bytesOf: (Uint8Array | undefined)[] = []
  const encoder = new TextEncoder()
  for (const [token, id] of idOf) {
    tokenOf[id] = token
    bytesOf[id] = added.has(token) ? encoder.encode(token) : tokenBytes(token)
  }
  const special = new Set(json.added_tokens.filter((token) => token.special).map((token) => token.id))
  return { idOf, tokenOf, bytesOf, added, special }
}

/** The library's three stages without its search for added strings. */
function encodePlain(library: Tokenizer, text: string): number[] {
  const normalized = library.normalizer?.(text) ?? text
  const words = library.pre_tokenizer?.(normalized) ?? [normalized]
  const tokens: string[] = library.model?.(words) ?? []
  return tokens.map((token) => library.token_to_id(token)!)
}

// ignoreBOM: a byte order mark in the text is a character like any other.
const newTextDecoder = () => new TextDecoder("utf-8", { fatal: false, ignoreBOM: true })

function decodeAll(vocabulary: Vocabulary, ids: Iterable<number>, options: DecodeOptions): string {
  const pieces: Uint8Array[] = []
  let length = 0
  for (const id of ids) {
    const bytes = vocabulary.bytesOf[id]
    if (bytes === undefined || (options.skipSpecialTokens === true && vocabulary.special.has(id))) continue
    pieces.push(bytes)
    length += bytes.length
  }
  const all = new Uint8Array(length)
  let offset = 0
  for (const piece of pieces) {
    all.set(piece, offset)
    offset += piece.length
  }
  return newTextDecoder().decode(all)
}

function streamDecoder(vocabulary: Vocabulary, options: DecodeOptions): StreamDecoder {
  const decoder = newTextDecoder()
  return {
    push(id) {
      const bytes = vocabulary.bytesOf[id]
      if (bytes === undefined || (options.skipSpecialTokens === true && vocabulary.special.has(id))) return ""
      return decoder.decode(bytes, { stream: true })
    },
    flush: () => decoder.decode(),
  }
}

/** @throws ConfigError when no token has that name */
export function lookUp(vocabulary: Pick<Vocabulary, "idOf">, name: string): number {
  const id = vocabulary.idOf.get(name)
  if (id === undefined) {
    throw new ConfigError(
      `tokenizer: expected a token ${JSON.stringify(name)}, got none among ${vocabulary.idOf.size} ` +
        "(use the tokenizer files of this very checkpoint)",
    )
  }
  return id
}

function reservedIds(vocabulary: Vocabulary, vocabSize: number): number[] {
  if (vocabulary.tokenOf.length > vocabSize) {
    throw new ConfigError(
      `tokenizer: expected ids below the model's vocab_size ${vocabSize}, got up to ${vocabulary.tokenOf.length - 1} ` +
        "(tokenizer and config.json must come from the same checkpoint)",
    )
  }
  return Array.from({ length: vocabSize }, (_, id) => id).filter((id) => vocabulary.tokenOf[id] === undefined)
}
