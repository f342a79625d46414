/** @file How much of an answer was heard: from milliseconds of sound to tokens. */
import { VOCODER_SAMPLE_RATE_HZ } from "../inference/index.ts"
import type { AnswerRecord } from "./answer.ts"

/**
 * Tokens of an answer that count as said. Each delivery of sound knows how many tokens had been given to the speech when it
 * was made; inside the delivery being heard the text advances in proportion. Tokens that were never given to it are dropped.
 * @param heardMs undefined: all that was delivered
 */
export function heardTokens(record: AnswerRecord, heardMs: number | undefined): number {
  const { ids, chunks, samples, spoken, shownTokens } = record
  if (heardMs === undefined || !spoken) {
    const delivered = spoken ? (chunks.at(-1)?.tokens ?? 0) : shownTokens
    return record.finishReason === "stop" ? ids.length : delivered
  }
  const heard = Math.max(0, (heardMs / 1000) * VOCODER_SAMPLE_RATE_HZ)
  if (heard >= samples && record.finishReason === "stop") return ids.length
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
