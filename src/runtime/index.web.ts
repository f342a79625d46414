export { openOnnxWebModel } from "./onnx-model.web.ts"
export { createOrtWebExecutor, hasGraphicsAdapter, type OrtWebOptions } from "./ort.web.ts"
