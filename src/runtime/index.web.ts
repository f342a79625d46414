export { createOrtWebExecutor, type OrtWebOptions } from "./ort.web.ts"
