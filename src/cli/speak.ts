/** @file `omni speak "text" --out x.wav`: reads a text aloud, as the server's `/v1/audio/speech` does. */
import { defineCommand } from "citty"
import { encodePcm, wavHeader } from "../audio/index.ts"
import type { ModelInfo } from "../engine/index.ts"
import { VOCODER_SAMPLE_RATE_HZ } from "../inference/index.ts"
import { readSoundInput } from "../media/index.ts"
import { readAloudQuestions } from "../session/index.ts"
import { ConfigError } from "../util/index.ts"
import {
  BEHAVIOUR_FLAG,
  BEHAVIOURS,
  choice,
  MODEL_FLAGS,
  numberFlag,
  OUTPUT_FLAGS,
  SAMPLES_FLAG,
  sampleEncoding,
} from "./flags.ts"
import { interruptible } from "./interrupt.ts"
import { checkOutFile, writeSoundFile } from "./out-file.ts"
import { createOutput } from "./output.ts"
import { textArgument } from "./standard-input.ts"
import { withModel } from "./with-model.ts"

const FLAGS = {
  text: { type: "positional", description: "what is read, or - to read it from standard input", required: true },
  ...MODEL_FLAGS,
  out: {
    type: "string",
    description: "WAV, MP3, Opus, AAC, M4A or FLAC file; - plays WAV into a pipe",
    valueHint: "FILE",
    required: true,
  },
  ...SAMPLES_FLAG,
  voice: { type: "string", description: "sound file of the voice to read with", valueHint: "FILE" },
  instructions: { type: "string", description: "how it is to be read" },
  seed: { type: "string", description: "the same seed reads it the same way", valueHint: "N", default: "0" },
  ...BEHAVIOUR_FLAG,
  ...OUTPUT_FLAGS,
} as const

export const speak = defineCommand({
  meta: { name: "speak", description: "read a text aloud into a sound file" },
  args: FLAGS,
  async run({ args }) {
    const toPipe = args.out === "-"
    // What the model writes down beside its speech would get into the sound.
    const output = createOutput({ json: args.json === true, quiet: args.quiet === true })
    const seed = numberFlag("seed", args.seed, 0)
    const behaviour = choice("behaviour", args.behaviour, BEHAVIOURS)
    const encoding = sampleEncoding(args.format)
    if (toPipe && output.json)
      throw new ConfigError("--out: expected a file beside --json, got - (both are standard output)")
    if (!toPipe) await checkOutFile("--out", args.out, [args.voice], { encoding })
    const text = await textArgument(args.text)
    if (text.trim() === "") throw new ConfigError("text: expected something to read, got nothing")
    await interruptible(async (signal) => {
      const voice =
        args.voice === undefined ? undefined : await readSoundInput(args.voice, { source: args.voice, signal })
      const check = ({ speaks, name }: ModelInfo) => {
        if (!speaks) throw new ConfigError(`--model: expected a model that speaks, got ${name}, which does not`)
      }
      await withModel(args, { output, signal, check }, async ({ engine }) => {
        const began = performance.now()
        let firstMs: number | undefined
        let samples = 0
        const pieces: Float32Array[] = []
        if (toPipe) process.stdout.write(wavHeader({ sampleRateHz: VOCODER_SAMPLE_RATE_HZ, encoding }))
        for (const question of readAloudQuestions(text, { voice, instructions: args.instructions, seed })) {
          for await (const event of engine.chat({ ...question, behaviour }, signal)) {
            if (event.type !== "audio-delta") {
              output.record(event)
              continue
            }
            firstMs ??= performance.now() - began
            samples += event.pcm.length
            output.record({ type: "audio-delta", samples: event.pcm.length, text: event.text })
            if (toPipe) process.stdout.write(encodePcm(event.pcm, encoding))
            else pieces.push(event.pcm)
          }
          signal.throwIfAborted()
        }
        const audioMs = (samples / VOCODER_SAMPLE_RATE_HZ) * 1000
        if (!toPipe) {
          await writeSoundFile(args.out, pieces, { encoding, signal })
          output.record({ type: "written", file: args.out, audioMs })
          output.text(`${args.out}\n`)
        }
        const seconds = (ms: number) => `${(ms / 1000).toFixed(2)} s`
        const first = firstMs === undefined ? "no sound" : `first sound after ${seconds(firstMs)}`
        output.note(`${first}, ${seconds(audioMs)} of sound in ${seconds(performance.now() - began)}`)
      })
    })
  },
})
