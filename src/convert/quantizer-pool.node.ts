/** @file Quantizes on several threads, which share the arrays they fill. */
import { Worker } from "node:worker_threads"
import { CheckpointError } from "../util/index.ts"
import type { QuantizedArrays, Quantizer, WeightRows } from "./quantize-rows.ts"

export type QuantizeRequest = {
  readonly id: number
  readonly rows: WeightRows
  readonly arrays: readonly QuantizedArrays[]
}
export type QuantizeReply = { readonly id: number; readonly error?: string }

type Waiting = { readonly resolve: () => void; readonly reject: (error: Error) => void }
type Thread = { readonly worker: Worker; readonly waiting: Map<number, Waiting> }

/** Sources run unbuilt and built. */
const WORKER_FILE = new URL(
  import.meta.url.endsWith(".ts") ? "./quantize-worker.node.ts" : "./quantize-worker.node.js",
  import.meta.url,
)

/** A quantizer of `threads` worker threads; they end with it. */
export function quantizerPool(threads: number): Quantizer & AsyncDisposable {
  const pool = Array.from({ length: threads }, startThread)
  let lastId = 0
  return {
    parallel: threads,
    allocate: (sizeBytes) => new SharedArrayBuffer(sizeBytes),
    quantize: (rows, arrays) => {
      const thread = pool.reduce((a, b) => (b.waiting.size < a.waiting.size ? b : a))
      const id = ++lastId
      return new Promise<void>((resolve, reject) => {
        thread.waiting.set(id, { resolve, reject })
        const request: QuantizeRequest = { id, rows, arrays }
        thread.worker.postMessage(request, [rows.tensor.data.buffer as ArrayBuffer])
      })
    },
    async [Symbol.asyncDispose]() {
      await Promise.all(pool.map(({ worker }) => worker.terminate()))
    },
  }
}

function startThread(): Thread {
  const worker = new Worker(WORKER_FILE)
  const waiting = new Map<number, Waiting>()
  worker.on("message", ({ id, error }: QuantizeReply) => {
    const call = waiting.get(id)
    waiting.delete(id)
    if (error === undefined) call?.resolve()
    else call?.reject(new CheckpointError(error))
  })
  // A thread that died takes its calls with it; without them it is no longer needed.
  const fail = (error: Error): void => {
    for (const call of waiting.values()) call.reject(error)
    waiting.clear()
  }
  worker.on("error", fail)
  worker.on("exit", (code) => fail(new CheckpointError(`quantize: a worker thread ended with code ${code}`)))
  return { worker, waiting }
}
