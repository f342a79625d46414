/** @file Where in a prompt's token ids embeddings go: spans between special tokens, found by id. */
import type { ImageConfig } from "../image/index.ts"
import { AUDIO_END, AUDIO_START, type OmniTokenizer, SPK_BOS, SPK_EOS } from "../tokenizer/index.ts"
import { InputError } from "../util/index.ts"

/** Positions [start, end) of a prompt. */
export type Span = readonly [start: number, end: number]

export type PromptSpans = {
  /** One for each slice of each image, overviews included. */
  readonly imageSpans: readonly Span[]
  /** One for each bracketed group. */
  readonly audioSpans: readonly Span[]
  /** Speaker slots; the last one is the answer's. */
  readonly speakerSpans: readonly Span[]
}

/** What the prompt's text was written with. */
export type ExpectedMedia = {
  readonly blocks: number
  readonly audioTokens: number
  /** Ids were cut off at the end: media may be missing, but not in part. */
  readonly cut: boolean
}

/**
 * Finds all spans and checks them against what was written.
 * @throws InputError when a cut went through an image or sound, or special strings in text disturb the count
 */
export function findSpans(
  ids: readonly number[],
  tokenizer: OmniTokenizer,
  { tokens }: ImageConfig,
  expected: ExpectedMedia,
): PromptSpans {
  const between = (what: string, starts: readonly string[], ends: readonly string[]) =>
    pairs(ids, what, starts.map(tokenizer.idOf), ends.map(tokenizer.idOf), expected.cut)
  const imageSpans = between("images", [tokens.imageStart, tokens.sliceStart], [tokens.imageEnd, tokens.sliceEnd])
  const audioSpans = between("sound", [AUDIO_START], [AUDIO_END])
  const blocks = imageSpans.filter(([start, end]) => end - start === tokens.featureSize).length
  if (blocks < imageSpans.length) throw disturbed("images", `spans of ${tokens.featureSize}`, "other lengths")
  checkCount("images", imageSpans.length, expected.blocks, expected.cut)
  checkCount("sound", spanLength(audioSpans), expected.audioTokens, expected.cut)
  return { imageSpans, audioSpans, speakerSpans: between("speakers", [SPK_BOS], [SPK_EOS]) }
}

/** Positions of all spans together. */
export function spanLength(spans: readonly Span[]): number {
  return spans.reduce((sum, [start, end]) => sum + end - start, 0)
}

function pairs(
  ids: readonly number[],
  what: string,
  startIds: readonly number[],
  endIds: readonly number[],
  cut: boolean,
): Span[] {
  const spans: Span[] = []
  let open: number | undefined
  for (const [position, id] of ids.entries()) {
    if (startIds.includes(id)) {
      if (open !== undefined) throw disturbed(what, "each start to have its end", "two starts in a row")
      open = position + 1
    } else if (endIds.includes(id)) {
      if (open === undefined) throw disturbed(what, "each end to have its start", "an end alone")
      spans.push([open, position])
      open = undefined
    }
  }
  if (open === undefined) return spans
  if (!cut) throw disturbed(what, "each start to have its end", "a start alone")
  throw new InputError(
    `prompt: expected maxInputLength to spare ${what}, got a cut through a span at ${ids.length} ids ` +
      "(raise it, or drop earlier turns)",
  )
}

function checkCount(what: string, got: number, expected: number, cut: boolean): void {
  if (cut ? got <= expected : got === expected) return
  throw disturbed(what, `${expected} placeholders or spans`, `${got}`)
}

function disturbed(what: string, expected: string, got: string): InputError {
  return new InputError(
    `prompt: expected ${expected} for ${what}, got ${got} (text holds special strings: pass it as a plain item)`,
  )
}
