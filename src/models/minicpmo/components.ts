/**
 * @file The components of the model whose tensors lie in its shards: their specs, and how each of their weights is used.
 * The vocoder has a file of its own.
 */
import type { SpecTree } from "../../tensor/index.ts"
import { AUDIO_PROJECTOR_PREFIX, audioProjectorSpec } from "./audio-projector.ts"
import { conditionalChatTtsSpec, TTS_PREFIX } from "./conditional-chat-tts.ts"
import { parseModelParts, parseQwen2Config } from "./config.ts"
import { parseAudioConfig } from "./config-audio.ts"
import { parseTtsConfig } from "./config-tts.ts"
import { parseVisionConfig } from "./config-vision.ts"
import { DVAE_PREFIX, dvaeConfig, dvaeSpec } from "./dvae.ts"
import { LLM_PREFIX, qwen2Spec } from "./qwen2.ts"
import { RESAMPLER_PREFIX, resamplerSpec } from "./resampler.ts"
import { SIGLIP_PREFIX, siglipSpec } from "./siglip.ts"
import type { ShapeOf } from "./tensor-shapes.ts"
import { AUDIO_ENCODER_PREFIX, whisperEncoderSpec } from "./whisper-encoder.ts"

/**
 * How the linear weights of a component meet their inputs, which decides how a quantized model keeps them: as the user
 * wishes (`language`), many rows at a time (`many-rows`), one row at a time where errors add up over a sequence
 * (`one-row`), or so rarely that they stay floats (`floats`).
 */
export type LinearUse = "language" | "many-rows" | "one-row" | "floats"

/** One component: its tensors, and those among them that are used in a special way. */
export type Component = {
  /** First part of its tensors' names. */
  readonly prefix: string
  readonly spec: SpecTree
  readonly use: LinearUse
  /** Tables read by rows: they stay as they are and never enter a graph whole. */
  readonly byRow: readonly string[]
  /** Linear weights that meet one row at a time, also during prefill. */
  readonly oneRow: readonly string[]
}

/**
 * The components that the config asks for; tensors of others are left alone.
 * @param config the parsed config.json
 * @param shapeOf shapes of the stored tensors: what no config file states is read off them
 * @param source names the file in errors
 * @throws ConfigError naming the first wrong field; CheckpointError naming a tensor without a usable shape
 */
export function componentSpecs(config: unknown, shapeOf: ShapeOf, source = "config.json"): Component[] {
  const qwen2 = parseQwen2Config(config, source)
  const { sees, hears, speaks } = parseModelParts(config, source)
  const language: Component = {
    prefix: LLM_PREFIX,
    spec: qwen2Spec(qwen2),
    use: "language",
    byRow: [`${LLM_PREFIX}.model.embed_tokens.weight`],
    oneRow: qwen2.tieWordEmbeddings ? [] : [`${LLM_PREFIX}.lm_head.weight`],
  }
  return [
    language,
    ...(sees ? visionComponents(config, source) : []),
    ...(hears ? audioComponents(config, source) : []),
    ...(speaks ? speechComponents(config, shapeOf, source) : []),
  ]
}

const PLAIN = { byRow: [], oneRow: [] }

function visionComponents(config: unknown, source: string): Component[] {
  const { siglip, resampler } = parseVisionConfig(config, source)
  return [
    { ...PLAIN, prefix: SIGLIP_PREFIX, spec: siglipSpec(siglip), use: "many-rows" },
    { ...PLAIN, prefix: RESAMPLER_PREFIX, spec: resamplerSpec(resampler), use: "many-rows" },
  ]
}

function audioComponents(config: unknown, source: string): Component[] {
  const audio = parseAudioConfig(config, source)
  return [
    { ...PLAIN, prefix: AUDIO_ENCODER_PREFIX, spec: whisperEncoderSpec(audio), use: "many-rows" },
    { ...PLAIN, prefix: AUDIO_PROJECTOR_PREFIX, spec: audioProjectorSpec(audio), use: "many-rows" },
  ]
}

function speechComponents(config: unknown, shapeOf: ShapeOf, source: string): Component[] {
  const tts = parseTtsConfig(config, source)
  return [
    {
      ...PLAIN,
      prefix: TTS_PREFIX,
      spec: conditionalChatTtsSpec(tts),
      use: "one-row",
      byRow: [`${TTS_PREFIX}.emb_text.weight`],
    },
    { ...PLAIN, prefix: DVAE_PREFIX, spec: dvaeSpec(dvaeConfig(shapeOf, tts.numVq)), use: "floats" },
  ]
}
