/** @file Entry of the engine's Web Worker. */
import { EngineHost } from "./host.ts"
import { loadModel } from "./load.web.ts"
import { CLOSED, type Command, transferable, type WebLoadOptions } from "./messages.ts"

/** The part of a worker's global scope that is used; the page's types know another one. */
type Scope = {
  postMessage(message: unknown, transfer?: readonly ArrayBuffer[]): void
  addEventListener(type: "message", listener: (event: MessageEvent<Command<WebLoadOptions>>) => void): void
}
const scope = globalThis as unknown as Scope

const { port1, port2 } = new MessageChannel()
/** Resolves behind the messages that wait; timers would be held back. */
const breathe = (): Promise<void> =>
  new Promise((resolve) => {
    port1.onmessage = () => resolve()
    port2.postMessage(undefined)
  })

const host = new EngineHost<WebLoadOptions>({
  load: loadModel,
  post: (event) => scope.postMessage(event, transferable(event)),
  breathe,
})
scope.addEventListener("message", ({ data }) => {
  void host.handle(data).finally(() => {
    if (data.type === "close") scope.postMessage(CLOSED)
  })
})
