/** @file Sampled tokens to pieces of text, a few tokens at a time, as the official stream or a live one cuts them. */
import { answerText, decodableLength, type OmniTokenizer, TTS_EOS, terminatorIds } from "../tokenizer/index.ts"

/** Takes tokens, gives text that is safe to show. */
export type PieceWriter = {
  /** @returns the text that these tokens complete, perhaps none */
  push(ids: readonly number[]): string
  /** The rest, when no more tokens come. */
  flush(): string
}

/**
 * Quirks of the official code, intended: token 0 vanishes, special strings but the last terminator are text, and what ends in
 * an incomplete character waits, or, at the end, is lost.
 */
export function officialPieces(tokenizer: OmniTokenizer): PieceWriter {
  let waiting: number[] = []
  return {
    push(ids) {
      const all = [...waiting, ...ids]
      const length = decodableLength(tokenizer, all)
      waiting = all.slice(length)
      return answerText(tokenizer, all.slice(0, length))
    },
    flush: () => "",
  }
}

/** Plain text of an answer: terminators and the end-of-speech mark are no text. */
export function livePieces(tokenizer: OmniTokenizer): PieceWriter {
  const decoder = tokenizer.createDecoder()
  const hidden = new Set([...terminatorIds(tokenizer), tokenizer.idOf(TTS_EOS)])
  return {
    push: (ids) => ids.map((id) => (hidden.has(id) ? "" : decoder.push(id))).join(""),
    flush: () => decoder.flush(),
  }
}
