/** @file How much of an answer was heard: from milliseconds of sound to tokens. */
import { VOCODER_SAMPLE_RATE_HZ } from "../inference/index.ts"
import type { AnswerRecord } from "./answer.ts"

/** The answer came to its own end. */
export function isComplete({ finishReason }: AnswerRecord): boolean {
  return finishReason === "stop" || finishReason === "tool-calls"
}

/**
 * Tokens of an answer that count as said. Each delivery of sound knows how many tokens had been given to the speech when it
 * was made; inside the delivery being heard the text advances in proportion. Tokens that were never given to it are dropped.
 * @param heardMs undefined: all that was delivered
 */
export function heardTokens(record: AnswerRecord, heardMs: number | undefined): number {
  const { ids, chunks, samples, spoken, shownTokens, callTokens } = record
  const isWhole = isComplete(record)
  // A tool call that was delivered may be carried out already.
  if (!spoken) return isWhole ? ids.length : Math.max(shownTokens, callTokens)
  const heard = heardMs === undefined ? samples : Math.max(0, (heardMs / 1000) * VOCODER_SAMPLE_RATE_HZ)
  if (heard >= samples) return isWhole ? ids.length : Math.max(chunks.at(-1)?.tokens ?? 0, callTokens)
  let tokens = 0
  let start = 0
  for (const chunk of chunks) {
    if (heard >= chunk.endSample) {
      tokens = chunk.tokens
      start = chunk.endSample
      continue
    }
    const share = (heard - start) / (chunk.endSample - start)
    return Math.floor(tokens + share * (chunk.tokens - tokens))
  }
  return tokens
}
