export { DEFAULT_MAX_PIXELS, type DecodeOptions, decodeImage } from "./decode.node.ts"
