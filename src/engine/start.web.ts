/** @file Starts the engine in a Web Worker of the page, so that the page stays free while ONNX Runtime computes. */
import { EngineClient, type EnginePort } from "./client.ts"
import { CLOSED, type EngineEvent, type WebLoadOptions } from "./messages.ts"

/**
 * A running engine. The worker is found by its address beside this module, which bundlers understand in this form alone.
 * @returns beside it `stop`, which ends it at once, whatever it waits for
 */
export function startWebEngine(): { readonly engine: EngineClient<WebLoadOptions>; readonly stop: () => void } {
  const worker = new Worker(new URL("./worker.web.ts", import.meta.url), { type: "module", name: "omni" })
  let exit: (reason: string) => void = () => {}
  const exited = new Promise<string>((resolve) => {
    exit = resolve
  })
  const events: ((event: EngineEvent) => void)[] = []
  worker.addEventListener("message", ({ data }: MessageEvent<EngineEvent | typeof CLOSED>) => {
    if (data === CLOSED) exit("it was closed")
    else for (const listener of events) listener(data)
  })
  worker.addEventListener("error", (event) => {
    event.preventDefault() // told by whoever waits
    const { message, filename } = event as Partial<ErrorEvent>
    exit(message ? `${message} (${filename ?? "its worker"})` : "its worker's script did not load (is it served?)")
  })
  void exited.then(() => worker.terminate())
  const port: EnginePort<WebLoadOptions> = {
    post: (command) => worker.postMessage(command),
    onEvent: (listener) => void events.push(listener),
    onExit: (listener) => void exited.then(listener),
    close: async () => void (await exited),
  }
  return { engine: new EngineClient(port), stop: () => exit("it was stopped") }
}
