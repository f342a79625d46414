/**
 * @file Speaking an answer that is known as a whole: the same decoder, all of its sound in one decode at the end.
 * Source: _generate_mel_spec (modeling_minicpmo.py), the `chat` path; unlike the stream it spells no digits.
 */
import { TTS_BOS, TTS_EOS, type TtsPromptLayout, type TtsTokenizer, ttsPrompt } from "../tokenizer/index.ts"
import type { Steps } from "../util/index.ts"
import type { CodeFrame, CodeSampling, Draw } from "./code-sampler.ts"
import { type SpeechDecoder, textChunk } from "./speech-decoder.ts"
import { audioStart } from "./speech-mask.ts"
import { CALL_FRAMES, MAX_SEGMENT_FRAMES } from "./speech-stream.ts"

export type WholeSpeechOptions = {
  readonly tokenizer: TtsTokenizer
  readonly layout: TtsPromptLayout
  readonly sampling: CodeSampling
  readonly draw: Draw
}

/**
 * Draws the frames of an answer; text beyond the slots is left out. Each `next()` is one step.
 * @param speakerState the language model's normed hidden state at `<|spk|>`  // [D']
 * @param answer of which is said what follows the last `<|tts_bos|>`, up to the first `<|tts_eos|>` after it
 * @param onCall hears how many frames each call drew
 */
export async function* speakWhole(
  decoder: SpeechDecoder,
  speakerState: Float32Array,
  answer: string,
  { tokenizer, layout, sampling, draw }: WholeSpeechOptions,
  onCall?: (drawn: number) => void,
): Steps<readonly CodeFrame[]> {
  const { config } = decoder
  const { speaker } = await decoder.speaker(speakerState)
  const said = answer.split(TTS_BOS).at(-1)!.split(TTS_EOS)[0]!
  const { ids, textTokens } = ttsPrompt(tokenizer, layout, said)
  let state = decoder.init()
  const chunks = Math.ceil((audioStart(config) + 1) / config.textChunkSize)
  for (let chunk = 0; !state.finished; chunk++) {
    // Padding is prefilled like text; after the last chunk calls simply go on.
    if (chunk >= chunks && state.frames.length > MAX_SEGMENT_FRAMES) break
    const [begin, end] = textChunk(chunk, config)
    if (begin < end) {
      ;[, state] = await decoder.prefillText(state, ids.slice(begin, end), begin, chunk === 0 ? speaker : undefined)
      yield
    }
    const [drawn, next] = yield* decoder.generate(state, { textTokens, maxFrames: CALL_FRAMES, sampling, draw })
    state = next
    onCall?.(drawn)
  }
  return state.frames
}
