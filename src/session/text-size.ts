/**
 * @file Texts that no context holds are refused by their size: to count their tokens, all other work would wait for seconds
 * and, for what a server lets in, minutes.
 */
import { InputError } from "../util/index.ts"

/** Bytes of text a position on average that no text has which fits: English has 4 to 5, Chinese 5. */
const MOST_BYTES_PER_POSITION = 16

/**
 * @param where names the text in the error
 * @param positions of the context that has to hold it
 * @throws InputError when the texts are certainly too long together
 */
export function checkTextSize(where: string, texts: readonly (string | undefined)[], positions: number): void {
  const most = positions * MOST_BYTES_PER_POSITION
  let bytes = 0
  for (const text of texts) {
    bytes += text === undefined ? 0 : bytesOf(text, most)
    if (bytes <= most) continue
    throw new InputError(
      `${where}: expected at most ${most} bytes of text for a context of ${positions} positions, got more (shorten it)`,
    )
  }
}

/** In UTF-8; its length where that is too much already. */
function bytesOf(text: string, most: number): number {
  return text.length > most ? text.length : new TextEncoder().encode(text).length
}
