/**
 * @file `omni serve` with the built page and an engine that measures, behind a door that can be shut: then the server is away,
 * and back on the same port when it opens.
 */
import { once } from "node:events"
import { type AddressInfo, connect, createServer as createTcpServer, type Socket } from "node:net"
import { createLogger, createServer } from "../../src/server/index.ts"
import { type Heard, nothingHeard, pageEngine } from "./page-engine.ts"

/** Calls, and questions, that the server takes at once. */
export const PLACES = 4
/** Those that may wait for a place. */
export const WAITING = 1

export type PageServer = AsyncDisposable & {
  readonly url: string
  readonly heard: Heard
  /** Shut, connections are cut and refused. */
  open: boolean
}

/** @param webRoot folder of the built page */
export async function servePageWithEngine(webRoot: string): Promise<PageServer> {
  const heard = nothingHeard()
  const server = await createServer({
    source: { engine: pageEngine(heard), ready: true, starts: 1, hangs: 0, whenReady: async () => {} },
    model: "test-model",
    log: createLogger(() => undefined),
    maxSessions: PLACES,
    maxQueue: WAITING,
    webRoot,
  })
  const behind = new URL(await server.listen(0, "127.0.0.1"))
  const sockets = new Set<Socket>()
  let open = true
  const door = createTcpServer((client) => {
    if (!open) return void client.destroy()
    const upstream = connect(Number(behind.port), "127.0.0.1")
    client.pipe(upstream).pipe(client)
    for (const [socket, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      sockets.add(socket)
      socket.on("error", () => undefined)
      socket.on("close", () => {
        sockets.delete(socket)
        other.destroy()
      })
    }
    return undefined
  })
  door.listen(0, "127.0.0.1")
  await once(door, "listening")
  return {
    url: `http://127.0.0.1:${(door.address() as AddressInfo).port}/`,
    heard,
    get open() {
      return open
    },
    set open(wanted) {
      open = wanted
      if (!open) for (const socket of sockets) socket.destroy()
    },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      door.close()
      await server.close(100)
    },
  }
}
