/**
 * @file Full-size weights of the components beside the language model, random, as they are quantized and as exact floats of
 * the same values: two bundles, so that both are loaded the same way.
 */
import { existsSync } from "node:fs"
import { mkdir, rename, rm, writeFile } from "node:fs/promises"
import { availableParallelism } from "node:os"
import { join } from "node:path"
import { folderSink, openFolder } from "../src/checkpoint/index.node.ts"
import { openCheckpoint, type TensorPlan, writeCheckpoint, writePt } from "../src/checkpoint/index.ts"
import { quantizerPool } from "../src/convert/index.node.ts"
import {
  bundleOptions,
  componentTensors,
  modelPlan,
  officialTensors,
  planComponents,
  quantizeCheckpoint,
  randomTensors,
  vocosTensors,
  writeBundle,
} from "../src/convert/index.ts"
import { type Component, componentSpecs, VOCOS_FILE } from "../src/models/minicpmo/index.ts"

export const STORAGES = ["quantized", "float32"] as const
export type Storage = (typeof STORAGES)[number]

/** Components by what they are for, by the prefixes of their tensors. */
export const PARTS = {
  vision: ["vpm", "resampler"],
  audio: ["apm", "audio_projection_layer"],
  speech: ["tts", "tts.dvae"],
} as const
export type Part = keyof typeof PARTS

const SEED = 1

/** The config.json of full size. */
export const FULL_CONFIG: { readonly [field: string]: unknown } = modelPlan("full").config

/** Makes both bundles of a part in `folder`, unless they are there; and the vocoder's file beside those of `speech`. */
export async function ensureBundles(folder: string, part: Part): Promise<void> {
  if (existsSync(folder)) return
  const partial = `${folder}.partial`
  await rm(partial, { recursive: true, force: true })
  await mkdir(partial, { recursive: true })
  const { sizes } = modelPlan("full")
  const specs = officialTensors(FULL_CONFIG, sizes)
  const wanted: readonly string[] = PARTS[part]
  const components = componentSpecs(FULL_CONFIG, (name) => specs.get(name)?.shape).filter(({ prefix }) =>
    wanted.includes(prefix),
  )
  const tensors: TensorPlan[] = [...componentTensors(components)]
    .filter(([, { ignored }]) => ignored === undefined)
    .map(([name, { shape }]) => ({ name, dtype: "bf16", shape }))
  const floats = join(partial, "checkpoint")
  await writeCheckpoint(folderSink(floats), tensors, randomTensors(specs, SEED), {})
  const write = async (into: Storage, as: readonly Component[]) => {
    await using source = openFolder(floats)
    await using pool = quantizerPool(availableParallelism())
    const plan = planComponents(as, () => "bf16", bundleOptions("int8"))
    const pieces = quantizeCheckpoint(await openCheckpoint(source), plan, pool)
    await writeBundle(folderSink(join(partial, into)), plan, pieces, { key: part, sourceless: true })
  }
  await write("quantized", components)
  await write(
    "float32",
    components.map((component) => ({ ...component, use: "floats" as const })),
  )
  await rm(floats, { recursive: true })
  if (part === "speech") await writePt(folderSink(partial), VOCOS_FILE, vocosTensors(sizes, SEED))
  await writeFile(join(partial, "config.json"), JSON.stringify(FULL_CONFIG))
  await rename(partial, folder)
}
