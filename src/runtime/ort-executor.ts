/**
 * @file The executor over ONNX Runtime, native or web: graphs are lowered, serialized and run as sessions. The caller
 * gives the runtime's API, so that this file needs neither package.
 */
import type { InferenceSession, Tensor, TensorConstructor } from "onnxruntime-common"
import {
  type ActivationBits,
  exportOnnx,
  type Graph,
  lowerFor,
  modelOutputs,
  presentName,
  type Target,
  verify,
} from "../graph/index.ts"
import type { DType, HostTensor, TypedArray } from "../tensor/index.ts"
import { BackendError, ConfigError, errorText } from "../util/index.ts"
import { DeviceCaches } from "./device-cache.ts"
import type { Executor, Feeds, Program, WeightStore } from "./executor.ts"
import { bindFeeds } from "./interpreter.ts"
import { KvCache } from "./kv-cache.ts"
import { hasStorage, takeNewRows, withCache } from "./prepare.ts"
import { probeActivationBits } from "./probe.ts"

export type OrtSession = Pick<InferenceSession, "inputNames" | "release"> & {
  run(feeds: InferenceSession.FeedsType): Promise<InferenceSession.ReturnType>
}

/** What belongs to a model beside its bytes. */
export type SessionParts = {
  readonly weights: WeightStore
  /** Outputs that stay on the device, as tensors that only another run can read. */
  readonly onDevice: readonly string[]
  /** Bytes of weights by the location that the model names, where the runtime takes them so. */
  readonly attached?: ReadonlyMap<string, Uint8Array>
}

/** The part of the ONNX Runtime API that is used. */
export type OrtApi = {
  readonly createSession: (model: Uint8Array, parts: SessionParts) => Promise<OrtSession>
  /** Weights are given as buffers: the runtime maps no files. */
  readonly attachesWeights?: boolean
  readonly Tensor: TensorConstructor
}

export type OrtOptions = {
  readonly device: Executor["device"]
  readonly target: Target
  readonly api: OrtApi
}

/** ONNX Runtime's names of our dtypes, of those that it takes from JavaScript. */
export const ORT_TYPE: { readonly [D in DType]?: Tensor.Type } = {
  f32: "float32",
  f16: "float16",
  i64: "int64",
  i32: "int32",
  i8: "int8",
  u8: "uint8",
  bool: "bool",
}

type OrtProgram = Program & {
  session: OrtSession | undefined
  /** Outputs that are read, with their dtypes. */
  readonly outputs: readonly (readonly [name: string, dtype: DType])[]
  /** Outputs that stay on the device: each slot's keys and values with the new rows. */
  readonly present: readonly (readonly [slot: string, keys: string, values: string])[]
}

/** Inputs are wrapped, not copied. */
export function toOrt(api: Pick<OrtApi, "Tensor">, value: HostTensor): Tensor {
  const type = ORT_TYPE[value.dtype]
  if (!type)
    throw new BackendError(`runtime: expected a dtype that ONNX Runtime takes from JavaScript, got ${value.dtype}`)
  return new api.Tensor(type, value.data as Float32Array, value.shape)
}

function fromOrt(value: Tensor, dtype: DType): HostTensor {
  return { dtype, shape: value.dims, data: value.data as TypedArray } as HostTensor
}

function weightBytes(weights: WeightStore, name: string, dtype: DType, shape: readonly number[]): Uint8Array {
  const { data } = weights.read(name, dtype, shape)
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
}

