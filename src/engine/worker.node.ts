/** @file Entry of the engine's worker thread. */
import { setImmediate } from "node:timers/promises"
import { parentPort } from "node:worker_threads"
import { invariant } from "../util/index.ts"
import { EngineHost } from "./host.ts"
import { loadModel } from "./load.node.ts"
import type { Command, EngineEvent } from "./messages.ts"

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

/** A saved call may be as large as the context: its bytes move to the other thread, where nobody here needs them again. */
function transferable(event: EngineEvent): ArrayBuffer[] {
  const { bytes } = Object(event.type === "result" ? event.value : undefined) as { readonly bytes?: unknown }
  const isWhole = bytes instanceof Uint8Array && bytes.length === bytes.buffer.byteLength
  return isWhole && bytes.buffer instanceof ArrayBuffer ? [bytes.buffer] : []
}
