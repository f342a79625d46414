/** @file Foreign ONNX models in browsers: WebAssembly, in the same module as the `wasm` executor. */
import { type OnnxModel, openOnnxModel } from "./onnx-model.ts"
import { type OrtWebOptions, openOrtWeb } from "./ort.web.ts"

/**
 * @param bytes the whole file
 * @param where names the model in errors
 * @throws CheckpointError when the bytes are no model that ONNX Runtime takes; ConfigError and BackendError as
 * `createOrtWebExecutor` throws them
 */
export async function openOnnxWebModel(
  bytes: Uint8Array,
  where: string,
  options: Omit<OrtWebOptions, "device"> = {},
): Promise<OnnxModel> {
  return openOnnxModel(await openOrtWeb({ ...options, device: "wasm" }), bytes, where)
}
