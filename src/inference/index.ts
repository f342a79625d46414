export {
  AudioEncoder,
  type AudioEncoderParts,
  type AudioStream,
  encoderFrames,
  readAudioWeights,
} from "./audio-encoder.ts"
export { audioCacheMask, audioSegmentMask } from "./audio-mask.ts"
export { type BeamOptions, beamSearch, DEFAULT_BEAMS, decodeBeams } from "./beam-search.ts"
export {
  type CodeFrame,
  type CodeSampling,
  checkCodeSampling,
  codeProbabilities,
  codeSampling,
  DEFAULT_CODE_SAMPLING,
  type Draw,
  drawBy,
  drawMostLikely,
  penalizeRepetition,
} from "./code-sampler.ts"
export { MEL_PER_CODE_FRAME, SpeechCodec } from "./codec.ts"
export { readComponent } from "./component-weights.ts"
export { type ClipEncoder, type EmbedParts, embedBatch, embedPiece, embedPrompt } from "./embed-prompt.ts"
export { decode, type FinishReason, type GenerateOptions, type GenerateStep, generate } from "./generate.ts"
export { type BatchAnswer, generateBatch } from "./generate-batch.ts"
export {
  checkContext,
  type ForwardOptions,
  LanguageModel,
  type LanguageModelParts,
  type TokenModel,
} from "./language-model.ts"
export { type MediaEmbeds, mergeEmbeds } from "./merge.ts"
export {
  type ChatPromptOptions,
  chatPrompt,
  type Message,
  type Prompt,
  type PromptBatch,
  padPrompts,
  systemMessage,
} from "./prompt.ts"
export type { ContentItem, ContentOptions, PromptParts } from "./prompt-content.ts"
export { type PromptSpans, type Span, spanLength } from "./prompt-spans.ts"
export { callItems, toolItems } from "./prompt-tools.ts"
export {
  argMax,
  type Candidates,
  candidates,
  checkSampling,
  DEFAULT_SAMPLING,
  processLogits,
  type SamplingContext,
  type SamplingOptions,
  sample,
} from "./sampler.ts"
export { speakerState } from "./speaker-state.ts"
export {
  DEFAULT_MIN_FRAMES,
  SpeechDecoder,
  type SpeechDecoderState,
  type SpeechGenerateOptions,
  type SpeechRows,
  textChunk,
} from "./speech-decoder.ts"
export { audioStart, cacheMask, visibleTextSlots } from "./speech-mask.ts"
export { loadSpeechParts, readSpeechWeights, type SpeechParts, type SpeechWeights } from "./speech-parts.ts"
export {
  type CodeRenderer,
  type Delivery,
  flushRendering,
  initRendering,
  LIVE_RENDERING,
  REFERENCE_RENDERING,
  type RenderOptions,
  type RenderState,
  renderFrames,
  SAMPLES_PER_CODE_FRAME,
} from "./speech-renderer.ts"
export type { SpeechPiece, SpeechState } from "./speech-state.ts"
export {
  CALL_FRAMES,
  MAX_SEGMENT_FRAMES,
  type SpeechOptions,
  SpeechStream,
} from "./speech-stream.ts"
export { speakWhole, type WholeSpeechOptions } from "./speech-whole.ts"
export {
  answerCompleted,
  answerPiece,
  INITIAL_STREAM_PROMPT,
  messagePiece,
  type StreamPromptState,
  turnClosing,
  turnOpening,
} from "./stream-prompt.ts"
export { stripsOf, VisionEncoder, type VisionParts } from "./vision.ts"
export { DEFAULT_MAX_PATCHES, type VisionBatch, visionBatch } from "./vision-batch.ts"
export { VOCODER_HOP, VOCODER_SAMPLE_RATE_HZ, Vocoder } from "./vocoder.ts"
