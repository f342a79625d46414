export { type Animation, decodePages, readAnimation } from "./animation.node.ts"
export { type DecodeOptions, decodeImage } from "./decode.node.ts"
