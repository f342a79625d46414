/** @file What an answer cost, counted by kind. */
import type { AnswerUsage } from "./types.ts"

/** Positions that an answer is based on; `cached` of them were read before it was asked for. */
export type PromptUsage = {
  readonly positions: number
  readonly audio: number
  readonly image: number
  readonly cached: number
}

export function usageOf(
  { positions, audio, image, cached }: PromptUsage,
  completionTextTokens: number,
  completionAudioTokens: number,
): AnswerUsage {
  return {
    promptTextTokens: positions - audio - image,
    promptAudioTokens: audio,
    promptImageTokens: image,
    cachedTokens: cached,
    completionTextTokens,
    completionAudioTokens,
  }
}

/** Of a text that answers a text. */
export function textUsage(promptTokens: number, completionTokens: number): AnswerUsage {
  return usageOf({ positions: promptTokens, audio: 0, image: 0, cached: 0 }, completionTokens, 0)
}
