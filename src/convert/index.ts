export {
  BLOCK_SIZES,
  type BlockSize,
  BUNDLE_FILE,
  type BundleEntry,
  type BundleManifest,
  type BundleOptions,
  type BundlePlan,
  bundleOptions,
  DEFAULT_BLOCK_SIZE,
  parseManifest,
  planBundle,
  QUANTIZATIONS,
  type Quantization,
  type StoredLinear,
  WEIGHTS_FILE,
} from "./bundle.ts"
export { readOwnBundle } from "./bundle-memory.ts"
export { type BundlePiece, type Progress, type TaskOptions, writeBundle } from "./bundle-writer.ts"
export { modelFiles, PREPROCESSOR, UNTRAINED_FIELD } from "./model-files.ts"
export { checkOwnStorage, OWN_BUNDLE_FOLDER, readComponents, readOwnManifest } from "./model-folder.ts"
export { bundleWeights, floatWeights, type ModelWeights, type ReadAt, type WeightKind } from "./model-weights.ts"
export { officialTensors, randomTensors, vocosTensors } from "./official-tensors.ts"
export { type ModelPlan, modelPlan, PRESETS, type Preset, type UnstatedSizes } from "./presets.ts"
export {
  checkBundle,
  componentTensors,
  planCheckpoint,
  planComponents,
  quantizeCheckpoint,
} from "./quantize-checkpoint.ts"
export { dequantizeInt4, type Int4Target, quantizeInt4 } from "./quantize-int4.ts"
export { dequantizeInt8, type Int8Target, quantizeInt8 } from "./quantize-int8.ts"
export { localQuantizer, type Quantizer, quantizeRows } from "./quantize-rows.ts"
export { randomBundle } from "./random-bundle.ts"
