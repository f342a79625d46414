/** @file Starts the engine in a worker thread, so that the caller's event loop stays free while ONNX Runtime computes. */
import { SHARE_ENV, Worker } from "node:worker_threads"
import { errorText } from "../util/index.ts"
import { EngineClient, type EnginePort } from "./client.ts"
import type { EngineEvent } from "./messages.ts"

/** A running engine. Close it, or the process stays alive. */
export function startEngine(): EngineClient {
  // The Vulkan loader reads the process's environment, which a worker otherwise sees a copy of.
  const worker = new Worker(new URL("./worker.node.ts", import.meta.url), { env: SHARE_ENV })
  const exited = new Promise<void>((resolve) => worker.once("exit", () => resolve()))
  let crash = "the engine stopped"
  worker.on("error", (error) => {
    crash = errorText(error)
  })
  const port: EnginePort = {
    post: (command) => worker.postMessage(command),
    onEvent: (listener) => void worker.on("message", (event: EngineEvent) => listener(event)),
    onExit: (listener) => void worker.once("exit", (code) => listener(code === 0 ? "it was closed" : crash)),
    close: () => exited,
  }
  return new EngineClient(port)
}
