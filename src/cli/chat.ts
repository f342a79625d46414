/** @file `omni chat "text"`: one question, with pictures and sound, the answer streamed. */
import { defineCommand } from "citty"
import { readImage, readSoundInput } from "../media/index.ts"
import type { Behaviour, ContentPart } from "../session/index.ts"
import { ConfigError } from "../util/index.ts"
import {
  BEHAVIOUR_FLAG,
  BEHAVIOURS,
  choice,
  listFlag,
  MODEL_FLAGS,
  OUTPUT_FLAGS,
  SAMPLING_FLAGS,
  samplingOptions,
} from "./flags.ts"
import { interruptible } from "./interrupt.ts"
import { createOutput } from "./output.ts"
import { textArgument } from "./standard-input.ts"
import { answerLength, withModel } from "./with-model.ts"

const FLAGS = {
  text: { type: "positional", description: "what you say, or - to read it from standard input", required: true },
  ...MODEL_FLAGS,
  image: {
    type: "string",
    description: "pictures to ask about, with commas between or the flag again",
    valueHint: "FILE,…",
  },
  audio: { type: "string", description: "sound files to ask about, likewise", valueHint: "FILE,…" },
  system: { type: "string", description: "system prompt" },
  ...BEHAVIOUR_FLAG,
  ...SAMPLING_FLAGS,
  ...OUTPUT_FLAGS,
} as const

/** The question: pictures and sound first, as the official examples have it. */
async function contentOf(
  text: string,
  { images, sounds }: { readonly images: readonly string[]; readonly sounds: readonly string[] },
  { behaviour, signal }: { readonly behaviour: Behaviour; readonly signal: AbortSignal },
): Promise<string | ContentPart[]> {
  const parts: ContentPart[] = []
  for (const path of images)
    parts.push({ type: "image", image: await readImage(path, { source: path, behaviour, signal }) })
  for (const path of sounds) parts.push({ type: "audio", audio: await readSoundInput(path, { source: path, signal }) })
  return parts.length === 0 ? text : [...parts, { type: "text", text }]
}

export const chat = defineCommand({
  meta: { name: "chat", description: "ask a question, read the answer" },
  args: FLAGS,
  async run({ args, rawArgs }) {
    const output = createOutput({ json: args.json === true, quiet: args.quiet === true })
    const text = await textArgument(args.text)
    if (text.trim() === "") throw new ConfigError("text: expected something to say, got nothing")
    const sampling = samplingOptions(args)
    const behaviour = choice("behaviour", args.behaviour, BEHAVIOURS)
    const files = { images: listFlag("image", rawArgs), sounds: listFlag("audio", rawArgs) }
    await interruptible(async (signal) => {
      const content = await contentOf(text, files, { behaviour, signal })
      await withModel(args, { output, signal }, async ({ engine, info }) => {
        const messages = [
          ...(args.system === undefined ? [] : [{ role: "system" as const, content: args.system }]),
          { role: "user" as const, content },
        ]
        for await (const event of engine.chat({ messages, behaviour, ...answerLength(sampling, info) }, signal)) {
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
      })
    })
  },
})
