/**
 * @file Loads a model folder wherever it lies: config, tokenizer, weights, programs. What differs between Node.js and browsers
 * comes in as a `ModelPlatform`.
 */
import { type FileSource, readJsonObject, readText } from "../checkpoint/index.ts"
import { type ModelWeights, readComponents, UNTRAINED_FIELD } from "../convert/index.ts"
import { Constraints, type Xgrammar } from "../grammar/index.ts"
import { LanguageModel } from "../inference/index.ts"
import { type Component, parseQwen2Config } from "../models/minicpmo/index.ts"
import { type Executor, type OnnxModel, probeIntegers } from "../runtime/index.ts"
import { Call, type OmniModel, omniChat, VoiceCache } from "../session/index.ts"
import { loadChatTemplate, readTokenizer, terminatorIds } from "../tokenizer/index.ts"
import { createVad, type Vad } from "../turns/index.ts"
import type { EngineModel } from "./host.ts"
import { loadParts } from "./load-parts.ts"
import type { StoragePlan } from "./memory-plan.ts"
import { Trace } from "./trace.ts"

/** What loading takes from the platform. */
export type ModelPlatform = {
  /** The model's folder; closed by the caller once loading is over. */
  readonly source: FileSource
  /** What people call the model. */
  readonly name: string
  readonly createExecutor: () => Promise<Executor> | Executor
  /** Chooses the storage that serves the wish and fits, and opens the weights in it. */
  readonly openWeights: (components: readonly Component[]) => Promise<{
    readonly plan: StoragePlan
    readonly weights: ModelWeights
  }>
  readonly loadXgrammar: () => Promise<Xgrammar>
  readonly openSilero: () => Promise<OnnxModel>
}

export type LoadProgress = (stage: string, fraction: number) => void

/** A step of so many layers over 128 positions stays under half a second at full size. */
const LAYERS_PER_STEP = 4

/** Weight kinds for many rows and for one, by plan. */
const KINDS: { readonly [P in StoragePlan]: readonly ["f32" | "int8" | "int4", "f32" | "int8" | "int4"] } = {
  none: ["f32", "f32"],
  int8: ["int8", "int8"],
  int4: ["int4", "int4"],
  "int8+int4": ["int8", "int4"],
}

/** The kinds of a plan, after asking the processor what its integer kernels are worth. */
async function fastestKinds(plan: StoragePlan, executor: Executor): Promise<(typeof KINDS)[StoragePlan]> {
  const [prefill, decode] = KINDS[plan]
  if (prefill !== "int8" || executor.device === "reference") return [prefill, decode]
  if (decode !== "int4") return [prefill, decode]
  const probe = await probeIntegers(executor, () => performance.now())
  return probe.prefill === "int8" ? [prefill, decode] : [decode, decode]
}

/**
 * @param options.trace keep what was run and when
 * @throws ConfigError and CheckpointError naming what is wrong with the folder; the signal's reason when aborted
 */
export async function loadModelFrom(
  platform: ModelPlatform,
  options: { readonly trace?: boolean | undefined },
  onProgress: LoadProgress,
  signal: AbortSignal,
): Promise<EngineModel> {
  const start = performance.now()
  const { source } = platform
  const json = await readJsonObject(source, "config.json")
  const config = parseQwen2Config(json, `${source.name}/config.json`)
  const components = await readComponents(source)
  // Quantizing may take minutes: what can be refused is refused before.
  const { tokenizer, tokenizerConfig } = await readTokenizer({ readText: (path) => readText(source, path) })
  tokenizer.reservedIds(config.vocabSize)
  terminatorIds(tokenizer)
  const template = loadChatTemplate(tokenizerConfig)
  // What is opened here is freed when a later part fails; a loaded model takes it over.
  await using opened = new AsyncDisposableStack()
  const trace = options.trace ? new Trace(() => performance.timeOrigin + performance.now()) : undefined
  const device = opened.use(await platform.createExecutor())
  const executor = trace ? trace.executor(device) : device
  const { plan, weights } = await platform.openWeights(components)
  opened.defer(() => weights.close())
  onProgress("loading", 0)
  const [prefill, decode] = await fastestKinds(plan, executor)
  const [embeddings] = components.flatMap(({ byRow }) => byRow)
  const many = weights.weights(prefill)
  weights.prefetch?.(decode)
  const model = await LanguageModel.load({
    config,
    executor,
    prefill: many,
    decode: decode === prefill ? many : weights.weights(decode),
    embeddingRows: (ids) => weights.readRows(embeddings!, ids),
    layersPerStep: LAYERS_PER_STEP,
    deferPrefill: true,
  })
  signal.throwIfAborted()
  onProgress("loading", 1)
  /** Masks for answers with tools or a format, made with the first of them. */
  const constraints = once(async () => {
    const xgrammar = await platform.loadXgrammar()
    return resources.use(await Constraints.create(xgrammar, tokenizer, config.vocabSize, terminatorIds(tokenizer)))
  })
  const parts = await loadParts({ source, json, executor, weights, model, tokenizer, template })
  const omni: OmniModel = { ...parts, constraints }
  signal.throwIfAborted()
  const voices = new VoiceCache()
  /** Voice activity, loaded with the first call that has turns. */
  const listener = once(async (): Promise<Vad> => {
    const vad = createVad(resources.use(await platform.openSilero()))
    return trace ? trace.vad(vad) : vad
  })
  const now = () => performance.now()
  const resources = opened.move()
  return {
    info: {
      name: platform.name,
      device: executor.device,
      quantize: plan,
      layers: config.numHiddenLayers,
      hiddenSize: config.hiddenSize,
      vocabSize: config.vocabSize,
      loadMs: performance.now() - start,
      sees: omni.perception.vision !== undefined,
      hears: omni.perception.audio !== undefined,
      speaks: omni.voice !== undefined,
      untrained: json[UNTRAINED_FIELD] === true,
    },
    chat: (request) => omniChat(omni, request, now, voices),
    async *call(request, snapshot) {
      const parts = { model: omni, voices, now, ...(request.turns ? { vad: await listener() } : {}) }
      return yield* Call.open(parts, request, snapshot)
    },
    ...(trace ? { trace: () => trace.take() } : {}),
    async *loadRest() {
      if (prefill !== decode) weights.prefetch?.(prefill)
      yield* model.loadRest()
    },
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  }
}

/** Makes something when it is first asked for; after a failure the next one who asks tries again. */
function once<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | undefined
  return () => {
    if (made) return made
    const making = make()
    made = making
    making.catch(() => {
      made = undefined
    })
    return making
  }
}
