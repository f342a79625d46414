/** @file `omni convert --model DIR`: quantizes a checkpoint ahead of its first use. */
import { defineCommand } from "citty"
import { convertCheckpoint } from "../convert/index.node.ts"
import { cacheFolder, modelFolder } from "../omni.models.node.ts"
import { ConfigError, sizeText } from "../util/index.ts"
import { choice, numberFlag, OUTPUT_FLAGS } from "./flags.ts"
import { interruptible } from "./interrupt.ts"
import { createOutput } from "./output.ts"

const KINDS = ["none", "int8", "int4", "int8+int4"] as const

const FLAGS = {
  model: { type: "string", description: "folder or name of the checkpoint", valueHint: "NAME|DIR", required: true },
  quantize: { type: "string", description: KINDS.join(", "), default: "int8+int4" },
  "block-size": { type: "string", description: "weights that share an int4 scale: 32, 64 or 128", valueHint: "N" },
  threads: { type: "string", description: "threads that quantize", valueHint: "N" },
  out: { type: "string", description: "a model folder of its own, which needs the original no more", valueHint: "DIR" },
  ...OUTPUT_FLAGS,
} as const

export const convert = defineCommand({
  meta: { name: "convert", description: "quantize a checkpoint" },
  args: FLAGS,
  async run({ args }) {
    const output = createOutput({ json: args.json === true, quiet: args.quiet === true })
    const quantize = choice("quantize", args.quantize, KINDS)
    const blockSize = numberFlag("block-size", args["block-size"], 1)
    if (quantize === "none")
      throw new ConfigError("--quantize: expected int8, int4 or int8+int4, got none (nothing to convert)")
    const directory = await modelFolder(args.model, process.env)
    await interruptible(async (signal) => {
      const result = await convertCheckpoint({
        directory,
        quantize,
        blockSize,
        out: args.out,
        threads: numberFlag("threads", args.threads, 1),
        cacheDirectory: cacheFolder(process.env),
        onProgress: ({ name, doneBytes, totalBytes }) => output.progress(name, doneBytes / totalBytes),
        signal,
      })
      output.done()
      output.record({ type: "converted", ...result })
      output.text(`${result.bundleDirectory}: ${sizeText(result.sizeBytes)}${result.reused ? ", made before" : ""}\n`)
    })
  },
})
