export { createOrtNodeExecutor, findVulkanDriver, type OrtNodeOptions } from "./ort.node.ts"
