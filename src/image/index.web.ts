export { decodeImage, pixelsOf } from "./decode.web.ts"
