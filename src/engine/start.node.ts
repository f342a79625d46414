/** @file Starts the engine in a worker thread, so that the caller's event loop stays free while ONNX Runtime computes. */
import { SHARE_ENV, Worker } from "node:worker_threads"
import { errorText } from "../util/index.ts"
import { EngineClient, type EnginePort } from "./client.ts"
import type { EngineEvent } from "./messages.ts"

const WORKER = new URL("./worker.node.ts", import.meta.url)

/**
 * A running engine. Close it, or the process stays alive.
 * @param entry module of the worker thread, another one in tests
 */
export function startEngine(entry: URL = WORKER): EngineClient {
  // The Vulkan loader reads the process's environment, which a worker otherwise sees a copy of.
  const worker = new Worker(entry, { env: SHARE_ENV })
  let reason: string | undefined
  worker.on("error", (error) => {
    reason ??= errorText(error)
  })
  const exited = new Promise<void>((resolve) => worker.once("exit", () => resolve()))
  const port: EnginePort = {
    post: (command) => worker.postMessage(command),
    onEvent: (listener) => void worker.on("message", (event: EngineEvent) => listener(event)),
    onExit: (listener) => void worker.once("exit", (code) => listener(reason ?? `its thread ended with code ${code}`)),
    close: () => {
      reason ??= "it was closed"
      return exited
    },
  }
  return new EngineClient(port)
}
