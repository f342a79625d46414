/** @file The thread of `prefetchFile`: reads ranges into one buffer, over and over. */
import { closeSync, openSync, readSync } from "node:fs"
import { parentPort, workerData } from "node:worker_threads"
import type { PrefetchRequest } from "./prefetch.node.ts"

const CHUNK_BYTES = 8 * 2 ** 20

const { path, ranges } = workerData as PrefetchRequest
const file = openSync(path, "r")
const chunk = new Uint8Array(CHUNK_BYTES)
let total = 0
for (const { offset, sizeBytes } of ranges) {
  for (let at = 0; at < sizeBytes; ) {
    const count = readSync(file, chunk, 0, Math.min(CHUNK_BYTES, sizeBytes - at), offset + at)
    if (count === 0) break
    at += count
    total += count
  }
}
closeSync(file)
parentPort?.postMessage(total)
