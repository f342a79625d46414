/** @file How much of an answer was heard: from milliseconds of sound to tokens. */
import { VOCODER_SAMPLE_RATE_HZ } from "../inference/index.ts"
import type { AnswerRecord } from "./answer.ts"

/** The answer came to its own end. */
export function isComplete({ finishReason }: AnswerRecord): boolean {
  return finishReason === "stop" || finishReason === "tool-calls"
}

/** Faster than anybody speaks: while a segment's sound is not complete, it cannot have said more. */
const MOST_TOKENS_PER_SECOND = 6

/**
 * Tokens of an answer that count as said. Each delivery of sound knows how many tokens had been given to the speech when it
 * was made; inside the delivery being heard the text advances in proportion. The speech is given text long before it says it,
 * so within a segment the text advances at most with its sound (docs/decisions/0023). Tokens that were never given to it are
 * dropped.
 * @param heardMs undefined: all that was delivered
 */
export function heardTokens(record: AnswerRecord, heardMs: number | undefined): number {
  const { ids, samples, spoken, shownTokens, callTokens } = record
  const isWhole = isComplete(record)
  // A tool call that was delivered may be carried out already.
  if (!spoken) return isWhole ? ids.length : Math.max(shownTokens, callTokens)
  const heard = heardMs === undefined ? samples : Math.max(0, (heardMs / 1000) * VOCODER_SAMPLE_RATE_HZ)
  const isAll = heard >= samples
  if (isAll && isWhole) return ids.length
  const tokens = Math.floor(Math.min(givenBy(record, heard), saidBy(record, heard)))
  return isAll ? Math.max(tokens, callTokens) : tokens
}

/** Tokens that had been given to the speech, in proportion inside the delivery being heard. */
function givenBy({ chunks }: AnswerRecord, heard: number): number {
  let tokens = 0
  let start = 0
  for (const chunk of chunks) {
    if (heard < chunk.endSample) return tokens + ((heard - start) / (chunk.endSample - start)) * (chunk.tokens - tokens)
    tokens = chunk.tokens
    start = chunk.endSample
  }
  return tokens
}

/** Tokens that the speech can have said, in proportion inside the segment being heard. */
function saidBy({ chunks, soundIsWhole = false }: AnswerRecord, heard: number): number {
  const ends = chunks.filter(({ segment }, i) => i + 1 === chunks.length || segment !== chunks[i + 1]!.segment)
  let tokens = 0
  let start = 0
  for (const [i, end] of ends.entries()) {
    const isOver = soundIsWhole || i + 1 < ends.length
    if (!isOver) return tokens + ((heard - start) / VOCODER_SAMPLE_RATE_HZ) * MOST_TOKENS_PER_SECOND
    if (heard < end.endSample) return tokens + ((heard - start) / (end.endSample - start)) * (end.tokens - tokens)
    tokens = end.tokens
    start = end.endSample
  }
  return tokens
}
