/** @file The mock model with a script: it says given tokens, whatever it hears, and can be asked what it remembers. */
import type { PromptParts } from "../inference/index.ts"
import { IM_END, TTS_BOS } from "../tokenizer/index.ts"
import { type MockModel, mockModel, SOUND } from "./mock-model.test-util.ts"
import type { VoiceParts } from "./model.ts"

/** @param script ids of each answer in turn, from the end of its opening on; the end comes by itself */
export function scriptedModel(
  prompts: PromptParts,
  script: readonly (readonly number[])[],
  options: { readonly voice?: VoiceParts } = {},
): MockModel {
  const opening = prompts.tokenizer.idOf(TTS_BOS)
  const end = prompts.tokenizer.idOf(IM_END)
  return mockModel(
    prompts,
    (seen) => {
      const answers = seen.filter((id) => id === opening).length
      const written = seen.length - 1 - seen.lastIndexOf(opening)
      return script[answers - 1]?.[written] ?? end
    },
    options,
  )
}

/** Ids as text, sound as notes. */
export function readable({ tokenizer }: PromptParts, ids: readonly number[]): string {
  const bytes = ids.flatMap((id) => (id === SOUND ? [...new TextEncoder().encode("♪")] : [...tokenizer.bytesOf(id)]))
  return new TextDecoder().decode(Uint8Array.from(bytes))
}
