/** @file The thread that quantizes rows for `quantizerPool`. */
import { parentPort } from "node:worker_threads"
import { errorText } from "../util/index.ts"
import { quantizeRows } from "./quantize-rows.ts"
import type { QuantizeReply, QuantizeRequest } from "./quantizer-pool.node.ts"

parentPort?.on("message", ({ id, rows, arrays }: QuantizeRequest) => {
  let reply: QuantizeReply = { id }
  try {
    quantizeRows(rows, arrays)
  } catch (error) {
    reply = { id, error: errorText(error) }
  }
  parentPort?.postMessage(reply)
})
