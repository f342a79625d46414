/**
 * @file The Silero model in Node.js, from its npm package or any other place. Version 5 rather than 6: it hears
 * quiet speech better (docs/lab-log.md), and what it hears at the start of a tone is too short for a turn (160 ms).
 */
import { readFile } from "node:fs/promises"
import { fileURLToPath } from "node:url"
import { openOnnxNodeModel } from "../runtime/index.node.ts"
import type { OnnxModel } from "../runtime/index.ts"
import { CheckpointError, errorText } from "../util/index.ts"

/**
 * Opens the model; give it to `createVad` and dispose of it afterwards.
 * @param path of another model file; that of the installed package when absent
 * @throws CheckpointError when the file cannot be read, or is no ONNX model
 */
export async function openSilero(path?: string): Promise<OnnxModel> {
  const file = path ?? fileURLToPath(import.meta.resolve("@ricky0123/vad-web/dist/silero_vad_v5.onnx"))
  const bytes = await readFile(file).catch((cause: unknown) => {
    const advice = path === undefined ? "run npm ci" : "check the path"
    throw new CheckpointError(`${file}: expected the Silero model, got: ${errorText(cause)} (${advice})`, { cause })
  })
  return openOnnxNodeModel(bytes, file)
}
