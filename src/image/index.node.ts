export { type Animation, decodePages, readAnimation } from "./animation.node.ts"
export { DEFAULT_MAX_PIXELS, type DecodeOptions, decodeImage } from "./decode.node.ts"
