/**
 * @file Makes the tokenizer files of a new model: byte-level BPE with the special strings of the real model, in the
 * real model's layout, so that everything that loads the official checkpoint loads these.
 */
import { ConfigError } from "../util/index.ts"
import { learnMerges } from "./bpe-train.ts"
import { BYTE_ALPHABET } from "./byte-alphabet.ts"
import { commonTexts } from "./common-text.ts"
import { ADDED_TOKENS, END_OF_TEXT, IM_END, IM_START, isSpecialName, MULTIMODAL_TOKENS, UNK } from "./special-tokens.ts"
import { STOCK_CHAT_TEMPLATE } from "./stock-chat-template.ts"
import type { AddedToken } from "./tokenizer-json.ts"
import { addedToken, bpeTokenizerJson } from "./tokenizer-json.ts"

/** Contents by file name. */
export type BuiltFiles<Name extends string> = Record<Name, string>

export type BuiltTokenizer = {
  files: BuiltFiles<
    | "tokenizer.json"
    | "vocab.json"
    | "merges.txt"
    | "added_tokens.json"
    | "special_tokens_map.json"
    | "tokenizer_config.json"
  >
  /** Tokens there are; ids from here to the model's vocab_size are reserved. */
  size: number
}

/** Fewest ids a tokenizer can have: the bytes and the special strings. */
export const MIN_VOCAB_SIZE = BYTE_ALPHABET.length + 1 + ADDED_TOKENS.length

/**
 * @param options.vocabSize ids the model has room for, at least {@link MIN_VOCAB_SIZE}; merges are learned until it is
 *   full or the texts give no more
 * @param options.texts what to learn the merges from; by default a little English and Chinese that comes with us
 * @throws ConfigError when `vocabSize` is too small
 */
export function buildTokenizer(options: { vocabSize: number; texts?: Iterable<string> }): BuiltTokenizer {
  const { vocabSize } = options
  if (!Number.isInteger(vocabSize) || vocabSize < MIN_VOCAB_SIZE) {
    throw new ConfigError(
      `tokenizer: expected vocabSize of at least ${MIN_VOCAB_SIZE}, got ${vocabSize} ` +
        "(the bytes and the special strings need that many ids)",
    )
  }
  const merges = learnMerges(options.texts ?? commonTexts(), vocabSize - MIN_VOCAB_SIZE)
  const base = baseVocabulary(merges)
  const vocab = Object.fromEntries(base.map((token, id) => [token, id]))
  const added = [
    addedToken(vocab[UNK]!, UNK, true),
    ...ADDED_TOKENS.map((name, i) => addedToken(base.length + i, name, isSpecialName(name))),
  ]
  return {
    files: {
      "tokenizer.json": toJson(bpeTokenizerJson(vocab, merges, added)),
      "vocab.json": toJson(vocab),
      "merges.txt": `#version: 0.2\n${merges.map((merge) => `${merge}\n`).join("")}`,
      "added_tokens.json": toJson(Object.fromEntries(added.map((token) => [token.content, token.id]))),
      "special_tokens_map.json": toJson({ additional_special_tokens: MULTIMODAL_TOKENS, ...NAMED }),
      "tokenizer_config.json": toJson({
        add_bos_token: false,
        add_prefix_space: false,
        added_tokens_decoder: tokensById(added),
        additional_special_tokens: MULTIMODAL_TOKENS,
        chat_template: STOCK_CHAT_TEMPLATE,
        clean_up_tokenization_spaces: false,
        errors: "replace",
        model_max_length: 131072,
        split_special_tokens: false,
        tokenizer_class: "MiniCPMOTokenizerFast",
        auto_map: { AutoTokenizer: ["tokenization_minicpmo_fast.MiniCPMOTokenizerFast", null] },
        ...NAMED,
      }),
    },
    size: base.length + ADDED_TOKENS.length,
  }
}

const NAMED = { bos_token: IM_START, eos_token: IM_END, pad_token: END_OF_TEXT, unk_token: UNK }

/** Bytes, then what the merges make, with `<unk>` in the midst of them as in the real vocabulary. */
function baseVocabulary(merges: readonly string[]): string[] {
  const made = [...new Set(merges.map((merge) => merge.replace(" ", "")))]
  const middle = made.length >> 1
  return [...BYTE_ALPHABET, ...made.slice(0, middle), UNK, ...made.slice(middle)]
}

/** `added_tokens_decoder` of a tokenizer_config.json. */
export const tokensById = (added: readonly AddedToken[]): Record<string, Omit<AddedToken, "id">> =>
  Object.fromEntries(added.map(({ id, ...token }) => [String(id), token]))

export const toJson = (value: unknown): string => `${JSON.stringify(value, undefined, 1)}\n`
