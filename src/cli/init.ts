/** @file `omni init --preset nano|full DIR`: a complete model folder with random weights. */
import { defineCommand } from "citty"
import { initCheckpoint } from "../convert/index.node.ts"
import { choice, numberFlag, OUTPUT_FLAGS } from "./flags.ts"
import { interruptible } from "./interrupt.ts"
import { createOutput } from "./output.ts"

const PRESETS = ["nano", "full"] as const
const KINDS = ["none", "int8", "int4", "int8+int4"] as const

const FLAGS = {
  directory: { type: "positional", description: "a folder to make", valueHint: "DIR", required: true },
  preset: { type: "string", description: PRESETS.join(", "), default: "nano" },
  layers: { type: "string", description: "layers of the language model", valueHint: "N" },
  quantize: { type: "string", description: `${KINDS.join(", ")}: write quantized weights directly`, default: "none" },
  "block-size": { type: "string", description: "weights that share an int4 scale: 32, 64 or 128", valueHint: "N" },
  seed: { type: "string", description: "the same seed gives the same weights", valueHint: "N", default: "0" },
  ...OUTPUT_FLAGS,
} as const

export const init = defineCommand({
  meta: { name: "init", description: "make a model with random weights" },
  args: FLAGS,
  async run({ args }) {
    const output = createOutput({ json: args.json === true, quiet: args.quiet === true })
    const quantize = choice("quantize", args.quantize, KINDS)
    const options = {
      directory: args.directory,
      preset: choice("preset", args.preset, PRESETS),
      layers: numberFlag("layers", args.layers, 1),
      seed: numberFlag("seed", args.seed, 0) ?? 0,
      blockSize: numberFlag("block-size", args["block-size"], 1),
      ...(quantize === "none" ? {} : { quantize }),
    }
    await interruptible(async (signal) => {
      const onProgress = ({ name, doneBytes, totalBytes }: { name: string; doneBytes: number; totalBytes: number }) =>
        output.progress(name, doneBytes / totalBytes)
      const result = await initCheckpoint({ ...options, onProgress, signal })
      output.done()
      output.record({ type: "initialized", ...result })
      const parameters = `${(result.parameters / 1e6).toFixed(1)} million parameters`
      output.text(`${result.directory}: ${parameters}, ${(result.sizeBytes / 1e6).toFixed(1)} MB, untrained\n`)
    })
  },
})
