import { expect, test } from "vitest"
import { CheckpointError, ConfigError } from "../../util/index.ts"
import { foldWeightNorm } from "./conditional-chat-tts.ts"
import { parseTtsConfig } from "./config-tts.ts"
import { dvaeConfig } from "./dvae.ts"
import { vocosConfig } from "./vocos.ts"

test("what the official config.json leaves out has the class defaults", () => {
  const config = parseTtsConfig({ tts_config: { model_type: "conditional_chattts", llm_dim: 3584 } })
  expect(config).toEqual({
    llmDim: 3584,
    hiddenSize: 768,
    intermediateSize: 3072,
    numAttentionHeads: 12,
    numHiddenLayers: 20,
    headSize: 64,
    maxPositionEmbeddings: 4096,
    numAudioTokens: 626,
    numTextTokens: 21178,
    numMelBins: 100,
    numVq: 4,
    numSpkEmbs: 1,
    audioBosTokenId: 21132,
    textChunkSize: 10,
    textReservedLen: 300,
    topP: 0.7,
    topK: 20,
    repetitionPenalty: 1,
  })
})

test.each([
  [{}, /^config.json: tts_config: .* \(compare with the official config.json\)$/],
  [{ tts_config: { hidden_size: -1 } }, /^config.json: tts_config.hidden_size: /],
  [{ tts_config: { use_llm_hidden_state: true } }, /^config.json: tts_config.use_llm_hidden_state: /],
  [
    { tts_config: { hidden_size: 36 } },
    "config.json: tts_config: expected hidden_size to be an even multiple of num_attention_heads, got 36 and 12",
  ],
  [
    { tts_config: { num_text_tokens: 7 } },
    "config.json: tts_config: expected audio_bos_token_id below num_text_tokens 7, got 21132",
  ],
])("refuses %j", (json, message) => {
  expect(() => parseTtsConfig(json)).toThrow(message)
  expect(() => parseTtsConfig(json)).toThrow(ConfigError)
})

test("codec and vocoder name the tensor that is missing", () => {
  expect(() => dvaeConfig(() => undefined, 4)).toThrow(
    new CheckpointError(
      "tts.dvae.vq_layer.quantizer.rvqs.0.project_in.weight: expected a tensor of 2 dims, got none (is the download complete?)",
    ),
  )
  expect(() => dvaeConfig(() => undefined, 3)).toThrow("tts_config.num_vq: expected a multiple of 2, got 3")
  expect(() => vocosConfig(() => [1, 2])).toThrow(
    "backbone.embed.weight: expected a tensor of 3 dims, got [1, 2] (is the download complete?)",
  )
})

test("weight norm: rows of length gain in the given direction", () => {
  expect([...foldWeightNorm(Float32Array.of(10, -1), Float32Array.of(3, 4, 0, 2))]).toEqual([6, 8, -0, -1])
})
