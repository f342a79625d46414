/**
 * @file Learns the merges of a byte-level BPE vocabulary from text: count words, merge the most frequent pair of
 * neighbours, repeat. Deterministic: of equally frequent pairs the one that sorts first wins.
 */
import { invariant } from "../util/index.ts"
import { createLibraryTokenizer } from "./tokenizer.ts"
import { bpeTokenizerJson } from "./tokenizer-json.ts"

type Word = { symbols: string[]; count: number }

/**
 * @param texts what the vocabulary should be good at
 * @param limit most merges to learn; learning ends early when no pair occurs twice
 * @returns pairs as `merges.txt` writes them, best first
 */
export function learnMerges(texts: Iterable<string>, limit: number): string[] {
  const words = countWords(texts)
  const pairs = new PairCounts()
  for (const [index, word] of words.entries()) pairs.addWord(index, word, 1)
  const merges: string[] = []
  while (merges.length < limit) {
    const best = pairs.best()
    if (best === undefined) break
    merges.push(best)
    for (const index of pairs.wordsWith(best)) {
      const word = words[index]!
      pairs.addWord(index, word, -1)
      word.symbols = merged(word.symbols, best)
      pairs.addWord(index, word, 1)
    }
  }
  return merges
}

/** Words as the tokenizer cuts them, in the byte alphabet. */
function countWords(texts: Iterable<string>): Word[] {
  const cut = createLibraryTokenizer(bpeTokenizerJson({}, [], []), {}).pre_tokenizer
  invariant(cut !== null, "a BPE tokenizer must cut words")
  const counts = new Map<string, number>()
  for (const text of texts) {
    for (const word of cut(text.toWellFormed().normalize("NFC"))) counts.set(word, (counts.get(word) ?? 0) + 1)
  }
  return [...counts].map(([word, count]) => ({ symbols: [...word], count }))
}

function merged(symbols: readonly string[], pair: string): string[] {
  const result: string[] = []
  for (let i = 0; i < symbols.length; i++) {
    const both = i + 1 < symbols.length && `${symbols[i]} ${symbols[i + 1]}` === pair
    result.push(both ? symbols[i]! + symbols[++i]! : symbols[i]!)
  }
  return result
}

/** How often each pair of neighbours occurs, and in which words. */
class PairCounts {
  private readonly counts = new Map<string, number>()
  private readonly words = new Map<string, Set<number>>()

  addWord(index: number, word: Word, sign: 1 | -1): void {
    for (let i = 0; i + 1 < word.symbols.length; i++) {
      const pair = `${word.symbols[i]} ${word.symbols[i + 1]}`
      this.counts.set(pair, (this.counts.get(pair) ?? 0) + sign * word.count)
      const places = this.words.get(pair) ?? new Set()
      if (sign > 0) places.add(index)
      else places.delete(index)
      this.words.set(pair, places)
    }
  }

  /** The most frequent pair that occurs at least twice. */
  best(): string | undefined {
    let best: string | undefined
    let most = 1
    for (const [pair, count] of this.counts) {
      if (count > most || (count === most && best !== undefined && pair < best)) {
        best = pair
        most = count
      }
      if (count === 0) this.counts.delete(pair)
    }
    return best
  }

  wordsWith(pair: string): number[] {
    return [...(this.words.get(pair) ?? [])]
  }
}
