/** @file ONNX Runtime in Node: the native CPU provider, and WebGPU where the machine has a Vulkan driver. */
import { existsSync } from "node:fs"
import { availableParallelism } from "node:os"
import { InferenceSession, Tensor } from "onnxruntime-node"
import { BackendError, ConfigError, errorText } from "../util/index.ts"
import type { Executor } from "./executor.ts"
import { createOrtExecutor } from "./ort-executor.ts"
import { refuseTelemetry } from "./telemetry.node.ts"

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

/** Every program starts threads of its own: with far more of them than cores, starting alone takes minutes. */
const MAX_THREADS = Math.max(16, 4 * availableParallelism())

/** @throws ConfigError for a number of threads that makes no sense */
export function createOrtNodeExecutor({ device, threads }: OrtNodeOptions): Executor {
  if (threads !== undefined && !(Number.isInteger(threads) && threads >= 1 && threads <= MAX_THREADS)) {
    throw new ConfigError(`threads: expected a whole number from 1 to ${MAX_THREADS}, got ${threads}`)
  }
  refuseTelemetry(process.env)
  return createOrtExecutor({
    device,
    target: device,
    api: {
      Tensor,
      createSession: (model, { weights, onDevice }) =>
        InferenceSession.create(model, {
          executionProviders: device === "webgpu" ? ["webgpu", "cpu"] : ["cpu"],
          ...(threads ? { intraOpNumThreads: threads } : {}),
          // Errors only: the warnings are about initializers and providers that we chose.
          logSeverityLevel: 3,
          enableMemPattern: false, // shapes change at every step
          ...(onDevice.length > 0
            ? { preferredOutputLocation: Object.fromEntries(onDevice.map((name) => [name, "gpu-buffer"])) }
            : {}),
          extra: {
            session: {
              ...SESSION_CONFIG,
              ...(weights.folder ? { model_external_initializers_file_folder_path: weights.folder } : {}),
            },
          },
        }).catch((error: unknown) => {
          throw device === "webgpu" && /webgpu adapter/i.test(errorText(error)) ? noAdapter(error) : error
        }),
    },
  })
}

function noAdapter(cause: unknown): BackendError {
  const advice = "install a graphics driver, or libvulkan1 and chromium for a software one; or choose the device cpu"
  return new BackendError(`webgpu: expected a graphics adapter, got none (${advice})`, { cause })
}
