/** @file Model folders on a loopback server of their own, in the ways that servers have: for pages of another address. */
import { readFileSync, statSync } from "node:fs"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { join } from "node:path"

/**
 * `ranges` answers Range requests, `whole` gives files whole, `start-page` gives a page for what it does not know, `cut` gives
 * weights shorter than they are, `stall` never gives weights, `closed` lets no page of another address read.
 */
export type Manner = "ranges" | "whole" | "start-page" | "cut" | "stall" | "closed"

export type ModelServer = AsyncDisposable & {
  /** Address of a folder in one manner. */
  address(manner: Manner, folder?: string): string
  /** What was asked for so far, as `/manner/folder/path range`. */
  readonly asked: readonly string[]
}

/** @param folders by the name that they get */
export async function serveModels(folders: { readonly [name: string]: string }): Promise<ModelServer> {
  const asked: string[] = []
  const server = createServer((request, response) => {
    const [manner, folder, ...parts] = new URL(request.url!, "http://loopback").pathname.slice(1).split("/")
    const path = parts.map(decodeURIComponent).join("/")
    asked.push(`/${manner}/${folder}/${path} ${request.headers.range ?? "whole"}`)
    if (manner !== "closed") response.setHeader("access-control-allow-origin", "*")
    response.setHeader("access-control-expose-headers", "content-range")
    const file = join(folders[folder!] ?? "/nowhere", path)
    if (!statSync(file, { throwIfNoEntry: false })?.isFile()) {
      if (manner !== "start-page") response.writeHead(404).end()
      else response.writeHead(200, { "content-type": "text/html" }).end("<!doctype html><title>app</title>")
      return
    }
    const isWeights = path.endsWith(".safetensors")
    if (manner === "stall" && isWeights) return
    const stored = readFileSync(file)
    const content = manner === "cut" && isWeights ? stored.subarray(0, stored.length - 1000) : stored
    const range = manner === "whole" ? null : /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? "")
    if (!range) {
      response.writeHead(200, { "content-length": content.length }).end(content)
      return
    }
    const [start, end] = [Number(range[1]), Math.min(Number(range[2]), content.length - 1)]
    response.writeHead(206, { "content-range": `bytes ${start}-${end}/${content.length}` })
    response.end(content.subarray(start, end + 1))
  })
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
  const { port } = server.address() as AddressInfo
  return {
    asked,
    address: (manner, folder = "tiny") => `http://127.0.0.1:${port}/${manner}/${folder}`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}
