/** @file The process in which `omni doctor` tries a device or reads memory: one argument, one line of JSON. */
import { availableParallelism } from "node:os"
import { fileURLToPath } from "node:url"
import { isMainThread, parentPort, Worker } from "node:worker_threads"
import { env } from "onnxruntime-common"
import { createOrtNodeExecutor, findVulkanDriver, useVulkanDriver } from "../runtime/index.node.ts"
import { type IntegerProbe, probeIntegers } from "../runtime/index.ts"
import { errorText } from "../util/index.ts"

export type DeviceProbe = {
  readonly runtime: string | undefined
  readonly driver: string | undefined
  readonly probe: IntegerProbe
}

const READ_MS = 500
const BUFFER_BYTES = 64 * 2 ** 20
const MOST_READERS = 8

async function tryDevice(device: "cpu" | "webgpu"): Promise<DeviceProbe | { readonly problem: string }> {
  const driver = device === "webgpu" ? findVulkanDriver(process.env) : undefined
  if (device === "webgpu") useVulkanDriver(process.env)
  try {
    await using executor = createOrtNodeExecutor({ device })
    const probe = await probeIntegers(executor, () => performance.now())
    return { runtime: env.versions.node ?? env.versions.common, driver, probe }
  } catch (error) {
    return { problem: errorText(error) }
  }
}

/** Comparing equal buffers reads both, with the widest loads that the C library has. @returns bytes per second */
function readMemory(): number {
  const [a, b] = [Buffer.alloc(BUFFER_BYTES, 1), Buffer.alloc(BUFFER_BYTES, 1)]
  let bytes = 0
  const start = performance.now()
  do {
    a.compare(b)
    bytes += 2 * BUFFER_BYTES
  } while (performance.now() - start < READ_MS)
  return (bytes / (performance.now() - start)) * 1000
}

async function measureBandwidth(): Promise<number> {
  const readers = Array.from({ length: Math.min(MOST_READERS, availableParallelism()) }, () => {
    const worker = new Worker(fileURLToPath(import.meta.url))
    return new Promise<number>((resolve, reject) => worker.once("message", resolve).once("error", reject))
  })
  return (await Promise.all(readers)).reduce((sum, rate) => sum + rate, 0)
}

const [what] = process.argv.slice(2)
if (!isMainThread) parentPort?.postMessage(readMemory())
else if (what === "bandwidth") console.log(JSON.stringify({ bytesPerSecond: await measureBandwidth() }))
else if (what === "cpu" || what === "webgpu") console.log(JSON.stringify(await tryDevice(what)))
