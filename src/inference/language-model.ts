/**
 * @file The language model at work: embeddings in, hidden states and logits out, over a cache. Long passes are cut into
 * steps of at most 128 positions and a few layers each.
 */
import {
  type Qwen2Config,
  qwen2HeadGraph,
  qwen2LastKeysGraph,
  qwen2LayersGraph,
  qwen2NormGraph,
  qwen2Slot,
} from "../models/minicpmo/index.ts"
import { rotaryTables, rotateKey } from "../nn/index.ts"
import type { CacheSpec, Executor, KvCache, Program, WeightStore } from "../runtime/index.ts"
import { f32, f32Data, type HostTensor } from "../tensor/index.ts"
import { InputError, type Steps } from "../util/index.ts"

/** A range of layers compiled as one program. */
type Segment = {
  readonly program: Program
  readonly end: number
  readonly last: boolean
  /** In place of the last layer where no states are wanted: its keys and values alone, a thirtieth of its work. */
  readonly keys?: Program
}

export type LanguageModelParts = {
  readonly config: Qwen2Config
  readonly executor: Executor
  /** Weights for passes over many positions; `decode` serves those over a few. The same store for both halves memory. */
  readonly prefill: WeightStore
  readonly decode: WeightStore
  /** Rows of the embedding table, [ids.length, D]. */
  readonly embeddingRows: (ids: readonly number[]) => Float32Array
  /** Layers of one prefill step; all of them when absent. */
  readonly layersPerStep?: number
  /** Lets `load` return once the decode weights can serve all passes; `loadRest` brings the others. */
  readonly deferPrefill?: boolean
}

/** At most so many positions in one step. */
const MAX_STEP_POSITIONS = 128
/** Up to so many rows (batch × positions) the memory-bound weights are faster. */
const MAX_DECODE_ROWS = 4
/** Positions of a step that runs all layers with decode weights: half a second at full size. */
const MAX_DEFERRED_POSITIONS = 12
/** A pass over more positions first waits for deferred weights: they save more than loading them costs. */
const LONG_PASS_POSITIONS = 1024

export type ForwardOptions = {
  /** 1 for real positions, 0 for left padding, [B, T]. */
  readonly valid?: Uint8Array
  /** Adds the hidden states after these layers to the result, [B, T, D] each. */
  readonly keepHidden?: readonly number[]
  /** False where positions are only to be remembered: then there is no result, and the last layer is not run to its end. */
  readonly states?: boolean
}

/** @throws InputError when so many positions do not fit the model's context */
export function checkContext({ maxPositionEmbeddings }: Qwen2Config, positions: number): void {
  if (positions <= maxPositionEmbeddings) return
  throw new InputError(
    `context: expected at most ${maxPositionEmbeddings} positions, got ${positions} (drop earlier turns)`,
  )
}

export class LanguageModel {
  readonly config: Qwen2Config
  private readonly parts: LanguageModelParts
  private readonly norm: Program
  private readonly head: Program
  private readonly segments = new Map<string, Promise<readonly Segment[]>>()
  /** What passes over many positions run on: decode weights until all deferred programs are there. */
  private many: "prefill" | "decode" = "prefill"
  private readonly rest: Segment[] = []
  private loadingRest: Promise<void> | undefined

  private constructor(parts: LanguageModelParts, norm: Program, head: Program) {
    this.config = parts.config
    this.parts = parts
    this.norm = norm
    this.head = head
  }

  /** Compiles what every answer needs; other programs are compiled when first used. */
  static async load(parts: LanguageModelParts): Promise<LanguageModel> {
    const { config, executor, decode } = parts
    const norm = await executor.compile(qwen2NormGraph(config), decode)
    const head = await executor.compile(qwen2HeadGraph(config), decode)
    const model = new LanguageModel(parts, norm, head)
    const differ = decode !== parts.prefill
    if (differ) await model.segmentsFor("decode", 1, [])
    if (differ && parts.deferPrefill) model.many = "decode"
    else await model.segmentsFor("prefill", 1, [])
    return model
  }

  /**
   * Compiles the deferred prefill programs, one group of layers a step; passes use them when all are there. Runs that
   * overlap share the work, and one that was abandoned or failed is gone on with.
   */
  async *loadRest(): Steps<void> {
    while (this.many === "decode") {
      this.loadingRest ??= this.loadNext().finally(() => {
        this.loadingRest = undefined
      })
      await this.loadingRest
      yield
    }
  }

