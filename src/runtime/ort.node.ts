/** @file ONNX Runtime in Node: the native CPU provider, and WebGPU where the machine has a Vulkan driver. */
import { existsSync } from "node:fs"
import { InferenceSession, Tensor } from "onnxruntime-node"
import type { Executor } from "./executor.ts"
import { createOrtExecutor } from "./ort-executor.ts"

export type OrtNodeOptions = {
  readonly device: "cpu" | "webgpu"
  /** Threads that compute one step; all cores of the machine when absent. */
  readonly threads?: number | undefined
}

/** Chromium's software Vulkan driver: enough to run WebGPU without a GPU. */
const SWIFTSHADER_ICD = "/usr/lib/chromium/vk_swiftshader_icd.json"

/** The Vulkan driver that the WebGPU provider would use: the one named in the environment, or Chromium's. */
export function findVulkanDriver(environment: { readonly [name: string]: string | undefined }): string | undefined {
  const named = environment.VK_ICD_FILENAMES ?? environment.VK_DRIVER_FILES
  if (named) return named
  return existsSync(SWIFTSHADER_ICD) ? SWIFTSHADER_ICD : undefined
}

/** Points the Vulkan loader at the software driver where no other is named. Must run before the first session. */
export function useVulkanDriver(environment: { [name: string]: string | undefined }): void {
  const driver = findVulkanDriver(environment)
  if (driver) environment.VK_ICD_FILENAMES = driver
}

/** Sessions of one process compete for cores: a session's threads stop spinning as soon as its run ends. */
const SESSION_CONFIG = { force_spinning_stop: "1" }

export function createOrtNodeExecutor({ device, threads }: OrtNodeOptions): Executor {
  return createOrtExecutor({
    device,
    target: device,
    api: {
      Tensor,
      createSession: (model, weights) =>
        InferenceSession.create(model, {
          executionProviders: device === "webgpu" ? ["webgpu", "cpu"] : ["cpu"],
          ...(threads ? { intraOpNumThreads: threads } : {}),
          // Errors only: the warnings are about initializers and providers that we chose.
          logSeverityLevel: 3,
          enableMemPattern: false, // shapes change at every step
          extra: {
            session: {
              ...SESSION_CONFIG,
              ...(weights.folder ? { model_external_initializers_file_folder_path: weights.folder } : {}),
            },
          },
        }),
    },
  })
}
