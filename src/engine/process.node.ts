/**
 * @file Starts the engine in a child process: a crash of native code ends it, and nothing else. Messages are cloned by the
 * channel's structured serialization, so typed arrays arrive as they were.
 */
import { fork } from "node:child_process"
import { errorText } from "../util/index.ts"
import { EngineClient, type EnginePort } from "./client.ts"
import type { EngineEvent } from "./messages.ts"

const ENTRY = new URL("./process-entry.node.ts", import.meta.url)

/** A process that does not end by itself in this time is killed, and one that cannot be killed is given up. */
const CLOSE_MS = 10_000

/** An engine in a process of its own. */
export type EngineProcess = {
  readonly client: EngineClient
  readonly pid: number | undefined
  /** Resolves with the reason when the process has ended. */
  readonly exited: Promise<string>
  /** Ends it at once, whatever it does, for this reason. */
  readonly kill: (reason: string) => void
}

/** @param entry module of the child process, another one in tests */
export function startEngineProcess(entry: URL = ENTRY): EngineProcess {
  const child = fork(entry, { serialization: "advanced", stdio: ["ignore", "inherit", "inherit", "ipc"] })
  let reason: string | undefined
  const { promise: exited, resolve } = Promise.withResolvers<string>()
  child.once("error", (error) => {
    reason ??= errorText(error)
    if (child.pid === undefined) resolve(reason) // it was never started
  })
  child.once("exit", (code, signal) => {
    resolve(reason ?? (signal ? `its process was ended by ${signal}` : `its process ended with code ${code}`))
  })
  const kill = (why: string) => {
    reason ??= why
    child.kill("SIGKILL")
    // A driver that is stuck in the kernel keeps its process: nobody may wait for that.
    const giveUp = setTimeout(() => {
      child.unref()
      if (child.connected) child.disconnect()
      resolve(why)
    }, CLOSE_MS)
    void exited.then(() => clearTimeout(giveUp))
  }
  const port: EnginePort = {
    // What cannot be sent reaches a dead process: its end is told by "exit".
    post: (command) => void (child.connected && child.send(command, () => undefined)),
    onEvent: (listener) => void child.on("message", (event) => listener(event as EngineEvent)),
    onExit: (listener) => void exited.then(listener),
    async close() {
      reason ??= "it was closed"
      const timer = setTimeout(kill, CLOSE_MS, reason)
      await exited
      clearTimeout(timer)
    },
  }
  return { client: new EngineClient(port), pid: child.pid, exited, kill }
}
