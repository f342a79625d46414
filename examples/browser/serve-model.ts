/** @file Gives the page a model folder of this machine below `/model`, by Range requests: what any server of files does. */
import { createReadStream, statSync } from "node:fs"
import type { IncomingMessage, ServerResponse } from "node:http"
import { join, normalize, sep } from "node:path"
import type { Plugin } from "vite"

export function serveModel(folder: string | undefined): Plugin {
  const answer = (request: IncomingMessage, response: ServerResponse): void => {
    const root = normalize(`${folder ?? ""}${sep}`)
    const file = join(root, decodeURIComponent(new URL(request.url ?? "", "http://here").pathname))
    const found = folder !== undefined && file.startsWith(root) ? statSync(file, { throwIfNoEntry: false }) : undefined
    const size = found?.isFile() ? found.size : 0
    if (size === 0) {
      response.writeHead(404).end()
      return
    }
    const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? "")
    const start = Number(range?.[1] ?? 0)
    const end = Math.min(Number(range?.[2] ?? size), size - 1)
    response.writeHead(range ? 206 : 200, {
      "content-length": end - start + 1,
      ...(range ? { "content-range": `bytes ${start}-${end}/${size}` } : {}),
    })
    createReadStream(file, { start, end }).pipe(response)
  }
  const use = ({ middlewares }: { middlewares: { use(path: string, handler: typeof answer): void } }): void => {
    middlewares.use("/model", answer)
  }
  return { name: "serve-model", configureServer: use, configurePreviewServer: use }
}
