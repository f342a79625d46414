/**
 * @file From generated ids to the text of an answer, the way the official code does it, quirks included.
 * `StreamDecoder` is the clean way; parity and the `reference` behaviour need this one.
 */
import { END_OF_TEXT, IM_END, IM_START } from "./special-tokens.ts"
import type { OmniTokenizer } from "./tokenizer.ts"

/** Ids that end an answer. */
export const terminatorIds = (tokenizer: OmniTokenizer): number[] => [
  tokenizer.idOf(IM_END),
  tokenizer.idOf(END_OF_TEXT),
]

/**
 * Text of generated ids, special strings kept. One leading `<|im_start|>` and one closing terminator are dropped, and so
 * is every id 0: it means padding to the official code, although it is also the token `!`.
 */
export function answerText(tokenizer: OmniTokenizer, ids: readonly number[]): string {
  let kept = ids.filter((id) => id !== 0)
  if (kept[0] === tokenizer.idOf(IM_START)) kept = kept.slice(1)
  const last = kept.at(-1)
  if (last !== undefined && terminatorIds(tokenizer).includes(last)) kept = kept.slice(0, -1)
  return tokenizer.decode(kept)
}

/**
 * How many of the first ids can be shown now: the longest prefix whose text does not end in U+FFFD. Unlike
 * `StreamDecoder` this also holds back bytes that can never become a character.
 */
export function decodableLength(tokenizer: OmniTokenizer, ids: readonly number[]): number {
  let length = ids.length
  while (length > 0 && tokenizer.decode(ids.slice(0, length)).endsWith("\uFFFD")) length--
  return length
}
