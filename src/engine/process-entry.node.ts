/** @file Entry of the engine's child process. It ends when its parent is gone. */
import { setImmediate } from "node:timers/promises"
import { invariant } from "../util/index.ts"
import { EngineHost } from "./host.ts"
import { loadModel } from "./load.node.ts"
import type { Command } from "./messages.ts"

invariant(process.send, "process-entry.node.ts runs in a child process")
const host = new EngineHost({
  load: loadModel,
  // A parent that is gone takes nothing any more; "disconnect" ends us.
  post: (event) => void process.send?.(event, undefined, undefined, () => undefined),
  memoryBytes: () => process.memoryUsage.rss(),
  breathe: () => setImmediate(),
})
process.on("message", (command: Command) => {
  void host.handle(command).then(() => {
    if (command.type === "close") process.disconnect?.()
  })
})
process.on("disconnect", () => process.exit())
// Ctrl-C reaches the whole group of processes: the parent decides when this one ends.
process.on("SIGINT", () => undefined)
