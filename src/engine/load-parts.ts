/** @file The parts of a model beside its language model: what sees, hears and speaks, as their weights are stored. */
import { concatPcm, createWhisperMel, whisperMelConfig } from "../audio/index.ts"
import { type FileSource, openPt, readJsonObject, readText } from "../checkpoint/index.ts"
import type { ModelWeights } from "../convert/index.ts"
import { parseImageConfig } from "../image/index.ts"
import {
  AudioEncoder,
  type EmbedParts,
  type LanguageModel,
  loadSpeechParts,
  type PromptParts,
  VisionEncoder,
} from "../inference/index.ts"
import {
  LLM_PREFIX,
  parseAudioConfig,
  parseModelParts,
  parseVisionConfig,
  VOCOS_FILE,
} from "../models/minicpmo/index.ts"
import type { Executor } from "../runtime/index.ts"
import type { OmniModel, VoiceParts } from "../session/index.ts"
import { f32Data } from "../tensor/index.ts"
import { type ChatTemplate, type OmniTokenizer, readTtsTokenizer, ttsPromptLayout } from "../tokenizer/index.ts"

export type LoadedText = {
  readonly source: FileSource
  /** The parsed config.json. */
  readonly json: { readonly [key: string]: unknown }
  readonly executor: Executor
  readonly weights: ModelWeights
  readonly model: LanguageModel
  readonly tokenizer: OmniTokenizer
  readonly template: ChatTemplate
}

/** Layers of one step, so that others may run between them. */
const VISION_LAYERS_PER_STEP = 4
const AUDIO_LAYERS_PER_STEP = 12

/** @throws ConfigError or CheckpointError naming the field, file or tensor */
export async function loadParts(text: LoadedText): Promise<OmniModel> {
  const { source, json, executor, weights, model, tokenizer, template } = text
  const where = `${source.name}/config.json`
  const preprocessor = await readJsonObject(source, "preprocessor_config.json")
  const image = parseImageConfig(preprocessor)
  const mel = createWhisperMel(whisperMelConfig(preprocessor))
  const { sees, hears, speaks } = parseModelParts(json, where)
  const audioConfig = parseAudioConfig(json, where)
  const prompts: PromptParts = {
    tokenizer,
    template,
    image,
    audio: { mel: mel.config, poolStep: audioConfig.poolStep },
  }
  // Components other than the language model are stored in one form; what is preferred does not matter.
  const store = weights.weights("int8")
  const vision = async () =>
    VisionEncoder.load({
      config: parseVisionConfig(json, where),
      image,
      executor,
      siglip: store,
      resampler: store,
      layersPerStep: VISION_LAYERS_PER_STEP,
    })
  const encoder = async () =>
    AudioEncoder.load({
      config: audioConfig,
      executor,
      encoder: store,
      projector: store,
      layersPerStep: AUDIO_LAYERS_PER_STEP,
    })
  const perception: EmbedParts = {
    model,
    ...(sees ? { vision: await vision() } : {}),
    ...(hears ? { audio: { encoder: await encoder(), mel } } : {}),
  }
  const shared = { fingerprint: await fingerprintOf(text), language: model, prompts, perception }
  return speaks ? { ...shared, voice: await loadVoice(text) } : shared
}

async function loadVoice({ source, json, executor, weights }: LoadedText): Promise<VoiceParts> {
  const stored = { shapeOf: weights.shapeOf, weights: weights.weights("int8") }
  const speech = await loadSpeechParts(json, stored, await openPt(source, VOCOS_FILE), executor)
  const tts = await readTtsTokenizer({ readText: (path) => readText(source, path) })
  return { ...speech, tokenizer: tts, layout: ttsPromptLayout(tts, json.tts_config as { [key: string]: number }) }
}

/** Rows of the embedding table that tell models apart. */
const NAMED_ROWS = 16

/**
 * Names a model for its snapshots: its sizes, and a hash of weights that every storage keeps exactly (rows of the embedding
 * table, norms and biases), since equal weights in other storage may go on with them. The origin tells apart what was
 * trained in projections alone. New parts go to the end: earlier snapshots are named by the beginning.
 */
async function fingerprintOf({
  json,
  weights,
  model,
}: Pick<LoadedText, "json" | "weights" | "model">): Promise<string> {
  const keys = ["hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "vocab_size"]
  const sizes = keys.map((key) => `${key}=${JSON.stringify(json[key])}`).join(",")
  const { vocabSize, numHiddenLayers } = model.config
  const rows = Array.from({ length: NAMED_ROWS }, (_, i) => Math.floor((i * vocabSize) / NAMED_ROWS))
  const exact = [f32Data(model.embed(rows))]
  const store = weights.weights("int8")
  const layers = Array.from({ length: numHiddenLayers }, (_, i) => `model.layers.${i}`)
  const names = layers.flatMap((layer) => [`${layer}.input_layernorm.weight`, `${layer}.self_attn.v_proj.bias`])
  for (const name of [...names, "model.norm.weight"].map((name) => `${LLM_PREFIX}.${name}`)) {
    const shape = weights.shapeOf(name)
    if (shape) exact.push(f32Data(store.read(name, "f32", shape)))
  }
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", concatPcm(exact).slice()))
  const hash = Array.from(digest.subarray(0, 8), (byte) => byte.toString(16).padStart(2, "0")).join("")
  return `${sizes},weights=${hash},origin=${weights.origin}`
}
