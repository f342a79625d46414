/** @file Makes a new model folder in the official layout with random weights, in bounded memory at any size. */
import { join } from "node:path"
import { folderSink } from "../checkpoint/index.node.ts"
import { type TensorPlan, writeCheckpoint, writePt, writeText } from "../checkpoint/index.ts"
import { componentSpecs, VOCOS_FILE } from "../models/minicpmo/index.ts"
import { dtypeBytes, sizeOf, type TensorSpec } from "../tensor/index.ts"
import { ConfigError } from "../util/index.ts"
import { type BundleOptions, type BundlePlan, bundleOptions, type Quantization } from "./bundle.ts"
import { type TaskOptions, writeBundle } from "./bundle-writer.ts"
import { modelFiles } from "./model-files.ts"
import { joinedProgress, makeModelFolder } from "./model-folder.node.ts"
import { OWN_BUNDLE_FOLDER } from "./model-folder.ts"
import { fixedTensors, officialTensors, randomTensors, vocosTensors } from "./official-tensors.ts"
import { checkSpace } from "./partial-folder.node.ts"
import { modelPlan, type Preset } from "./presets.ts"
import { planComponents } from "./quantize-checkpoint.ts"
import { randomBundle } from "./random-bundle.ts"

export type InitOptions = TaskOptions & {
  /** A new or empty folder. */
  readonly directory: string
  readonly preset: Preset
  /** Layers of the language model, when others than the preset's. */
  readonly layers?: number | undefined
  /** The same seed gives the same bytes; 0 when absent. */
  readonly seed?: number | undefined
  /**
   * Draws all quantized weights in these forms and writes no floats of them: full size in a minute, for measuring. Such
   * a model cannot be trained or converted, and its int8 and int4 forms do not agree with each other.
   */
  readonly quantize?: Quantization | "none" | undefined
  readonly blockSize?: number | undefined
  /** What the tokenizer's merges are learned from. */
  readonly texts?: Iterable<string> | undefined
}

export type InitResult = {
  readonly directory: string
  /** Parameters of the model, the vocoder not counted. */
  readonly parameters: number
  /** Bytes of all weights. */
  readonly sizeBytes: number
}

/** Shards of new models are bf16, as the official ones. */
const DTYPE = "bf16"

/**
 * Makes a model folder: configs, tokenizers, shards, vocoder; with `quantize` a bundle instead of shards. The folder
 * appears whole or not at all.
 * @throws ConfigError for wrong options or a folder with files in it, the signal's reason when aborted
 */
export async function initCheckpoint(options: InitOptions): Promise<InitResult> {
  const { directory, signal, quantize = "none", seed = 0 } = options
  if (!Number.isSafeInteger(seed)) throw new ConfigError(`seed: expected a whole number, got ${seed}`)
  const wanted = quantize === "none" ? undefined : bundleOptions(quantize, options.blockSize)
  const model = modelPlan(options.preset, options.layers)
  const { files, config } = modelFiles(model, options.texts)
  const specs = officialTensors(config, model.sizes)
  const bundle = wanted && bundlePlan(config, specs, wanted)
  const shards = bundle ? [] : [...specs].map(([name, { shape }]) => planned(name, shape))
  const shardBytes = shards.reduce((sum, { shape }) => sum + sizeOf(shape) * dtypeBytes(DTYPE), 0)
  const sizeBytes = shardBytes + (bundle?.sizeBytes ?? 0)
  await checkSpace(directory, sizeBytes)
  const progress = joinedProgress(sizeBytes, options.onProgress)

  await makeModelFolder("init", directory, async (partial) => {
    const sink = folderSink(partial)
    for (const [path, text] of files) await writeText(sink, path, text)
    await writePt(sink, VOCOS_FILE, vocosTensors(model.sizes, seed))
    const draw = randomTensors(specs, seed)
    function* pieces(tensor: TensorPlan) {
      for (const piece of draw(tensor)) {
        progress.piece({ name: tensor.name, doneBytes: piece.byteLength, totalBytes: sizeBytes })
        yield piece
      }
    }
    if (bundle) {
      const into = folderSink(join(partial, OWN_BUNDLE_FOLDER))
      const task = { onProgress: progress.absolute, signal }
      const arrays = randomBundle(bundle, seed, fixedTensors(specs))
      await writeBundle(into, bundle, arrays, { key: `random-${seed}`, sourceless: true, ...task })
    } else await writeCheckpoint(sink, shards, pieces, signal ? { signal } : {})
  })
  const parameters = [...specs.values()].reduce((sum, { shape }) => sum + sizeOf(shape), 0)
  return { directory, parameters, sizeBytes }
}

const planned = (name: string, shape: readonly number[]): TensorPlan => ({ name, dtype: DTYPE, shape })

function bundlePlan(config: unknown, specs: ReadonlyMap<string, TensorSpec>, options: BundleOptions): BundlePlan {
  const components = componentSpecs(config, (name) => specs.get(name)?.shape)
  return planComponents(components, () => DTYPE, options)
}
