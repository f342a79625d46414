export { createOrtNodeExecutor, findVulkanDriver, type OrtNodeOptions, useVulkanDriver } from "./ort.node.ts"