  private async loadNext(): Promise<void> {
    const segment = await this.compileSegment("prefill", 1, [], this.rest.at(-1)?.end ?? 0)
    this.rest.push(segment)
    if (!segment.last) return
    this.segments.set(segmentKey("prefill", 1, []), Promise.resolve(this.rest))
    this.many = "prefill"
  }

  /** An empty cache for `rows` sequences. */
  createCache(rows = 1): KvCache {
    const { numHiddenLayers, numKeyValueHeads: kvHeads, headSize } = this.config
    const spec: CacheSpec = Array.from({ length: numHiddenLayers }, (_, i) => ({
      name: qwen2Slot(i),
      kvHeads,
      headSize,
    }))
    return this.parts.executor.createCache(spec, rows)
  }

  /** Embeddings of token ids, [1, T, D]. @throws InputError for an id outside the vocabulary */
  embed(ids: readonly number[]): HostTensor<"f32"> {
    for (const id of ids) {
      if (!(Number.isInteger(id) && id >= 0 && id < this.config.vocabSize)) {
        throw new InputError(`token id: expected one in [0, ${this.config.vocabSize}), got ${id}`)
      }
    }
    return f32([1, ids.length, this.config.hiddenSize], this.parts.embeddingRows(ids))
  }

  /** Cuts positions [from, to) out of a cache, re-basing those that follow. */
  forget(cache: KvCache, from: number, to: number): void {
    cache.remove(from, to, rotateKey(this.config.headSize, this.config.ropeTheta))
  }

  /**
   * Runs the layers over new positions and appends them to the cache. One step per part; a pass that is abandoned
   * between steps keeps only whole groups of 128 positions.
   * @param embeds [B, T, D]
   * @returns hidden states before the final norm, [B, T, D], and those asked for
   * @throws InputError when the positions do not fit the model's context
   */
  async *forward(cache: KvCache, embeds: HostTensor, options: ForwardOptions = {}): Steps<HostTensor[]> {
    const [batch, total, width] = embeds.shape as [number, number, number]
    checkContext(this.config, cache.length + total)
    const { keepHidden: kept = [], states = true } = options
    const results = Array.from({ length: 1 + kept.length }, () => new Float32Array(batch * total * width))
    if (total > LONG_PASS_POSITIONS) yield* this.loadRest()
    for (let start = 0, end = 0; start < total; start = end) {
      const deferred = this.many === "decode" && batch === 1 && kept.length === 0
      end = Math.min(total, start + (deferred ? MAX_DEFERRED_POSITIONS : MAX_STEP_POSITIONS))
      const cut = (data: Float32Array) => sliceSteps(data, batch, total, width, start, end)
      const valid = options.valid && cutMask(options.valid, batch, total, start, end)
      const hidden = f32([batch, end - start, width], cut(f32Data(embeds)))
      const outputs = yield* this.pass(cache, hidden, { kept, states }, valid)
      for (const [i, output] of outputs.entries())
        putSteps(results[i]!, f32Data(output), batch, total, width, start, end)
    }
    return states ? results.map((data) => f32(embeds.shape, data)) : []
  }

  /** All layers over at most 128 positions. */
  private async *pass(
    cache: KvCache,
    embeds: HostTensor,
    { kept, states }: { readonly kept: readonly number[]; readonly states: boolean },
    valid: Uint8Array | undefined,
  ): Steps<HostTensor[]> {
    const [batch, steps] = embeds.shape as [number, number]
    const { headSize, ropeTheta } = this.config
    // One store for both kinds of pass means one set of programs: backends pack weights once per program.
    const few = batch * steps <= MAX_DECODE_ROWS && this.parts.decode !== this.parts.prefill
    // Programs that only some passes need are compiled for those, with the weights they are best with.
    const kind = few ? "decode" : batch === 1 && kept.length === 0 ? this.many : "prefill"
    const segments = await this.segmentsFor(kind, batch, kept)
    const positions = positionIds(cache, batch, steps, valid)
    const tables = rotaryTables(positions, [batch, steps], headSize, ropeTheta)
    const extra = new Map<number, HostTensor>()
    let hidden = embeds
    for (const { program, keys, last } of segments) {
      const runOptions = { cache, advance: last, ...(valid ? { valid } : {}) }
      const used = states ? program : (keys ?? program)
      const outputs = await this.parts.executor.run(used, { hidden, ...tables }, runOptions)
      hidden = outputs.hiddenStates ?? hidden
      for (const layer of kept)
        if (outputs[`hiddenStates.${layer}`]) extra.set(layer, outputs[`hiddenStates.${layer}`]!)
      yield
    }
    return states ? [hidden, ...kept.map((layer) => extra.get(layer)!)] : []
  }