export function createOrtExecutor({ device, target, api }: OrtOptions): Executor {
  const programs = new Set<OrtProgram>()
  const caches = new DeviceCaches(api, (value) => toOrt(api, value))
  /** The cache's slots as the device has them. */
  const deviceFeeds = async (names: readonly string[], cache: KvCache) => {
    const slots = await caches.slotsOf(cache, names)
    const feeds: { [name: string]: Tensor } = {}
    for (const name of names) {
      const { keys, values } = slots.get(name)!
      feeds[`${name}.keys`] = keys
      feeds[`${name}.values`] = values
    }
    return feeds
  }
  let bits: Promise<ActivationBits> | undefined
  const executor: Executor = {
    device,
    activationBits() {
      bits ??= probeActivationBits(executor).then((exact) => {
        if (exact !== null) return exact
        throw new ConfigError(`${device}: expected exact 8-bit products, got wrong ones even with 7 bits (take int4)`)
      })
      return bits
    },
    async compile(graph: Graph, weights: WeightStore) {
      const activationBits = hasStorage(graph, weights, ["int8"]) ? await executor.activationBits() : 8
      const lowered = lowerFor(graph, { target, storage: weights.storage, activationBits })
      verify(lowered)
      const attached = new Map<string, Uint8Array>()
      const placeOf = (name: string, dtype: DType, shape: readonly number[]) => {
        if (!api.attachesWeights) return weights.locate?.(name) ?? weightBytes(weights, name, dtype, shape)
        const bytes = weightBytes(weights, name, dtype, shape)
        attached.set(name, bytes)
        return { location: name, offset: 0, sizeBytes: bytes.length }
      }
      const model = exportOnnx(lowered, placeOf, { cachesHaveRoom: true }) // createCache reserves some
      const present = lowered.cacheSlots
        .filter((slot) => slot.present)
        .map((slot) => [slot.name, presentName(slot, "keys"), presentName(slot, "values")] as const)
      const onDevice = present.flatMap(([, keys, values]) => [keys, values])
      let session: OrtSession
      try {
        session = await api.createSession(model, { weights, onDevice, attached })
      } catch (cause) {
        if (cause instanceof BackendError) throw cause
        throw new BackendError(`${graph.name}: expected ${device} to accept the graph, got: ${errorText(cause)}`, {
          cause,
        })
      }
      const program: OrtProgram = {
        graph: lowered,
        session,
        outputs: [...modelOutputs(lowered)]
          .filter(([name]) => !onDevice.includes(name))
          .map(([name, { dtype }]) => [name, dtype]),
        present,
        async release() {
          programs.delete(program)
          const live = program.session
          program.session = undefined
          await live?.release()
        },
      }
      programs.add(program)
      return program
    },
    createCache: (spec, rows, step) => new KvCache(spec, rows, step),
    async run(program, feeds, options = {}) {
      const { graph, session, outputs: wanted, present } = program as OrtProgram
      if (!session) throw new BackendError(`${graph.name}: expected a live program, got a released one`)
      const all = withCache(graph, feeds, options)
      bindFeeds(graph, all)
      const cache = present.length > 0 ? options.cache : undefined
      const ortFeeds: { [name: string]: Tensor } = {}
      for (const [name, value] of Object.entries(all)) {
        if (session.inputNames.includes(name)) ortFeeds[name] = toOrt(api, value)
      }
      if (cache) {
        const names = present.map(([slot]) => slot)
        Object.assign(ortFeeds, await deviceFeeds(names, cache))
      }
      let results: InferenceSession.ReturnType
      try {
        results = await session.run(ortFeeds)
      } catch (cause) {
        throw new BackendError(`${graph.name}: ${device} failed to run: ${errorText(cause)}`, { cause })
      }
      const outputs: { [name: string]: HostTensor } = {}
      for (const [name, dtype] of wanted) outputs[name] = fromOrt(results[name] as Tensor, dtype)
      if (!cache) return takeNewRows(graph, outputs, options)
      const slots = new Map(
        present.map(([slot, keys, values]) => [
          slot,
          { keys: results[keys] as Tensor, values: results[values] as Tensor },
        ]),
      )
      let rest: Feeds = {}
      caches.replace(cache, slots, () => {
        rest = takeNewRows(graph, outputs, options)
      })
      return rest
    },
    async [Symbol.asyncDispose]() {
      for (const program of [...programs]) await program.release()
      await caches[Symbol.asyncDispose]()
    },
  }
  return executor
}
