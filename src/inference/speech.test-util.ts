/** @file Small speaking models with random weights, of other sizes than any checkpoint's. */
import {
  conditionalChatTtsSpec,
  DVAE_PREFIX,
  type DvaeConfig,
  dvaeSpec,
  parseTtsConfig,
  TTS_PREFIX,
  type TtsConfig,
  type VocosConfig,
  vocosSpec,
} from "../models/minicpmo/index.ts"
import type { Executor, WeightStore } from "../runtime/index.ts"
import { buildTtsTokenizer, loadTtsTokenizer, MIN_TTS_VOCAB_SIZE, ttsPromptLayout } from "../tokenizer/index.ts"
import { createRandom } from "../util/index.ts"
import type { CodeFrame } from "./code-sampler.ts"
import { SpeechCodec } from "./codec.ts"
import { randomWeights } from "./random-weights.test-util.ts"
import { SpeechDecoder } from "./speech-decoder.ts"
import { Vocoder } from "./vocoder.ts"

const built = buildTtsTokenizer({ size: MIN_TTS_VOCAB_SIZE + 30 })
const ttsFields = {
  ...built.config,
  llm_dim: 10,
  hidden_size: 12,
  intermediate_size: 20,
  num_attention_heads: 3,
  num_hidden_layers: 2,
  num_spk_embs: 2,
  streaming_text_chunk_size: 7,
  streaming_text_reserved_len: 230,
}

/** Two speaker slots, 230 text slots in chunks of 7; closes at a sentence end from 50 tokens on. */
export const SMALL_TTS: TtsConfig = parseTtsConfig({ tts_config: ttsFields })

const files = built.files as { readonly [name: string]: string }
const tokenizer = loadTtsTokenizer({ tokenizerJson: JSON.parse(files["tokenizer.json"]!) })
export const SMALL_TEXT = { tokenizer, layout: ttsPromptLayout(tokenizer, ttsFields) }

const stack = { inner: 8, bottleneck: 5, hidden: 6, intermediate: 9, outer: 8, depth: 2, kernel: 5 }
export const SMALL_DVAE: DvaeConfig = {
  melBins: 7,
  channels: 8,
  codebooks: 4,
  digits: 4,
  encoder: { ...stack, inner: 7, outer: 16 },
  decoder: { ...stack, outer: 9 },
}
export const SMALL_VOCOS: VocosConfig = {
  melBins: 7,
  hidden: 6,
  intermediate: 10,
  depth: 2,
  embedKernel: 5,
  kernel: 3,
  fftSize: 1024,
}

export function smallDecoderWeights(): WeightStore {
  return randomWeights(conditionalChatTtsSpec(SMALL_TTS), TTS_PREFIX, 1)
}

export async function smallDecoder(executor: Executor): Promise<SpeechDecoder> {
  return await SpeechDecoder.load(SMALL_TTS, executor, smallDecoderWeights())
}

/** Codec and vocoder. */
export async function smallRenderer(executor: Executor): Promise<{ codec: SpeechCodec; vocoder: Vocoder }> {
  return {
    codec: await SpeechCodec.load(SMALL_DVAE, executor, randomWeights(dvaeSpec(SMALL_DVAE), DVAE_PREFIX, 2)),
    vocoder: await Vocoder.load(SMALL_VOCOS, executor, randomWeights(vocosSpec(SMALL_VOCOS), "", 3)),
  }
}

export function randomFrames(count: number, seed: number): CodeFrame[] {
  const random = createRandom(seed)
  return Array.from({ length: count }, () => Array.from({ length: 4 }, () => Math.floor(random() * 625)))
}

export function randomState(size: number, seed: number): Float32Array {
  const random = createRandom(seed)
  return Float32Array.from({ length: size }, () => 2 * random() - 1)
}
