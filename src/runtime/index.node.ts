export { openOnnxNodeModel } from "./onnx-model.node.ts"
export { createOrtNodeExecutor, findVulkanDriver, type OrtNodeOptions, useVulkanDriver } from "./ort.node.ts"
