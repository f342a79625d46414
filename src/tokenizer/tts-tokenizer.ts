/**
 * @file The speech decoder's own tokenizer (WordPiece over BERT-normalized text) and the prompt of fixed length that is
 * built with it: `[Stts] [spk_emb] text … [Etts] [PAD] … [Ptts]`.
 */
import { ConfigError } from "../util/index.ts"
import { createLibraryTokenizer, lookUp } from "./tokenizer.ts"
import type { TokenizerConfig, TokenizerJson } from "./tokenizer-json.ts"
import { withConfigTokens } from "./tokenizer-json.ts"

export type TtsTokenizer = {
  /** How many tokens there are. */
  readonly size: number
  /** Ids of a text of any length, without `[CLS]` and `[SEP]`; what the vocabulary cannot spell is `[UNK]`. */
  encode(text: string): number[]
  /** Lower-case text with a space between words, as BERT sees it; ids without a token are skipped. */
  decode(ids: readonly number[]): string
  /** @throws ConfigError when no token has that name */
  idOf(name: string): number
}

/**
 * @param files parsed `tokenizer.json`, whose stored truncation and padding to 256 do not apply here, and
 *   `tokenizer_config.json`
 * @throws ConfigError when the first is not that of a WordPiece tokenizer
 */
export function loadTtsTokenizer(files: {
  tokenizerJson: TokenizerJson
  tokenizerConfig?: TokenizerConfig
}): TtsTokenizer {
  const config = files.tokenizerConfig ?? {}
  const json = withConfigTokens({ ...files.tokenizerJson, truncation: null, padding: null }, config)
  if (json.model.type !== "WordPiece") {
    throw new ConfigError(
      `tts tokenizer.json: expected a WordPiece model, got ${json.model.type} (is this the language model's file?)`,
    )
  }
  const library = createLibraryTokenizer(json, config)
  const idOf = new Map(Object.entries(json.model.vocab))
  for (const token of json.added_tokens) idOf.set(token.content, token.id)
  const known = new Set(idOf.values())
  return {
    size: idOf.size,
    encode: (text) => library.encode(forLibrary(text), { add_special_tokens: false }).ids,
    decode(ids) {
      const spoken = ids.filter((id) => known.has(id))
      return spoken.length === 0 ? "" : library.decode(spoken) // the library refuses an empty list
    },
    idOf: (name) => lookUp({ idOf }, name),
  }
}

/** Chinese characters beyond U+FFFF, the ranges BERT treats as words of their own. */
const ASTRAL_HAN = /[\u{20000}-\u{2a6df}\u{2a700}-\u{2b73f}\u{2b740}-\u{2b81f}\u{2b920}-\u{2ceaf}\u{2f800}-\u{2fa1f}]/gu

/**
 * Makes up for two differences between the library's normalizer and BERT's: it looks at halves of surrogate pairs when
 * it separates Chinese characters, and it lower-cases whole strings, where a Σ at the end of a word becomes ς, not σ.
 */
function forLibrary(text: string): string {
  return text.toWellFormed().replace(ASTRAL_HAN, " $& ").replaceAll("Σ", "σ")
}

/** Ids and lengths that make up a speech prompt. */
export type TtsPromptLayout = {
  /** `[Stts]` and one `[spk_emb]` per speaker embedding. */
  startIds: readonly number[]
  textEndId: number
  padId: number
  audioStartId: number
  /** Slots reserved for text. */
  textSlots: number
}

/** The slots every released speech decoder reserves for text. */
export const TTS_TEXT_SLOTS = 300

/** What `tts_config` of a checkpoint says about its prompt; a field that is missing is looked up by name. */
export type TtsPromptConfig = {
  spk_emb_token_id?: number
  audio_bos_token_id?: number
  text_eos_token_id?: number
  num_spk_embs?: number
  streaming_text_reserved_len?: number
}

/** @throws ConfigError when the tokenizer lacks a string the prompt needs */
export function ttsPromptLayout(tokenizer: TtsTokenizer, config: TtsPromptConfig = {}): TtsPromptLayout {
  const speaker = config.spk_emb_token_id ?? tokenizer.idOf("[spk_emb]")
  return {
    startIds: [tokenizer.idOf("[Stts]"), ...Array<number>(config.num_spk_embs ?? 1).fill(speaker)],
    textEndId: config.text_eos_token_id ?? tokenizer.idOf("[Etts]"),
    padId: tokenizer.idOf("[PAD]"),
    audioStartId: config.audio_bos_token_id ?? tokenizer.idOf("[Ptts]"),
    textSlots: config.streaming_text_reserved_len ?? TTS_TEXT_SLOTS,
  }
}

export type TtsPrompt = {
  /** Start ids, the text slots and `[Ptts]`: 303 in the released model. */
  ids: number[]
  /** Text tokens in the slots, at most their number; the end mark not counted. */
  textTokens: number
  /** Which positions audio may look at: 1 for the start ids, the text with its end mark, and `[Ptts]`. */
  mask: Uint8Array
}

/**
 * The prompt for a text. A text that fills all slots is cut there, and has neither end mark nor padding.
 * The cut text is decoded and encoded once more, as the official code does: a word cut in two may then tokenize
 * differently. Where that changes the count, the cut ids themselves are used (the official code fails there).
 */
export function ttsPrompt(tokenizer: TtsTokenizer, layout: TtsPromptLayout, text: string): TtsPrompt {
  const { startIds, textEndId, padId, audioStartId, textSlots } = layout
  let ids = tokenizer.encode(text)
  const textTokens = Math.min(ids.length, textSlots)
  if (ids.length < textSlots) {
    ids = [...ids, textEndId, ...Array<number>(textSlots - ids.length - 1).fill(padId)]
  } else {
    const cut = ids.slice(0, textSlots)
    const again = tokenizer.encode(tokenizer.decode(cut))
    ids = again.length === textSlots ? again : cut
  }
  return { ids: [...startIds, ...ids, audioStartId], textTokens, mask: ttsTextMask(layout, textTokens) }
}

/** The mask alone, for a text of `textTokens` tokens known so far. */
export function ttsTextMask(layout: TtsPromptLayout, textTokens: number): Uint8Array {
  const length = layout.startIds.length + layout.textSlots + 1
  const mask = new Uint8Array(length)
  mask.fill(1, 0, layout.startIds.length + textTokens + 1)
  mask[length - 1] = 1
  return mask
}
