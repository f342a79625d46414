/** @file Which form of a model fits the memory: what the loader would choose, and what each form needs. */
import { existsSync } from "node:fs"
import { join } from "node:path"
import { openFolder } from "../checkpoint/index.node.ts"
import { openBundle } from "../convert/index.node.ts"
import { modelPlan, officialTensors, readComponents } from "../convert/index.ts"
import { choosePlan, countWeights, planBytes, type QuantizeKind, type StoragePlan } from "../engine/index.ts"
import { type ModelPlaces, missingModelFiles, resolveModel } from "../hub/index.node.ts"
import { type Component, componentSpecs } from "../models/minicpmo/index.ts"
import { errorText } from "../util/index.ts"

export type ModelReport = {
  readonly name: string
  readonly folder: string | undefined
  readonly weights: number | undefined
  /** What `--quantize auto` takes; undefined when nothing fits or the model cannot be read. */
  readonly plan: StoragePlan | undefined
  readonly plans: readonly { readonly plan: StoragePlan; readonly bytes: number; readonly fits: boolean }[]
  readonly missing: readonly string[]
  readonly problem: string | undefined
}

const PLANS = ["none", "int8+int4", "int8", "int4"] as const
const FULL_MODEL = "MiniCPM-o 2.6 (8B)"

/** @param model a name or folder; the full model when undefined */
export async function reportModel(
  model: string | undefined,
  places: ModelPlaces,
  availableBytes: number,
): Promise<ModelReport> {
  const empty = {
    name: model ?? FULL_MODEL,
    folder: undefined,
    weights: undefined,
    plan: undefined,
    plans: [],
    missing: [],
  }
  try {
    if (model === undefined) return { ...empty, ...fitting(fullComponents(), "auto", availableBytes) }
    const folder = await resolveModel(model, places)
    const missing = await missingModelFiles(folder)
    if (missing.length > 0) {
      const lacks = missing.slice(0, 3).join(", ")
      const problem = `${model}: expected a whole model, got one without ${lacks} (pull it again)`
      return { ...empty, folder, missing, problem } // what it needs is read off the shapes of its tensors
    }
    await using source = openFolder(folder)
    const components = await readComponents(source)
    return { ...empty, folder, ...fitting(components, storedAs(folder), availableBytes) }
  } catch (error) {
    return { ...empty, problem: errorText(error) }
  }
}

/** A folder whose weights exist as a bundle alone is loaded as that. */
function storedAs(folder: string): QuantizeKind {
  const own = join(folder, "bundle")
  if (!existsSync(own)) return "auto"
  using bundle = openBundle(own)
  return bundle.manifest.options.quantize
}

function fullComponents(): Component[] {
  const { config, sizes } = modelPlan("full")
  const tensors = officialTensors(config, sizes)
  return componentSpecs(config, (name) => tensors.get(name)?.shape)
}

function fitting(components: readonly Component[], wish: QuantizeKind, availableBytes: number) {
  const weights = countWeights(components)
  const bytesOf = (plan: StoragePlan) => planBytes(components, plan)
  const plans = PLANS.map((plan) => ({ plan, bytes: bytesOf(plan), fits: bytesOf(plan) <= availableBytes }))
  try {
    return { weights, plans, plan: choosePlan(wish, weights, bytesOf, availableBytes), problem: undefined }
  } catch (error) {
    return { weights, plans, problem: errorText(error) }
  }
}
