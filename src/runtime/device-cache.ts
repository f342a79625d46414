/**
 * @file Copies of key/value caches on a device. The cache in host memory stays complete, so that cutting, copying and
 * saving it wait for nobody; the device's copy takes part in runs, is replaced by what they put out, and is made anew only
 * when something else changed the cache.
 */
import type { Tensor } from "onnxruntime-common"
import { exportOnnx, Graph, lowerFor } from "../graph/index.ts"
import type { HostTensor } from "../tensor/index.ts"
import type { KvCache } from "./kv-cache.ts"
import type { OrtApi, OrtSession } from "./ort-executor.ts"
import { memoryWeights } from "./weight-store.ts"

/** Tensors of one slot on the device: keys [B, G, C, K] and values [B, G, K, C]. */
export type DeviceSlot = { readonly keys: Tensor; readonly values: Tensor }

type Copy = { revision: number; readonly slots: Map<string, DeviceSlot> }

const UPLOADED = "there"

/** x, moved to the device. Adding zero keeps the runtime from handing the input through. */
function uploadModel(): Uint8Array {
  const g = new Graph("upload")
  g.output(UPLOADED, g.addScalar(g.input("x", "f32", ["a", "b", "c", "d"]), 0))
  return exportOnnx(lowerFor(g, { target: "webgpu" }), () => new Uint8Array())
}

export class DeviceCaches {
  private readonly api: OrtApi
  private readonly toOrt: (value: HostTensor) => Tensor
  private readonly copies = new WeakMap<KvCache, Copy>()
  /** Frees the tensors of caches that nobody holds any more. */
  private readonly forgotten = new FinalizationRegistry<Copy>((copy) => this.free(copy))
  private readonly live = new Set<Copy>()
  private upload: Promise<OrtSession> | undefined

  constructor(api: OrtApi, toOrt: (value: HostTensor) => Tensor) {
    this.api = api
    this.toOrt = toOrt
  }

  /** The slots of a cache as they are on the device, made so first where they are not. */
  async slotsOf(cache: KvCache, names: readonly string[]): Promise<ReadonlyMap<string, DeviceSlot>> {
    let copy = this.copies.get(cache)
    if (copy && copy.revision !== cache.revision) {
      this.free(copy)
      copy.revision = cache.revision
      this.live.add(copy)
    }
    if (!copy) {
      copy = { revision: cache.revision, slots: new Map() }
      this.copies.set(cache, copy)
      this.live.add(copy)
      this.forgotten.register(cache, copy)
    }
    for (const name of names) {
      if (copy.slots.has(name)) continue
      const { keys, values } = cache.feed(name)
      copy.slots.set(name, { keys: await this.uploaded(keys), values: await this.uploaded(values) })
    }
    return copy.slots
  }

  /**
   * Takes the slots that a run put out in place of those that it read.
   * @param stage appends the run's new rows to the cache in host memory; its changes are already on the device
   */
  replace(cache: KvCache, slots: ReadonlyMap<string, DeviceSlot>, stage: () => void): void {
    const copy = this.copies.get(cache)
    const known = copy !== undefined && copy.revision === cache.revision
    stage()
    for (const [name, slot] of slots) {
      if (known) {
        dispose(copy.slots.get(name))
        copy.slots.set(name, slot)
      } else dispose(slot)
    }
    if (known) copy.revision = cache.revision
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const copy of [...this.live]) this.free(copy)
    const upload = await this.upload
    this.upload = undefined
    await upload?.release()
  }

  private async uploaded(value: HostTensor): Promise<Tensor> {
    this.upload ??= this.api.createSession(uploadModel(), { weights: memoryWeights(new Map()), onDevice: [UPLOADED] })
    const outputs = await (await this.upload).run({ x: this.toOrt(value) })
    return outputs[UPLOADED] as Tensor
  }

  private free(copy: Copy): void {
    for (const slot of copy.slots.values()) dispose(slot)
    copy.slots.clear()
    this.live.delete(copy)
  }
}

function dispose(slot: DeviceSlot | undefined): void {
  slot?.keys.dispose()
  slot?.values.dispose()
}
