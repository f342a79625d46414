export { type BeamOptions, beamSearch, DEFAULT_BEAMS } from "./beam-search.ts"
export { readComponent } from "./component-weights.ts"
export { type FinishReason, type GenerateOptions, type GenerateStep, generate } from "./generate.ts"
export { type ForwardOptions, LanguageModel, type LanguageModelParts } from "./language-model.ts"
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
export { stripsOf, VisionEncoder, type VisionParts } from "./vision.ts"
export { DEFAULT_MAX_PATCHES, type VisionBatch, visionBatch } from "./vision-batch.ts"
