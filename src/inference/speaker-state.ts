/** @file What the language model says about the voice of its answer. Source: `_get_last_spk_embeds` of the official code. */
import { f32, f32Data, type HostTensor } from "../tensor/index.ts"
import { InputError } from "../util/index.ts"
import type { LanguageModel } from "./language-model.ts"
import type { PromptSpans } from "./prompt-spans.ts"

/**
 * The normed state at the last speaker slot of a prompt, from which the speech decoder makes a voice.
 * @param hidden states of the prompt's positions before the final norm, [1, T, D]
 * @returns [1, D]
 * @throws InputError when the prompt has no speaker slot
 */
export async function speakerState(
  model: Pick<LanguageModel, "normed">,
  hidden: HostTensor,
  { speakerSpans }: Pick<PromptSpans, "speakerSpans">,
): Promise<HostTensor<"f32">> {
  const slot = speakerSpans.at(-1)
  if (!slot) {
    throw new InputError("speech: expected a prompt with a speaker slot, got one without (use the speech template)")
  }
  const width = hidden.shape[2]!
  const row = f32Data(hidden).slice(slot[0] * width, (slot[0] + 1) * width)
  const normed = await model.normed(f32([1, 1, width], row))
  return f32([1, width], f32Data(normed))
}
