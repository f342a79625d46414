/** @file Loads a model folder in Node: config, tokenizer, weights in the storage that fits, programs on a device. */
import { existsSync } from "node:fs"
import { basename, join, resolve } from "node:path"
import { openFolder } from "../checkpoint/index.node.ts"
import { readJsonObject, readText } from "../checkpoint/index.ts"
import { openBundle, openModelWeights, readComponents } from "../convert/index.node.ts"
import { UNTRAINED_FIELD } from "../convert/index.ts"
import { loadXgrammar } from "../grammar/index.node.ts"
import { Constraints } from "../grammar/index.ts"
import { LanguageModel } from "../inference/index.ts"
import { parseQwen2Config } from "../models/minicpmo/index.ts"
import { createOrtNodeExecutor, useVulkanDriver } from "../runtime/index.node.ts"
import { createReferenceExecutor, type Executor, probeIntegers } from "../runtime/index.ts"
import { Call, type OmniModel, omniChat, VoiceCache } from "../session/index.ts"
import { loadChatTemplate, readTokenizer, terminatorIds } from "../tokenizer/index.ts"
import { openSilero } from "../turns/index.node.ts"
import { createVad, type Vad } from "../turns/index.ts"
import { CheckpointError } from "../util/index.ts"
import type { EngineModel } from "./host.ts"
import { loadParts } from "./load-parts.ts"
import { choosePlan, countWeights, planBytes, type StoragePlan } from "./memory-plan.ts"
import type { Device, LoadOptions, QuantizeKind } from "./messages.ts"
import { Trace } from "./trace.ts"

/** A step of so many layers over 128 positions stays under half a second at full size. */
const LAYERS_PER_STEP = 4

function createExecutor(device: Device, threads: number | undefined): Executor {
  if (device === "reference") return createReferenceExecutor()
  if (device === "webgpu") useVulkanDriver(process.env)
  return createOrtNodeExecutor({ device: device === "auto" ? "cpu" : device, threads })
}

/** `auto` for a folder that has a bundle instead of floats means what that bundle holds. */
function ownStorage(directory: string, wish: QuantizeKind): QuantizeKind {
  const own = join(directory, "bundle")
  if (wish !== "auto" || !existsSync(own)) return wish
  using bundle = openBundle(own)
  return bundle.manifest.options.quantize
}

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
 * @throws ConfigError and CheckpointError naming what is wrong with the folder; the signal's reason when aborted
 */
export async function loadModel(
  options: LoadOptions,
  onProgress: (stage: string, fraction: number) => void,
  signal: AbortSignal,
): Promise<EngineModel> {
  const start = performance.now()
  const directory = resolve(options.model)
  if (!existsSync(join(directory, "config.json"))) {
    throw new CheckpointError(
      `${options.model}: expected a model folder with a config.json, got none (give the folder of a checkpoint, or make one with omni init)`,
    )
  }
  await using source = openFolder(directory)
  const json = await readJsonObject(source, "config.json")
  const where = join(directory, "config.json")
  const config = parseQwen2Config(json, where)
  const components = await readComponents(source)
  // Quantizing may take minutes: what can be refused is refused before.
  const { tokenizer, tokenizerConfig } = await readTokenizer({ readText: (path) => readText(source, path) })
  tokenizer.reservedIds(config.vocabSize)
  terminatorIds(tokenizer)
  const template = loadChatTemplate(tokenizerConfig)
  // What is opened here is freed when a later part fails; a loaded model takes it over.
  await using opened = new AsyncDisposableStack()
  const trace = options.trace ? new Trace(() => performance.timeOrigin + performance.now()) : undefined
  const native = opened.use(createExecutor(options.device, options.threads))
  const executor = trace ? trace.executor(native) : native
  const plan = choosePlan(
    ownStorage(directory, options.quantize),
    countWeights(components),
    (candidate) => planBytes(components, candidate),
    process.availableMemory(),
  )
  const weights = await openModelWeights({
    directory,
    quantize: plan,
    cacheDirectory: options.cacheFolder,
    threads: options.threads,
    onProgress: ({ doneBytes, totalBytes }) => onProgress("quantizing", doneBytes / totalBytes),
    signal,
  })
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
  let masks: Promise<Constraints> | undefined
  /** Masks for answers with tools or a format, made with the first of them. */
  const constraints = () => {
    masks ??= loadXgrammar().then(async (xgrammar) =>
      resources.use(await Constraints.create(xgrammar, tokenizer, config.vocabSize, terminatorIds(tokenizer))),
    )
    masks.catch(() => {
      masks = undefined
    })
    return masks
  }
  const parts = await loadParts({ source, directory, json, executor, weights, model, tokenizer, template })
  const omni: OmniModel = { ...parts, constraints }
  signal.throwIfAborted()
  const voices = new VoiceCache()
  let vad: Promise<Vad> | undefined
  /** Voice activity, loaded with the first call that has turns. */
  const listener = () => {
    vad ??= openSilero().then((silero) => {
      const created = createVad(resources.use(silero))
      return trace ? trace.vad(created) : created
    })
    vad.catch(() => {
      vad = undefined // the next call tries again
    })
    return vad
  }
  const now = () => performance.now()
  const resources = opened.move()
  return {
    info: {
      name: basename(directory),
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
