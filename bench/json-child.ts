/** @file A child process that answers one JSON line per JSON line: how benchmarks keep engines apart, ours and others. */
import { spawn } from "node:child_process"
import { createInterface } from "node:readline"
import { BackendError } from "../src/util/index.ts"

export type JsonChild = {
  /** @throws BackendError with the child's error, or when it ended */
  send<Reply>(cmd: string, request: object): Promise<Reply>
  /** Ends the child process and waits for it. */
  close(): Promise<void>
}

/** Starts a script with the Node that runs this one. `name` stands in errors. */
export function startJsonChild(name: string, script: string): JsonChild {
  const child = spawn(process.execPath, [script], { stdio: ["pipe", "pipe", "inherit"] })
  const ended = new Promise<string>((resolve) => {
    child.once("error", (error) => resolve(error.message))
    child.once("exit", (code, signal) => resolve(`exit code ${code}, signal ${signal}`))
  })
  // A child that died breaks the pipe; `ended` tells why.
  child.stdin.on("error", () => undefined)
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  return {
    async send<Reply>(cmd: string, request: object): Promise<Reply> {
      child.stdin.write(`${JSON.stringify({ cmd, ...request })}\n`)
      const line = await lines.next()
      if (line.done) throw new BackendError(`${name}: expected a reply to ${cmd}, got ${await ended}`)
      const reply = JSON.parse(line.value) as Reply & { error?: string }
      if (reply.error !== undefined) throw new BackendError(`${name}: ${reply.error}`)
      return reply
    },
    async close() {
      child.stdin.end()
      await ended
    },
  }
}
