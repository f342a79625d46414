/**
 * @file Makes the files of a new speech decoder's tokenizer: WordPiece in the layout of ChatTTS's, over single
 * characters, with frequent English words whole.
 */
import { ConfigError } from "../util/index.ts"
import type { BuiltFiles } from "./build.ts"
import { toJson, tokensById } from "./build.ts"
import { COMMON_CHINESE, COMMON_ENGLISH } from "./common-text.ts"
import { BERT_TOKENS, TTS_TOKENS } from "./special-tokens.ts"
import { addedToken } from "./tokenizer-json.ts"

export type BuiltTtsTokenizer = {
  files: BuiltFiles<"tokenizer.json" | "tokenizer_config.json" | "special_tokens_map.json">
  /** Ids for `tts_config`, under its own field names. */
  config: {
    num_text_tokens: number
    spk_emb_token_id: number
    audio_bos_token_id: number
    text_eos_token_id: number
  }
}

/** Printable ASCII without capitals: text is lower-cased before it is cut. */
const ASCII = Array.from({ length: 0x7e - 0x20 }, (_, i) => String.fromCharCode(0x21 + i)).filter(
  (char) => char === char.toLowerCase(),
)
const INSIDE_WORDS = ASCII.filter((char) => /[a-z0-9]/.test(char)).map((char) => `##${char}`)
const CHINESE_MARKS = [..."，。！？、：；（）《》“”‘’—…·"]
const NECESSARY = [...BERT_TOKENS, ...ASCII, ...INSIDE_WORDS]

/** Fewest tokens such a tokenizer can have: special strings, and ASCII letter by letter. */
export const MIN_TTS_VOCAB_SIZE = NECESSARY.length + TTS_TOKENS.length

/**
 * @param options.size tokens wanted, all of which get an entry: Chinese punctuation, frequent characters and words
 *   first, then the remaining Chinese characters, then `[unusedN]`
 * @throws ConfigError when `size` is below {@link MIN_TTS_VOCAB_SIZE}
 */
export function buildTtsTokenizer(options: { size: number }): BuiltTtsTokenizer {
  const { size } = options
  if (!Number.isInteger(size) || size < MIN_TTS_VOCAB_SIZE) {
    throw new ConfigError(
      `tts tokenizer: expected a size of at least ${MIN_TTS_VOCAB_SIZE}, got ${size} ` +
        "(special strings and the letters need that many ids)",
    )
  }
  const base = baseVocabulary(size - TTS_TOKENS.length)
  const vocab = Object.fromEntries(base.map((token, id) => [token, id]))
  const added = [
    ...BERT_TOKENS.map((name) => addedToken(vocab[name]!, name, true)),
    ...TTS_TOKENS.map((name, i) => addedToken(base.length + i, name, true)),
  ]
  const idOf = (name: string): number => base.length + TTS_TOKENS.indexOf(name)
  return {
    files: {
      "tokenizer.json": toJson(tokenizerJson(vocab, added)),
      "tokenizer_config.json": toJson({
        added_tokens_decoder: tokensById(added),
        additional_special_tokens: TTS_TOKENS,
        clean_up_tokenization_spaces: true,
        do_lower_case: true,
        strip_accents: null,
        tokenize_chinese_chars: true,
        tokenizer_class: "BertTokenizer",
        ...NAMED,
      }),
      "special_tokens_map.json": toJson({ additional_special_tokens: TTS_TOKENS, ...NAMED }),
    },
    config: {
      num_text_tokens: size,
      spk_emb_token_id: idOf("[spk_emb]"),
      audio_bos_token_id: idOf("[Ptts]"),
      text_eos_token_id: idOf("[Etts]"),
    },
  }
}

const NAMED = {
  cls_token: "[CLS]",
  mask_token: "[MASK]",
  pad_token: "[PAD]",
  sep_token: "[SEP]",
  unk_token: "[UNK]",
}

function baseVocabulary(size: number): string[] {
  const entries = new Set([...NECESSARY, ...CHINESE_MARKS])
  const words = COMMON_ENGLISH.filter((word) => /^[a-z]{2,}$/.test(word))
  for (let rank = 0; rank < Math.max(words.length, COMMON_CHINESE.length); rank++) {
    for (const entry of [words[rank], COMMON_CHINESE[rank]]) if (entry !== undefined) entries.add(entry)
  }
  for (let code = 0x4e00; code < 0xa000 && entries.size < size; code++) entries.add(String.fromCharCode(code))
  for (let i = 1; entries.size < size; i++) entries.add(`[unused${i}]`)
  return [...entries].slice(0, size)
}

/** Truncation and padding as ChatTTS's file stores them, although nobody may obey them: readers must prove that. */
function tokenizerJson(vocab: Record<string, number>, added: readonly unknown[]): unknown {
  const special = (id: string) => ({ SpecialToken: { id, type_id: 0 } })
  const known = (name: string) => ({ id: name, ids: [vocab[name]], tokens: [name] })
  return {
    version: "1.0",
    truncation: { direction: "Right", max_length: 256, strategy: "LongestFirst", stride: 0 },
    padding: {
      strategy: { Fixed: 256 },
      direction: "Right",
      pad_to_multiple_of: null,
      pad_id: vocab["[PAD]"],
      pad_type_id: 0,
      pad_token: "[PAD]",
    },
    added_tokens: added,
    normalizer: {
      type: "BertNormalizer",
      clean_text: true,
      handle_chinese_chars: true,
      strip_accents: null,
      lowercase: true,
    },
    pre_tokenizer: { type: "BertPreTokenizer" },
    post_processor: {
      type: "TemplateProcessing",
      single: [special("[CLS]"), { Sequence: { id: "A", type_id: 0 } }, special("[SEP]")],
      pair: [
        special("[CLS]"),
        { Sequence: { id: "A", type_id: 0 } },
        special("[SEP]"),
        { Sequence: { id: "B", type_id: 1 } },
        { SpecialToken: { id: "[SEP]", type_id: 1 } },
      ],
      special_tokens: { "[CLS]": known("[CLS]"), "[SEP]": known("[SEP]") },
    },
    decoder: { type: "WordPiece", prefix: "##", cleanup: true },
    model: {
      type: "WordPiece",
      unk_token: "[UNK]",
      continuing_subword_prefix: "##",
      max_input_chars_per_word: 100,
      vocab,
    },
  }
}
