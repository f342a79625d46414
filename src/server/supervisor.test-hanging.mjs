/** @file An engine process that hangs, as in a native call that never returns, when a chat or the model named hang asks for it. */
process.on("message", ({ type, options }) => {
  if (type === "chat" || options?.model === "hang")
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 600_000)
})
await import("../engine/process-entry.node.ts")