  private segmentsFor(kind: "prefill" | "decode", batch: number, kept: readonly number[]): Promise<readonly Segment[]> {
    const key = segmentKey(kind, batch, kept)
    const known = this.segments.get(key)
    if (known) return known
    const compiled = this.compileSegments(kind, batch, kept)
    this.segments.set(key, compiled)
    compiled.catch(() => this.segments.delete(key)) // a failure, say for want of memory, may pass
    return compiled
  }

  private async compileSegments(
    kind: "prefill" | "decode",
    batch: number,
    keepHidden: readonly number[],
  ): Promise<Segment[]> {
    const segments: Segment[] = []
    do segments.push(await this.compileSegment(kind, batch, keepHidden, segments.at(-1)?.end ?? 0))
    while (!segments.at(-1)!.last)
    return segments
  }

  private async compileSegment(
    kind: "prefill" | "decode",
    batch: number,
    keepHidden: readonly number[],
    first: number,
  ): Promise<Segment> {
    const { config, executor, layersPerStep = config.numHiddenLayers } = this.parts
    const { numHiddenLayers } = config
    const mayOmitLast = kind === "prefill" && batch === 1 && keepHidden.length === 0
    const limit = mayOmitLast && first < numHiddenLayers - 1 ? numHiddenLayers - 1 : numHiddenLayers
    const end = kind === "decode" ? numHiddenLayers : Math.min(limit, first + layersPerStep)
    const weights = this.parts[kind]
    const graph = qwen2LayersGraph(config, { first, end }, { keepHidden, batched: batch > 1 })
    const last = end === numHiddenLayers
    const keys = last && mayOmitLast ? await executor.compile(qwen2LastKeysGraph(config), weights) : undefined
    return { program: await executor.compile(graph, weights), end, last, ...(keys ? { keys } : {}) }
  }

  /** The final norm over hidden states [B, T, D]. */
  async normed(hidden: HostTensor): Promise<HostTensor> {
    return (await this.parts.executor.run(this.norm, { hidden })).normed!
  }

  /** Logits [B, T, V] of normed hidden states [B, T, D]. */
  async logits(normed: HostTensor): Promise<HostTensor> {
    return (await this.parts.executor.run(this.head, { normed })).logits!
  }

  /** Logits of the last position of each row, [B, V], and its normed state, [B, D]. */
  async lastLogits(hidden: HostTensor): Promise<{ readonly logits: Float32Array; readonly normed: Float32Array }> {
    const [batch, steps, width] = hidden.shape as [number, number, number]
    const rows = sliceSteps(f32Data(hidden), batch, steps, width, steps - 1, steps)
    const normed = await this.normed(f32([batch, 1, width], rows))
    return { logits: f32Data(await this.logits(normed)), normed: f32Data(normed) }
  }
}

/** A single sequence shares its rotary tables among rows, which lets backends fuse the rotation. */
function segmentKey(kind: "prefill" | "decode", batch: number, kept: readonly number[]): string {
  return `${kind}/${batch === 1 ? "one" : "many"}/${kept.join(",")}`
}

/** What decoding needs of a language model: a seam for tests. */
export type TokenModel = Pick<LanguageModel, "config" | "embed" | "forward" | "lastLogits">

/** Positions count real tokens; padding gets position 1 like in the reference. */
function positionIds(cache: KvCache, batch: number, steps: number, valid: Uint8Array | undefined): number[] {
  return Array.from({ length: batch }, (_, b) => {
    let next = cache.realLength(b)
    return Array.from({ length: steps }, (_, t) => (valid && !valid[b * steps + t] ? 1 : next++))
  }).flat()
}

function sliceSteps(
  data: Float32Array,
  batch: number,
  total: number,
  width: number,
  start: number,
  end: number,
): Float32Array {
  if (batch === 1) return data.slice(start * width, end * width)
  const out = new Float32Array(batch * (end - start) * width)
  for (let b = 0; b < batch; b++) {
    out.set(data.subarray((b * total + start) * width, (b * total + end) * width), b * (end - start) * width)
  }
  return out
}

function putSteps(
  target: Float32Array,
  part: Float32Array,
  batch: number,
  total: number,
  width: number,
  start: number,
  end: number,
): void {
  const size = (end - start) * width
  for (let b = 0; b < batch; b++) target.set(part.subarray(b * size, (b + 1) * size), (b * total + start) * width)
}

function cutMask(valid: Uint8Array, batch: number, total: number, start: number, end: number): Uint8Array {
  const out = new Uint8Array(batch * (end - start))
  for (let b = 0; b < batch; b++) out.set(valid.subarray(b * total + start, b * total + end), b * (end - start))
  return out
}
