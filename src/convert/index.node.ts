export { type Bundle, openBundle } from "./bundle.node.ts"
export { type ConvertOptions, type ConvertResult, convertCheckpoint, openModelWeights } from "./convert.node.ts"
export { quantizerPool } from "./quantizer-pool.node.ts"
