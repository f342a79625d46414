/** @file `omni models`: what is on this machine, how large and whether whole; and the removal of what was pulled. */
import { join } from "node:path"
import { defineCommand } from "citty"
import { openBundle } from "../convert/index.node.ts"
import { type LocalModel, listModels, removeModel } from "../hub/index.node.ts"
import { modelPlaces } from "../omni.models.node.ts"
import { errorText, sizeText } from "../util/index.ts"
import { listFlag, OUTPUT_FLAGS } from "./flags.ts"
import { interruptible } from "./interrupt.ts"
import { createOutput } from "./output.ts"

const FLAGS = {
  dir: { type: "string", description: "folders of models of your own to look at too", valueHint: "DIR,…" },
  remove: { type: "string", description: "remove the pulled model of exactly this name", valueHint: "NAME" },
  ...OUTPUT_FLAGS,
} as const

type BundleInfo = {
  readonly folder: string
  readonly quantize?: string
  readonly sizeBytes?: number
  readonly problem?: string
}

function bundleInfo(folder: string): BundleInfo {
  try {
    using bundle = openBundle(folder)
    return { folder, quantize: bundle.manifest.options.quantize, sizeBytes: bundle.manifest.sizeBytes }
  } catch (error) {
    return { folder, problem: errorText(error) }
  }
}

export const models = defineCommand({
  meta: { name: "models", description: "list or remove the models on this machine" },
  args: FLAGS,
  async run({ args, rawArgs }) {
    const output = createOutput({ json: args.json === true, quiet: args.quiet === true })
    const places = modelPlaces(process.env)
    await interruptible(async (signal) => {
      if (args.remove !== undefined) {
        const freedBytes = await removeModel(places.cacheFolder, args.remove, signal)
        output.record({ type: "removed", name: args.remove, freedBytes })
        output.text(`${args.remove}: removed, ${sizeText(freedBytes)} freed\n`)
        return
      }
      const found = await listModels(places, listFlag("dir", rawArgs))
      for (const model of found) show(model)
      if (found.length === 0) output.note(`no models in ${places.cacheFolder} (get one with omni pull org/name)`)
    })

    function show(model: LocalModel): void {
      const bundles = model.bundles.map((path) => bundleInfo(join(model.folder, path)))
      const complete = model.missing.length === 0
      output.record({ type: "model", ...model, complete, bundles })
      const origin = model.commit === undefined ? "" : `, ${model.revision ?? "commit"} ${model.commit.slice(0, 8)}`
      const more = model.missing.length > 3 ? ` and ${model.missing.length - 3} more` : ""
      const state = complete ? "complete" : `incomplete: lacks ${model.missing.slice(0, 3).join(", ")}${more}`
      output.text(`${model.name}: ${sizeText(model.sizeBytes)}${origin}, ${state}\n  ${model.folder}\n`)
      for (const { quantize, sizeBytes, problem } of bundles)
        output.text(`  quantized ${problem ?? `${quantize}, ${sizeText(sizeBytes ?? 0)}`}\n`)
    }
  },
})
