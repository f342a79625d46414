/** @file Foreign ONNX models in Node.js: one thread on the CPU, which is what models of a megabyte want. */
import { InferenceSession, Tensor } from "onnxruntime-node"
import { type OnnxModel, openOnnxModel } from "./onnx-model.ts"
import { refuseTelemetry } from "./telemetry.node.ts"

/**
 * @param bytes the whole file
 * @param where names the model in errors
 * @throws CheckpointError when the bytes are no model that ONNX Runtime takes
 */
export function openOnnxNodeModel(bytes: Uint8Array, where: string): Promise<OnnxModel> {
  refuseTelemetry(process.env)
  const createSession = (model: Uint8Array) =>
    InferenceSession.create(model, {
      executionProviders: ["cpu"],
      intraOpNumThreads: 1,
      interOpNumThreads: 1,
      logSeverityLevel: 4, // a damaged file is told by the error
    })
  return openOnnxModel({ Tensor, createSession }, bytes, where)
}
