/**
 * @file The thread of `prefetchFile`: reads ranges into memory that is given back. A virtual machine may hand out fresh memory
 * slowly, each thread its pages one by one; what this thread got is there for the weights that a backend packs meanwhile.
 * So half of what is read goes into one fresh buffer, the rest into a small one, over and over.
 */
import { closeSync, openSync, readSync } from "node:fs"
import { freemem } from "node:os"
import { parentPort, workerData } from "node:worker_threads"
import type { PrefetchRequest } from "./prefetch.node.ts"

const CHUNK_BYTES = 8 * 2 ** 20
const MOST_FRESH_BYTES = 2 ** 31

const { path, ranges } = workerData as PrefetchRequest
const file = openSync(path, "r")
const wanted = ranges.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
// Memory that is scarce is left alone.
const fresh = freemem() > 2 * wanted ? Math.min(MOST_FRESH_BYTES, Math.floor(wanted / 2)) : 0
let buffer = new Uint8Array(Math.max(CHUNK_BYTES, fresh))
let used = 0
let total = 0
for (const { offset, sizeBytes } of ranges) {
  for (let at = 0; at < sizeBytes; ) {
    if (used + CHUNK_BYTES > buffer.length) {
      if (buffer.length > CHUNK_BYTES) {
        buffer.buffer.transfer(0) // frees it now, not when garbage is collected
        buffer = new Uint8Array(CHUNK_BYTES)
      }
      used = 0
    }
    const count = readSync(file, buffer, used, Math.min(CHUNK_BYTES, sizeBytes - at), offset + at)
    if (count === 0) break
    at += count
    used += count
    total += count
  }
}
closeSync(file)
parentPort?.postMessage(total)
