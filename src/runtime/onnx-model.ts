/**
 * @file Small ONNX models that others made (voice activity), run as they are. Models of our own are graphs and go through
 * the Executor; nothing here is lowered, cached or quantized.
 */
import type { InferenceSession, Tensor } from "onnxruntime-common"
import { DTYPES, type DType, type HostTensor, tensor } from "../tensor/index.ts"
import { BackendError, CheckpointError, errorText } from "../util/index.ts"
import type { Feeds } from "./executor.ts"
import { ORT_TYPE, type OrtSession, toOrt } from "./ort-executor.ts"

/** A foreign model, ready to run. Runs block the calling thread on native backends. */
export type OnnxModel = AsyncDisposable & {
  readonly inputNames: readonly string[]
  readonly outputNames: readonly string[]
  /** @throws BackendError when a feed is missing or does not fit, or the model was disposed of */
  run(feeds: Feeds): Promise<Feeds>
}

/** What a platform gives: its tensors, and a session over the bytes of a model. */
export type OnnxModelApi = {
  readonly Tensor: Parameters<typeof toOrt>[0]["Tensor"]
  readonly createSession: (bytes: Uint8Array) => Promise<OrtSession & Pick<InferenceSession, "outputNames">>
}

function fromOrt(where: string, value: Tensor): HostTensor {
  const dtype = DTYPES.find((name: DType) => ORT_TYPE[name] === value.type)
  if (!dtype) throw new BackendError(`${where}: expected an output of numbers, got ${value.type}`)
  return tensor(dtype, value.dims, value.data as HostTensor["data"])
}

/**
 * @param where names the model in errors
 * @throws CheckpointError when the bytes are no model that ONNX Runtime takes
 */
export async function openOnnxModel(api: OnnxModelApi, bytes: Uint8Array, where: string): Promise<OnnxModel> {
  const opened = await api.createSession(bytes).catch((cause: unknown) => {
    const advice = "fetch or install the file again"
    throw new CheckpointError(`${where}: expected an ONNX model, got: ${errorText(cause)} (${advice})`, { cause })
  })
  let session: typeof opened | undefined = opened
  return {
    inputNames: opened.inputNames,
    outputNames: opened.outputNames,
    async run(feeds) {
      if (!session) throw new BackendError(`${where}: expected a live model, got one that was disposed of`)
      const inputs = Object.fromEntries(Object.entries(feeds).map(([name, value]) => [name, toOrt(api, value)]))
      const results = await session.run(inputs).catch((cause: unknown) => {
        throw new BackendError(`${where}: failed to run: ${errorText(cause)}`, { cause })
      })
      return Object.fromEntries(
        Object.entries(results).map(([name, value]) => [name, fromOrt(`${where}/${name}`, value as Tensor)]),
      )
    },
    async [Symbol.asyncDispose]() {
      const live = session
      session = undefined
      await live?.release()
    },
  }
}
