/** @file Entry of the engine's worker thread. */
import { setImmediate } from "node:timers/promises"
import { parentPort } from "node:worker_threads"
import { invariant } from "../util/index.ts"
import { EngineHost } from "./host.ts"
import { loadModel } from "./load.node.ts"
import { type Command, transferable } from "./messages.ts"

const port = parentPort
invariant(port, "worker.node.ts runs in a worker thread")
const host = new EngineHost({
  load: loadModel,
  post: (event) => port.postMessage(event, transferable(event)),
  memoryBytes: () => process.memoryUsage.rss(),
  breathe: () => setImmediate(),
})
port.on("message", (command: Command) => {
  void host.handle(command).then(() => {
    if (command.type === "close") port.close()
  })
})
