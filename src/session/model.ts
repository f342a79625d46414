/** @file The parts of a loaded model that conversations need. */
import type { Constraints } from "../grammar/index.ts"
import type { CodeRenderer, EmbedParts, LanguageModel, PromptParts, SpeechDecoder } from "../inference/index.ts"
import type { TtsPromptLayout, TtsTokenizer } from "../tokenizer/index.ts"
import { ConfigError } from "../util/index.ts"

/** What a conversation uses of the language model: a seam for tests. */
export type ConversationModel = Pick<
  LanguageModel,
  "config" | "embed" | "forward" | "lastLogits" | "normed" | "createCache" | "forget"
>

/** What answers are spoken with. */
export type VoiceParts = CodeRenderer & {
  readonly decoder: SpeechDecoder
  readonly tokenizer: TtsTokenizer
  readonly layout: TtsPromptLayout
}

/** A loaded model. One without encoders reads text alone, one without a voice cannot speak. */
export type OmniModel = {
  /** Names the weights: snapshots belong to one. */
  readonly fingerprint: string
  readonly language: ConversationModel
  readonly prompts: PromptParts
  readonly perception: EmbedParts
  readonly voice?: VoiceParts
  /** Masks for answers with tools or a format; loaded when first needed. */
  readonly constraints?: () => Promise<Constraints>
}

/** @throws ConfigError when the model has no speech decoder */
export function voiceOf({ voice }: OmniModel): VoiceParts {
  if (voice) return voice
  throw new ConfigError("speak: expected a model that speaks, got one without a speech decoder (ask for text alone)")
}
