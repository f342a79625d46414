export { configError, parseQwen2Config, type Qwen2Config } from "./config.ts"
export { parseVisionConfig, type ResamplerConfig, type SiglipConfig, type VisionConfig } from "./config-vision.ts"
export {
  LLM_PREFIX,
  type Qwen2Spec,
  qwen2EmbeddingGraph,
  qwen2HeadGraph,
  qwen2LayersGraph,
  qwen2NormGraph,
  qwen2Slot,
  qwen2Spec,
} from "./qwen2.ts"
export { RESAMPLER_PREFIX, type ResamplerSpec, resamplerGraph, resamplerSpec } from "./resampler.ts"
export { SIGLIP_PREFIX, siglipGraph, siglipSpec } from "./siglip.ts"
