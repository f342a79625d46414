/**
 * @file Reads parts of a file on a thread of its own, so that they lie in the page cache when a backend maps them:
 * page faults fetch a file in small pieces, one after another, and wait for each.
 */
import { Worker } from "node:worker_threads"

/** Some bytes of a file. */
export type FileRange = { readonly offset: number; readonly sizeBytes: number }

export type PrefetchRequest = { readonly path: string; readonly ranges: readonly FileRange[] }

/** Sources run unbuilt and built. */
const WORKER_FILE = new URL(
  import.meta.url.endsWith(".ts") ? "./prefetch-worker.node.ts" : "./prefetch-worker.node.js",
  import.meta.url,
)

/** Reading that goes on by itself and keeps no process alive. */
export type Prefetch = {
  /** How many bytes were read when it ended: fewer than wanted when it was stopped or the file could not be read. */
  readonly done: Promise<number>
  stop(): void
}

/** Starts to read the ranges in their order. Failures only make loading slower: whoever maps the file tells them. */
export function prefetchFile(path: string, ranges: readonly FileRange[]): Prefetch {
  const request: PrefetchRequest = { path, ranges }
  const worker = new Worker(WORKER_FILE, { workerData: request })
  worker.unref()
  let sizeBytes = 0
  const done = new Promise<number>((resolve) => {
    worker.on("message", (count: number) => {
      sizeBytes = count
    })
    worker.on("error", () => resolve(sizeBytes))
    worker.on("exit", () => resolve(sizeBytes))
  })
  return { done, stop: () => void worker.terminate() }
}
