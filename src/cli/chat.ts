/** @file `omni chat --model DIR "text"`: one question, the answer streamed. */
import { defineCommand } from "citty"
import { startEngine } from "../engine/index.node.ts"
import { ConfigError } from "../util/index.ts"
import { MODEL_FLAGS, numberFlag, OUTPUT_FLAGS } from "./flags.ts"
import { interruptible } from "./interrupt.ts"
import { loadOptions, noteUntrained } from "./load-options.ts"
import { createOutput } from "./output.ts"

const FLAGS = {
  text: { type: "positional", description: "what you say, or - to read it from standard input", required: true },
  ...MODEL_FLAGS,
  system: { type: "string", description: "system prompt" },
  "max-tokens": { type: "string", description: "longest answer in tokens", valueHint: "N" },
  temperature: { type: "string", description: "0 always takes the most likely token", valueHint: "X" },
  "top-p": { type: "string", description: "share of probability that is kept", valueHint: "X" },
  "top-k": { type: "string", description: "number of tokens that are kept", valueHint: "N" },
  "repetition-penalty": { type: "string", description: "above 1 avoids repetition", valueHint: "X" },
  seed: { type: "string", description: "the same seed gives the same answer", valueHint: "N", default: "0" },
  ...OUTPUT_FLAGS,
} as const

async function readStandardInput(): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of process.stdin) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks).toString("utf8").trim()
}

export const chat = defineCommand({
  meta: { name: "chat", description: "ask a question, read the answer" },
  args: FLAGS,
  async run({ args }) {
    const output = createOutput({ json: args.json === true, quiet: args.quiet === true })
    const text = args.text === "-" ? await readStandardInput() : args.text
    if (text.trim() === "") throw new ConfigError("text: expected something to say, got nothing")
    const sampling = {
      temperature: numberFlag("temperature", args.temperature, 0, false),
      topP: numberFlag("top-p", args["top-p"], 0, false),
      topK: numberFlag("top-k", args["top-k"], 0),
      repetitionPenalty: numberFlag("repetition-penalty", args["repetition-penalty"], 0, false),
      maxNewTokens: numberFlag("max-tokens", args["max-tokens"], 1),
      seed: numberFlag("seed", args.seed, 0),
    }
    const given = Object.fromEntries(Object.entries(sampling).filter(([, value]) => value !== undefined))
    const options = await loadOptions(args)
    await interruptible(async (signal) => {
      const engine = startEngine()
      try {
        const info = await engine.load(options, { signal, onProgress: output.progress })
        output.done()
        output.record({ type: "loaded", ...info })
        noteUntrained(output, info)
        const messages = [
          ...(args.system === undefined ? [] : [{ role: "system" as const, content: args.system }]),
          { role: "user" as const, content: text },
        ]
        for await (const event of engine.chat({ messages, ...given }, signal)) {
          output.record(event)
          if (event.type === "text-delta") output.text(event.text)
          if (event.type === "turn-end") {
            output.done()
            const { prefillMs, decodeMs } = event.timings
            const rate = decodeMs > 0 ? ((event.completionTokens - 1) / decodeMs) * 1000 : 0
            output.note(
              `${event.promptTokens} tokens read in ${(prefillMs / 1000).toFixed(2)} s, ` +
                `${event.completionTokens} written at ${rate.toFixed(1)} per second`,
            )
          }
        }
      } finally {
        output.done()
        await engine.close()
      }
    })
  },
})
