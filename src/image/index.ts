export { type ImageConfig, parseImageConfig } from "./config.ts"
export { normalizationTable, type PatchBatch, type PatchStrip, padBatch, patchify } from "./normalize.ts"
export { imagePlaceholder, type PlaceholderTokens } from "./placeholders.ts"
export { positionBuckets, positionIds, resamplerPositions } from "./positions.ts"
export {
  type ProcessedImage,
  type ProcessOptions,
  processImage,
  processImageSteps,
  processImages,
} from "./processor.ts"
export { type ResizeBox, resize } from "./resize.ts"
export {
  checkPixels,
  type ImageBehaviour,
  type RgbaImage,
  type RgbImage,
  rgbImage,
  type Size,
  toRgb,
} from "./rgb-image.ts"
export {
  blockCount,
  type Grid,
  nearestMultiple,
  planSlices,
  roundHalfToEven,
  type SlicePlan,
  type SliceSettings,
  sliceCorner,
} from "./slicing.ts"
export { FORMAT_NAMES, type ImageFormat, isImage, sniffFormat } from "./sniff.ts"
