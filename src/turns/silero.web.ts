/** @file The Silero model in browsers, fetched from where the page keeps `silero_vad_v5.onnx`. */
import type { OnnxModel } from "../runtime/index.ts"
import { type OrtWebOptions, openOnnxWebModel } from "../runtime/index.web.ts"
import { CheckpointError, errorText } from "../util/index.ts"

const MAX_BYTES = 64 * 2 ** 20

/**
 * Opens the model; give it to `createVad` and dispose of it afterwards.
 * @throws CheckpointError when the address answers with something else; ConfigError and BackendError as the runtime's
 * `openOnnxWebModel`
 */
export async function openSileroFrom(url: string, options?: Omit<OrtWebOptions, "device">): Promise<OnnxModel> {
  const fail = (got: string, cause?: unknown) =>
    new CheckpointError(`${url}: expected the Silero model, got ${got} (check the address)`, { cause })
  let bytes: Uint8Array
  try {
    const response = await fetch(url)
    if (!response.ok) throw fail(`status ${response.status}`)
    if (Number(response.headers.get("content-length") ?? 0) > MAX_BYTES) throw fail("a file over 64 MiB")
    bytes = new Uint8Array(await response.arrayBuffer())
  } catch (cause) {
    throw cause instanceof CheckpointError ? cause : fail(errorText(cause), cause)
  }
  return openOnnxWebModel(bytes, url, options)
}
