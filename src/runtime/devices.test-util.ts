/** @file The devices that runtime tests run on: the reference always, ONNX Runtime on the CPU, WebGPU where a driver is. */
import { describe } from "vitest"
import { skipUnless } from "../../test/skip.ts"
import type { Executor } from "./executor.ts"
import { createOrtNodeExecutor, findVulkanDriver, useVulkanDriver } from "./ort.node.ts"
import { createReferenceExecutor } from "./reference-executor.ts"

/** Opens an executor; one thread is enough for small graphs. */
export type OpenExecutor = () => Executor

const NO_DRIVER = "no Vulkan driver for webgpu (install libvulkan1 and chromium, or set VK_ICD_FILENAMES)"

/** The same tests once for each device. */
export function describeDevices(body: (open: OpenExecutor, device: Executor["device"]) => void): void {
  describe("reference", () => body(createReferenceExecutor, "reference"))
  describe("cpu", () => body(() => createOrtNodeExecutor({ device: "cpu", threads: 1 }), "cpu"))
  skipUnless(findVulkanDriver(process.env) !== undefined, NO_DRIVER)("webgpu", () => {
    body(() => {
      useVulkanDriver(process.env)
      return createOrtNodeExecutor({ device: "webgpu", threads: 1 })
    }, "webgpu")
  })
}
