/**
 * @file How many mel frames, encoder frames and language-model tokens a stretch of audio becomes.
 * Source: WhisperFeatureExtractor (transformers) and the official processor's placeholder rule.
 */

/** Lengths of one stretch of audio along the encoder. */
export type AudioLengths = {
  /** ceil(samples / hop) */
  readonly melFrames: number
  /** After the convolution of stride 2. */
  readonly encoderFrames: number
  /** After pooling; 0 when too short for one token. */
  readonly audioTokens: number
}

/** @param poolStep `audio_pool_step` of the checkpoint's config (2 in the official one) */
export function audioLengths(samples: number, poolStep = 2, hopLength = 160): AudioLengths {
  const melFrames = Math.ceil(samples / hopLength)
  const encoderFrames = melFrames === 0 ? 0 : Math.floor((melFrames - 1) / 2) + 1
  const audioTokens = Math.max(0, Math.floor((encoderFrames - poolStep) / poolStep) + 1)
  return { melFrames, encoderFrames, audioTokens }
}

/**
 * The fewest samples that give one audio token: 321 at the official settings.
 * The official code fails on less; callers refuse, pad or drop such a stretch.
 */
export function minEncodableSamples(poolStep = 2, hopLength = 160): number {
  return (2 * poolStep - 2) * hopLength + 1
}

/**
 * Sizes of the bracketed placeholder groups of one audio item: full groups of one second, then the rest.
 * With `chunk_input` off there is one group of all tokens instead; that is the caller's choice.
 */
export function placeholderGroups(audioTokens: number, tokensPerGroup = 25): number[] {
  return Array.from({ length: Math.ceil(audioTokens / tokensPerGroup) }, (_, j) =>
    Math.min(tokensPerGroup, audioTokens - j * tokensPerGroup),
  )
}
