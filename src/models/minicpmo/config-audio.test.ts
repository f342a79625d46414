import { expect, test } from "vitest"
import { ConfigError } from "../../util/index.ts"
import { chunkFrames, parseAudioConfig } from "./config-audio.ts"

const encoder = { d_model: 1024, encoder_layers: 24, encoder_attention_heads: 16, encoder_ffn_dim: 4096 }
const file = { hidden_size: 3584, audio_config: encoder }

test("the official file; absent fields take the official classes' defaults", () => {
  const config = parseAudioConfig(file)
  expect(config).toEqual({
    hiddenSize: 1024,
    numLayers: 24,
    numHeads: 16,
    ffnSize: 4096,
    melBins: 80,
    maxPositions: 1500,
    tokenSize: 3584,
    poolStep: 2,
    chunkSeconds: 1,
  })
  const named = {
    ...{ hidden_size: 3584, audio_pool_step: 5, audio_chunk_length: -1 },
    audio_config: { ...encoder, num_mel_bins: 128, max_source_positions: 300 },
  }
  expect(parseAudioConfig(named)).toEqual({
    ...config,
    melBins: 128,
    maxPositions: 300,
    poolStep: 5,
    chunkSeconds: -1,
  })
})

test("sizes that a file leaves out are those of the official class", () => {
  const sizes = { hiddenSize: 384, numLayers: 4, numHeads: 6, ffnSize: 1536 }
  expect(parseAudioConfig({ hidden_size: 8, audio_config: {} })).toMatchObject(sizes)
  expect(parseAudioConfig({ hidden_size: 8, audio_config: { encoder_layers: 2 } })).toMatchObject({
    ...sizes,
    numLayers: 2,
  })
})

test("wrong fields are named", () => {
  const refused = (json: unknown, text: string) => {
    expect(() => parseAudioConfig(json)).toThrow(ConfigError)
    expect(() => parseAudioConfig(json)).toThrow(text)
  }
  refused({ hidden_size: 8 }, "config.json: audio_config: ")
  refused({ ...file, audio_config: { ...encoder, d_model: 0 } }, "config.json: audio_config.d_model: ")
  refused({ ...file, audio_config: { ...encoder, activation_function: "relu" } }, "audio_config.activation_function: ")
  refused({ ...file, audio_config: { ...encoder, scale_embedding: true } }, "audio_config.scale_embedding: ")
  refused(
    { ...file, audio_config: { ...encoder, encoder_attention_heads: 15 } },
    "config.json: audio_config: expected d_model to be a multiple of encoder_attention_heads, got 1024 and 15",
  )
  refused(
    { ...file, audio_config: { ...encoder, encoder_ffn_dim: 2048 } },
    "config.json: audio_config: expected encoder_ffn_dim to be 4 times d_model, got 2048 and 1024 " +
      "(the projector's input is encoder_ffn_dim / 4 wide)",
  )
  refused(
    { ...file, audio_chunk_length: 0.01 },
    "config.json: audio_chunk_length: expected at least 0.02 seconds or none (0), got 0.01",
  )
})

test("block lengths are cut to whole frames, as in the official code", () => {
  expect([1, 0.5, 0.03, 0, -1].map((seconds) => chunkFrames(seconds))).toEqual([50, 25, 1, undefined, undefined])
})
