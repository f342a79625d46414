/** @file `tts_config` of MiniCPM-o 2.6: the speech decoder's sizes and settings, with the official class defaults. */
import { z } from "zod"
import { ConfigError } from "../../util/index.ts"
import { configError } from "./config.ts"

const size = z.int().positive()

// config.json carries only what differs from the class; the defaults are those of ConditionalChatTTSConfig.
const ttsFields = z.object({
  llm_dim: size.default(2560),
  hidden_size: size.default(768),
  intermediate_size: size.default(3072),
  num_attention_heads: size.default(12),
  num_hidden_layers: size.default(20),
  max_position_embeddings: size.default(4096),
  num_audio_tokens: size.min(2).default(626),
  num_text_tokens: size.default(21178),
  num_mel_bins: size.default(100),
  num_vq: size.default(4),
  num_spk_embs: size.default(1),
  audio_bos_token_id: z.int().nonnegative().default(21132),
  streaming_text_chunk_size: size.default(10),
  streaming_text_reserved_len: size.default(300),
  top_p: z.number().positive().max(1).default(0.7),
  top_k: size.default(20),
  repetition_penalty: z.number().positive().default(1),
  // Variants that no released checkpoint uses.
  use_speaker_embedding: z.literal(true).default(true),
  use_llm_hidden_state: z.literal(false).default(false),
  use_text: z.literal(true).default(true),
  use_mlp: z.literal(true).default(true),
})

const configFields = z.object({ tts_config: ttsFields })

export type TtsConfig = {
  /** Width of the language model's hidden states. */
  readonly llmDim: number
  readonly hiddenSize: number
  readonly intermediateSize: number
  readonly numAttentionHeads: number
  readonly numHiddenLayers: number
  /** Width of one head, K. */
  readonly headSize: number
  readonly maxPositionEmbeddings: number
  /** Codes of one codebook, the end code (the last one) included. */
  readonly numAudioTokens: number
  readonly numTextTokens: number
  readonly numMelBins: number
  /** Codebooks, R. */
  readonly numVq: number
  readonly numSpkEmbs: number
  /** `[Ptts]`, the input that stands for the audio frame before the first. */
  readonly audioBosTokenId: number
  /** Text tokens prefilled at a time, n. */
  readonly textChunkSize: number
  /** Text slots, N. */
  readonly textReservedLen: number
  readonly topP: number
  readonly topK: number
  readonly repetitionPenalty: number
}

/**
 * @param json the whole config.json
 * @param source names the file in errors
 * @throws ConfigError naming the first wrong field
 */
export function parseTtsConfig(json: unknown, source = "config.json"): TtsConfig {
  const parsed = configFields.safeParse(json)
  if (!parsed.success) throw configError(source, parsed.error)
  const c = parsed.data.tts_config
  const headSize = c.hidden_size / c.num_attention_heads
  if (headSize % 2 !== 0) {
    throw new ConfigError(
      `${source}: tts_config: expected hidden_size to be an even multiple of num_attention_heads, ` +
        `got ${c.hidden_size} and ${c.num_attention_heads}`,
    )
  }
  if (c.audio_bos_token_id >= c.num_text_tokens) {
    throw new ConfigError(
      `${source}: tts_config: expected audio_bos_token_id below num_text_tokens ${c.num_text_tokens}, ` +
        `got ${c.audio_bos_token_id}`,
    )
  }
  return {
    llmDim: c.llm_dim,
    hiddenSize: c.hidden_size,
    intermediateSize: c.intermediate_size,
    numAttentionHeads: c.num_attention_heads,
    numHiddenLayers: c.num_hidden_layers,
    headSize,
    maxPositionEmbeddings: c.max_position_embeddings,
    numAudioTokens: c.num_audio_tokens,
    numTextTokens: c.num_text_tokens,
    numMelBins: c.num_mel_bins,
    numVq: c.num_vq,
    numSpkEmbs: c.num_spk_embs,
    audioBosTokenId: c.audio_bos_token_id,
    textChunkSize: c.streaming_text_chunk_size,
    textReservedLen: c.streaming_text_reserved_len,
    topP: c.top_p,
    topK: c.top_k,
    repetitionPenalty: c.repetition_penalty,
  }
}
