/** @file `omni live`: files play microphone and camera, the answer comes as text and sound. The main job, headless. */
import { readFile, writeFile } from "node:fs/promises"
import { setTimeout as sleep } from "node:timers/promises"
import { defineCommand } from "citty"
import { concatPcm, writeWav } from "../audio/index.ts"
import { startEngine } from "../engine/index.node.ts"
import type { EngineCall } from "../engine/index.ts"
import { decodeImage } from "../image/index.node.ts"
import type { RgbImage } from "../image/index.ts"
import { readAudioFile } from "../media/index.ts"
import type { CallEvent } from "../session/index.ts"
import { ConfigError, errorText, InputError } from "../util/index.ts"
import { choice, MODEL_FLAGS, numberFlag, OUTPUT_FLAGS } from "./flags.ts"
import { interruptible } from "./interrupt.ts"
import { loadOptions, noteUntrained } from "./load-options.ts"
import { createOutput } from "./output.ts"

const PACES = ["max", "realtime"] as const
const BEHAVIOURS = ["live", "reference"] as const
const LANGUAGES = ["en", "zh"] as const

const FLAGS = {
  ...MODEL_FLAGS,
  audio: { type: "string", description: "sound file that is said", valueHint: "FILE" },
  video: { type: "string", description: "image that the camera shows", valueHint: "FILE" },
  text: { type: "string", description: "text that is said instead, or as well" },
  out: { type: "string", description: "WAV file for the answer, 24 kHz", valueHint: "FILE" },
  voice: { type: "string", description: "sound file of the voice to speak with", valueHint: "FILE" },
  instructions: { type: "string", description: "how the model should behave" },
  language: { type: "string", description: LANGUAGES.join(", "), default: "en" },
  pace: { type: "string", description: PACES.join(", "), default: "max" },
  behaviour: { type: "string", description: BEHAVIOURS.join(", "), default: "live" },
  "max-tokens": { type: "string", description: "longest answer in tokens", valueHint: "N" },
  temperature: { type: "string", description: "0 always takes the most likely token", valueHint: "X" },
  seed: { type: "string", description: "the same seed gives the same answer", valueHint: "N", default: "0" },
  ...OUTPUT_FLAGS,
} as const

/** Samples of one push: a fifth of a second, as microphones deliver it. */
const PUSHES_PER_SECOND = 5

type Recording = { readonly pcm: Float32Array; readonly sampleRateHz: number }

async function readInput(path: string): Promise<Uint8Array> {
  try {
    return await readFile(path)
  } catch (cause) {
    throw new InputError(`${path}: expected a readable file, got ${errorText(cause)}`, { cause })
  }
}

/** Plays a recording and a picture into a call; each push waits for the one before. */
async function play(
  call: EngineCall,
  { sound, frame, realtime }: { sound: Recording | undefined; frame: RgbImage | undefined; realtime: boolean },
  signal: AbortSignal,
): Promise<void> {
  if (!sound) {
    if (frame) await call.push({ frame })
    return
  }
  const { pcm, sampleRateHz } = sound
  const start = performance.now()
  const size = Math.round(sampleRateHz / PUSHES_PER_SECOND)
  for (let at = 0, count = 0; at < pcm.length; at += size, count++) {
    const newSecond = count % PUSHES_PER_SECOND === 0
    const end = Math.min(pcm.length, at + size)
    // A microphone delivers sound when it was said.
    const wait = (end / sampleRateHz) * 1000 - (performance.now() - start)
    if (realtime && wait > 0) await sleep(wait, undefined, { signal })
    signal.throwIfAborted()
    await call.push({ pcm: pcm.slice(at, end), ...(frame && newSecond ? { frame } : {}) })
  }
}

export const live = defineCommand({
  meta: { name: "live", description: "play files into a live call, get the spoken answer" },
  args: FLAGS,
  async run({ args }) {
    const output = createOutput({ json: args.json === true, quiet: args.quiet === true })
    const pace = choice("pace", args.pace, PACES)
    const behaviour = choice("behaviour", args.behaviour, BEHAVIOURS)
    const language = choice("language", args.language, LANGUAGES)
    const temperature = numberFlag("temperature", args.temperature, 0, false)
    const maxNewTokens = numberFlag("max-tokens", args["max-tokens"], 1)
    const seed = numberFlag("seed", args.seed, 0)
    if (args.audio === undefined && args.text === undefined && args.video === undefined) {
      throw new ConfigError("--audio: expected a sound file, an image for --video, or --text, got none of them")
    }
    const sound = args.audio === undefined ? undefined : await readAudioFile(args.audio)
    const voice = args.voice === undefined ? undefined : await readAudioFile(args.voice)
    const frame =
      args.video === undefined
        ? undefined
        : await decodeImage(await readInput(args.video), { behaviour, source: args.video })
    const options = await loadOptions(args)
    await interruptible(async (signal) => {
      const engine = startEngine()
      try {
        const info = await engine.load(options, { signal, onProgress: output.progress })
        output.done()
        output.record({ type: "loaded", ...info })
        noteUntrained(output, info)
        const onEvent = (event: CallEvent) => output.record(event)
        const call = await engine.call(
          {
            mode: frame ? "omni" : "audio_assistant",
            language,
            behaviour,
            ...(args.instructions === undefined ? {} : { instructions: args.instructions }),
            ...(voice ? { voice } : {}),
            ...(sound ? { sampleRateHz: sound.sampleRateHz } : {}),
            ...(temperature === undefined ? {} : { temperature }),
            ...(maxNewTokens === undefined ? {} : { maxNewTokens }),
            ...(seed === undefined ? {} : { seed }),
          },
          { onEvent, signal },
        )
        await play(call, { sound, frame, realtime: pace === "realtime" }, signal)
        if (args.text !== undefined) await call.push({ text: args.text })
        const pieces: Float32Array[] = []
        for await (const event of call.respond({ speak: info.speaks }, signal)) {
          if (event.type === "audio-delta") {
            pieces.push(event.pcm)
            output.record({ type: "audio-delta", samples: event.pcm.length, text: event.text })
            continue
          }
          output.record(event)
          if (event.type === "text-delta") output.text(event.text)
          if (event.type === "turn-end") {
            output.done()
            const { firstTextMs, firstAudioMs, totalMs } = event.timings
            const seconds = (ms: number | undefined) => (ms === undefined ? "none" : `${(ms / 1000).toFixed(2)} s`)
            output.note(
              `first text ${seconds(firstTextMs)}, first sound ${seconds(firstAudioMs)}, ${seconds(event.audioMs)} of sound in ${seconds(totalMs)}`,
            )
          }
        }
        if (args.out !== undefined) {
          await writeFile(args.out, writeWav(concatPcm(pieces), { sampleRateHz: 24_000 }))
        }
        await call.close()
      } finally {
        output.done()
        await engine.close()
      }
    })
  },
})
