/** @file What runs graphs: the contract between inference or training above and the backends below. */
import type { ActivationBits, Graph, LinearStorage } from "../graph/index.ts"
import type { DType, HostTensor } from "../tensor/index.ts"
import type { CacheSpec, KvCache } from "./kv-cache.ts"

/** Tensors by name. */
export type Feeds = { readonly [name: string]: HostTensor }

/** Where the bytes of weights come from: memory for small models, a file beside the graphs for big ones. */
export type WeightStore = {
  /** Storage of the linear weight with this name; decides its lowering. */
  readonly storage: (name: string) => LinearStorage
  /** The tensor by its stored name (`<name>`, `<name>.int4`, …). */
  readonly read: (name: string, dtype: DType, shape: readonly number[]) => HostTensor
  /** The tensor's place in a file of `folder`, for backends that map files; undefined when only `read` has it. */
  readonly locate?: (
    name: string,
  ) => { readonly location: string; readonly offset: number; readonly sizeBytes: number } | undefined
  readonly folder?: string
}

/** A graph made ready to run. */
export type Program = {
  readonly graph: Graph
  /** Frees what the backend holds; runs after that fail. */
  release(): Promise<void>
}

export type RunOptions = {
  /** Fed to the graph's cache slots and, when the run succeeds, extended by its new rows. */
  readonly cache?: KvCache
  /** False when other graphs of the same pass follow: new rows are staged, and the last graph's run advances the cache. */
  readonly advance?: boolean
  /** Which of the T new positions of each row are real, [B, T]; all when absent (left-padded batches). */
  readonly valid?: Uint8Array
}

/** Compiles and runs graphs on one device. Runs block the calling thread on native backends: call from the engine. */
export type Executor = AsyncDisposable & {
  readonly device: "reference" | "cpu" | "webgpu" | "wasm"
  /**
   * What the device rounds inputs of int8 products to, so that the products are exact. Asked of the processor once, when
   * first needed. @throws ConfigError when its products are wrong even with 7 bits
   */
  activationBits(): Promise<ActivationBits>
  /** @throws ShapeError for an illegal graph, BackendError when the backend refuses it */
  compile(graph: Graph, weights: WeightStore): Promise<Program>
  /**
   * An empty cache of `rows` sequences.
   * @param step positions by which it grows: all of its room is read at every step of one row, and copied when it grows
   */
  createCache(spec: CacheSpec, rows: number, step?: number): KvCache
  /**
   * Runs a program. A graph with cache slots needs `options.cache`; its input `attentionMask`, when it has one, is made
   * from the cache unless fed.
   * @returns the graph's outputs, without the new rows of cache slots
   */
  run(program: Program, feeds: Feeds, options?: RunOptions): Promise<Feeds>
}
