export {
  AUDIO_PROJECTOR_PREFIX,
  audioProjector,
  audioProjectorGraph,
  audioProjectorSpec,
} from "./audio-projector.ts"
export { type Component, componentSpecs, type LinearUse } from "./components.ts"
export {
  conditionalChatTtsGraph,
  conditionalChatTtsSpec,
  FOLDED_HEADS,
  foldWeightNorm,
  TTS_PREFIX,
  TTS_ROPE_THETA,
  ttsProjectorGraph,
  ttsSlot,
} from "./conditional-chat-tts.ts"
export { configError, type ModelParts, parseModelParts, parseQwen2Config, type Qwen2Config } from "./config.ts"
export { type AudioConfig, chunkFrames, parseAudioConfig } from "./config-audio.ts"
export { parseTtsConfig, type TtsConfig } from "./config-tts.ts"
export { parseVisionConfig, type ResamplerConfig, type SiglipConfig, type VisionConfig } from "./config-vision.ts"
export {
  DVAE_PREFIX,
  type DvaeConfig,
  dvaeConfig,
  dvaeDecodeGraph,
  dvaeEncodeGraph,
  dvaeReach,
  dvaeSpec,
  fsqTable,
  soundCodes,
} from "./dvae.ts"
export {
  LLM_PREFIX,
  type Qwen2Spec,
  qwen2EmbeddingGraph,
  qwen2HeadGraph,
  qwen2LastKeysGraph,
  qwen2LayersGraph,
  qwen2NormGraph,
  qwen2Slot,
  qwen2Spec,
} from "./qwen2.ts"
export { RESAMPLER_PREFIX, type ResamplerSpec, resamplerGraph, resamplerSpec } from "./resampler.ts"
export { SIGLIP_PREFIX, siglipGraph, siglipSpec } from "./siglip.ts"
export type { ShapeOf } from "./tensor-shapes.ts"
export { VOCOS_FILE, type VocosConfig, vocosConfig, vocosGraph, vocosReach, vocosSpec } from "./vocos.ts"
export {
  AUDIO_ENCODER_PREFIX,
  audioFrontGraph,
  audioLayersGraph,
  audioSlot,
  type LayerRange,
  whisperEncoderGraph,
  whisperEncoderSpec,
} from "./whisper-encoder.ts"
