/** @file Log-probabilities of sampled tokens, from the model's own logits: before penalties, temperature and masks. */
import type { OmniTokenizer } from "../tokenizer/index.ts"
import type { TokenLogprob } from "./types.ts"

/** Most alternatives of one token. */
export const MAX_TOP_LOGPROBS = 20

/** @param count how many of the most likely tokens to add, most likely first */
export function tokenLogprob(
  tokenizer: OmniTokenizer,
  logits: Float32Array, // [V]
  id: number,
  count: number,
): TokenLogprob {
  const shift = logSumExp(logits)
  const one = (token: number) => ({
    token: tokenizer.decode([token]),
    bytes: [...tokenizer.bytesOf(token)],
    logprob: logits[token]! - shift,
  })
  return { ...one(id), top: largest(logits, count).map(one) }
}

function logSumExp(logits: Float32Array): number {
  let max = Number.NEGATIVE_INFINITY
  for (const value of logits) if (value > max) max = value
  let sum = 0
  for (const value of logits) sum += Math.exp(value - max)
  return max + Math.log(sum)
}

/** Places of the largest values, largest first, the first of equals first. */
function largest(values: Float32Array, count: number): number[] {
  const ids: number[] = []
  for (let id = 0; id < values.length; id++) {
    if (ids.length === count && !(count > 0 && values[id]! > values[ids[count - 1]!]!)) continue
    let at = ids.length
    while (at > 0 && values[id]! > values[ids[at - 1]!]!) at--
    ids.splice(at, 0, id)
    if (ids.length > count) ids.pop()
  }
  return ids
}
