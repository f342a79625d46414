export { openOnnxWebModel } from "./onnx-model.web.ts"
export { createOrtWebExecutor, type OrtWebOptions } from "./ort.web.ts"
