/** @file `omni transcribe FILE…`: writes down what is said in recordings, as the server's `/v1/audio/transcriptions` does. */
import { basename, extname, join } from "node:path"
import { defineCommand } from "citty"
import type { EngineClient, ModelInfo } from "../engine/index.ts"
import { readSoundInput } from "../media/index.ts"
import {
  type Sound,
  type TranscriptionOptions,
  type TranscriptPart,
  toSrt,
  toVtt,
  transcribe as transcribeSound,
  transcriptText,
} from "../session/index.ts"
import { ConfigError, errorText, InputError } from "../util/index.ts"
import { BEHAVIOUR_FLAG, BEHAVIOURS, choice, MODEL_FLAGS, numberFlag, OUTPUT_FLAGS } from "./flags.ts"
import { interruptible } from "./interrupt.ts"
import { checkOutFolder, writeWhole } from "./out-file.ts"
import { createOutput, type Output } from "./output.ts"
import { readStandardInput } from "./standard-input.ts"
import { withModel } from "./with-model.ts"

const FORMATS = ["text", "json", "srt", "vtt"] as const
type Format = (typeof FORMATS)[number]
const ENDINGS: { readonly [F in Format]: string } = { text: ".txt", json: ".json", srt: ".srt", vtt: ".vtt" }

const FLAGS = {
  files: { type: "positional", description: "recordings, or - for standard input", required: true, valueHint: "FILE…" },
  ...MODEL_FLAGS,
  format: { type: "string", description: FORMATS.join(", "), default: "text" },
  language: { type: "string", description: "language that is spoken, such as en or zh" },
  translate: { type: "boolean", description: "write it down in English" },
  prompt: { type: "string", description: "names and words to expect" },
  out: {
    type: "string",
    description: "folder for one file per recording, instead of standard output",
    valueHint: "DIR",
  },
  temperature: { type: "string", description: "0 always takes the most likely token", valueHint: "X", default: "0" },
  ...BEHAVIOUR_FLAG,
  ...OUTPUT_FLAGS,
} as const

type Transcript = { readonly file: string; readonly seconds: number; readonly parts: readonly TranscriptPart[] }

export const transcribe = defineCommand({
  meta: { name: "transcribe", description: "write down what is said in recordings" },
  args: FLAGS,
  async run({ args }) {
    const output = createOutput({ json: args.json === true, quiet: args.quiet === true })
    const format = choice("format", args.format, FORMATS)
    const files = args._
    const captions = format === "srt" || format === "vtt"
    if (captions && files.length > 1 && args.out === undefined)
      throw new ConfigError(`--format: expected --out DIR for ${format} of ${files.length} recordings, got none`)
    if (args.out !== undefined) {
      await checkOutFolder("--out", args.out)
      checkOutNames(files, format)
    }
    const how: TranscriptionOptions = {
      task: args.translate ? "translate" : "transcribe",
      language: args.language,
      hint: args.prompt,
      behaviour: choice("behaviour", args.behaviour, BEHAVIOURS),
      temperature: numberFlag("temperature", args.temperature, 0, false),
    }
    await interruptible(async (signal) => {
      // What is wrong with the first recordings is told before a model is loaded.
      const left = [...files]
      let first: Sound | undefined
      while (first === undefined && left.length > 0) {
        first = await orTold(left[0]!, () => readRecording(left[0]!, signal))
        if (first === undefined) left.shift()
      }
      if (first === undefined) return
      const check = ({ hears, name }: ModelInfo) => {
        if (!hears) throw new ConfigError(`--model: expected a model that hears, got ${name}, which does not`)
      }
      await withModel(args, { output, signal, check }, async ({ engine }) => {
        for (const [i, file] of left.entries()) {
          await orTold(file, async () => {
            const sound = i === 0 ? first : await readRecording(file, signal)
            const several = files.length > 1 && args.out === undefined
            if (several && format === "text") output.text(`==> ${file} <==\n`)
            const live = format === "text" && args.out === undefined
            const transcript = await write(
              engine,
              { file, sound, how, signal },
              live ? output : { ...output, text: () => {} },
            )
            const text = formatted(transcript, format)
            if (args.out !== undefined) {
              const path = join(args.out, outName(file, format))
              await writeWhole(path, text)
              output.text(`${path}\n`)
            } else if (!live) output.text(text)
          })
        }
      })
    })

    /** One bad recording among many does not end the others: it is told, and there is no result. */
    async function orTold<T>(file: string, work: () => Promise<T>): Promise<T | undefined> {
      try {
        return await work()
      } catch (error) {
        const ofFile = error instanceof InputError || error instanceof ConfigError
        if (!ofFile || files.length === 1) throw error
        output.done()
        output.record({ type: "error", file, message: errorText(error) })
        process.stderr.write(`omni: ${errorText(error)}\n`)
        process.exitCode = 2
        return undefined
      }
    }
  },
})

function outName(file: string, format: Format): string {
  return `${file === "-" ? "standard-input" : basename(file, extname(file))}${ENDINGS[format]}`
}

/** @throws ConfigError when one transcript would replace another */
function checkOutNames(files: readonly string[], format: Format): void {
  const byName = new Map<string, string>()
  for (const file of files) {
    const name = outName(file, format)
    const other = byName.get(name)
    if (other !== undefined)
      throw new ConfigError(
        `--out: expected recordings of different names, got ${other} and ${file}, which both become ${name} (rename one)`,
      )
    byName.set(name, file)
  }
}

async function readRecording(file: string, signal: AbortSignal): Promise<Sound> {
  const input = file === "-" ? await readStandardInput({ signal }) : file
  return await readSoundInput(input, { source: file === "-" ? "standard input" : file, signal })
}

type Recording = {
  readonly file: string
  readonly sound: Sound
  readonly how: TranscriptionOptions
  readonly signal: AbortSignal
}

async function write(
  engine: EngineClient,
  { file, sound, how, signal }: Recording,
  output: Output,
): Promise<Transcript> {
  const began = performance.now()
  const parts: TranscriptPart[] = []
  let isNew = false
  for await (const piece of transcribeSound((question) => engine.chat(question, signal), sound, how)) {
    if (typeof piece === "string") {
      output.text(isNew ? ` ${piece.trimStart()}` : piece)
      output.record({ type: "text-delta", file, text: piece })
      isNew = false
      continue
    }
    output.record({ type: "segment", file, ...piece })
    parts.push(piece)
    isNew = true
  }
  output.done()
  signal.throwIfAborted()
  const seconds = sound.pcm.length / sound.sampleRateHz
  output.record({ type: "transcript", file, seconds, text: transcriptText(parts) })
  const tookS = (performance.now() - began) / 1000
  output.note(`${seconds.toFixed(1)} s heard in ${tookS.toFixed(1)} s, ${(tookS / seconds).toFixed(2)} of real time`)
  return { file, seconds, parts }
}

function formatted({ file, seconds, parts }: Transcript, format: Format): string {
  switch (format) {
    case "text":
      return `${transcriptText(parts)}\n`
    case "json": {
      const segments = parts.map(({ start, end, text }) => ({ start, end, text }))
      return `${JSON.stringify({ file, seconds, text: transcriptText(parts), segments })}\n`
    }
    case "srt":
      return toSrt(parts)
    case "vtt":
      return toVtt(parts)
  }
}
