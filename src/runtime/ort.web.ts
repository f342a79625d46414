/**
 * @file ONNX Runtime in browsers, in a page or a worker: WebAssembly on the CPU, or WebGPU. Weights go beside their graph
 * as buffers, which saves the copies that a model with weights inside needs; the module that computes is fetched when an
 * executor opens.
 */
import { BackendError, ConfigError, errorText } from "../util/index.ts"
import type { Executor } from "./executor.ts"
import { createOrtExecutor, type SessionParts } from "./ort-executor.ts"

export type OrtWebOptions = {
  readonly device: "wasm" | "webgpu"
  /** Threads of the WebAssembly module; more than one needs a cross-origin isolated page. Chosen by it when absent. */
  readonly threads?: number | undefined
  /** URL of the folder with ONNX Runtime's `.mjs` and `.wasm` files; the folder of this script when absent. */
  readonly wasmPaths?: string | undefined
}

/** The part of `navigator.gpu` that is used. */
type Gpu = { requestAdapter(): Promise<Adapter | null> }
type Adapter = { readonly isFallbackAdapter?: boolean; readonly info?: { readonly isFallbackAdapter?: boolean } }

/** Whether WebGPU computes on real graphics hardware here; software that plays it is slower than WebAssembly. */
export async function hasGraphicsAdapter(): Promise<boolean> {
  const adapter = await (navigator as { gpu?: Gpu }).gpu?.requestAdapter().catch(() => null)
  return adapter ? !(adapter.info?.isFallbackAdapter ?? adapter.isFallbackAdapter ?? false) : false
}

/**
 * One WebAssembly module for each device. It takes its settings once, from its first executor. WebGPU suspends it in the
 * middle of a run; entered again it spins forever, so calls wait for one another.
 */
type Module = { readonly settings: string; readonly serially: <T>(call: () => Promise<T>) => Promise<T> }

const modules = new Map<OrtWebOptions["device"], Module>()

function queue(): Module["serially"] {
  let last: Promise<unknown> = Promise.resolve()
  return (call) => {
    const result = last.then(call)
    last = result.catch(() => undefined)
    return result
  }
}

function moduleOf({ device, threads, wasmPaths }: OrtWebOptions): Module {
  const settings = JSON.stringify({ threads, wasmPaths })
  const module = modules.get(device) ?? { settings, serially: queue() }
  if (module.settings !== settings) {
    throw new ConfigError(`${device}: expected the settings of its first executor ${module.settings}, got ${settings}`)
  }
  modules.set(device, module)
  return module
}

async function checkDevice({ device, threads }: OrtWebOptions): Promise<void> {
  if (threads !== undefined && !(Number.isInteger(threads) && threads >= 1)) {
    throw new ConfigError(`threads: expected a whole number from 1 on, got ${threads}`)
  }
  if (threads !== undefined && threads > 1 && !globalThis.crossOriginIsolated) {
    throw new ConfigError(
      `threads: expected a cross-origin isolated page for ${threads} threads, got one that is not ` +
        "(serve it with the headers COOP and COEP, or take one thread)",
    )
  }
  if (device === "webgpu") {
    const { gpu } = navigator as { gpu?: Gpu }
    if (!gpu) throw new BackendError("webgpu: expected navigator.gpu, got none (take the device wasm)")
    if (!(await gpu.requestAdapter()))
      throw new BackendError("webgpu: expected an adapter, got none (take the device wasm)")
  }
}

/** Both builds hold the CPU kernels; the one without WebGPU is half as large. */
async function load(device: OrtWebOptions["device"]) {
  try {
    return device === "webgpu" ? await import("onnxruntime-web/webgpu") : await import("onnxruntime-web/wasm")
  } catch (cause) {
    throw new BackendError(`${device}: expected ONNX Runtime's script to load, got: ${errorText(cause)}`, { cause })
  }
}

/** How ONNX Runtime begins to tell that its WebAssembly module did not load; it does so with the first session. */
const NO_MODULE = "no available backend found"

function missingModule(device: string, wasmPaths: string | undefined, cause: unknown): BackendError {
  const where = wasmPaths ?? "beside the application's scripts"
  const advice = "serve its .mjs and .wasm files of the same version, as application/wasm, and say where with wasmPaths"
  return new BackendError(`${device}: expected ONNX Runtime's module ${where}, got: ${errorText(cause)} (${advice})`, {
    cause,
  })
}

/** The runtime's API on one device, its module configured and entered by one call at a time. Throws as the executor. */
export async function openOrtWeb(options: OrtWebOptions) {
  await checkDevice(options)
  const { device, threads, wasmPaths } = options
  const { env, InferenceSession, Tensor } = await load(device)
  const { serially } = moduleOf(options)
  if (threads !== undefined) env.wasm.numThreads = threads
  if (wasmPaths !== undefined) env.wasm.wasmPaths = wasmPaths
  env.logLevel = "error"
  const sessionOptions = {
    executionProviders: [device], // without a second one: falling back in silence would hide a missing device
    logSeverityLevel: 3,
    enableMemPattern: false, // shapes change at every step
  } as const
  return {
    Tensor,
    attachesWeights: true,
    async createSession(model: Uint8Array, { attached, onDevice = [] }: Partial<SessionParts> = {}) {
      const locations = Object.fromEntries(onDevice.map((name) => [name, "gpu-buffer" as const]))
      const options = {
        ...sessionOptions,
        ...(onDevice.length > 0 ? { preferredOutputLocation: locations } : {}),
        ...(attached ? { externalData: Array.from(attached, ([path, data]) => ({ path, data })) } : {}),
      }
      const session = await serially(() => InferenceSession.create(model, options)).catch((cause: unknown) => {
        throw errorText(cause).startsWith(NO_MODULE) ? missingModule(device, wasmPaths, cause) : cause
      })
      return {
        inputNames: session.inputNames,
        outputNames: session.outputNames,
        run: (feeds: Parameters<typeof session.run>[0]) => serially(() => session.run(feeds)),
        release: () => serially(() => session.release()),
      }
    },
  }
}

/**
 * @throws ConfigError for threads that the page cannot have, or other settings than the device's first executor took
 * @throws BackendError when the browser has no WebGPU adapter, or the runtime's script does not load
 */
export async function createOrtWebExecutor(options: OrtWebOptions): Promise<Executor> {
  const api = await openOrtWeb(options)
  const { device } = options
  return createOrtExecutor({ device, target: device === "webgpu" ? "webgpu" : "cpu", api })
}
