/** @file `omni live`: files play microphone and camera, the answer comes as text and sound. The main job, headless. */
import { defineCommand } from "citty"
import type { EngineCall, ModelInfo } from "../engine/index.ts"
import { VOCODER_SAMPLE_RATE_HZ } from "../inference/index.ts"
import { readAudioFile } from "../media/index.ts"
import type { AnswerEvent, CallEvent } from "../session/index.ts"
import { ConfigError, InputError } from "../util/index.ts"
import {
  BEHAVIOUR_FLAG,
  BEHAVIOURS,
  choice,
  MODEL_FLAGS,
  OUTPUT_FLAGS,
  SAMPLES_FLAG,
  SAMPLING_FLAGS,
  sampleEncoding,
  samplingOptions,
} from "./flags.ts"
import { interruptible } from "./interrupt.ts"
import { type MediaInput, openMedia } from "./media-input.ts"
import { checkOutFile, writeSoundFile } from "./out-file.ts"
import { createOutput, type Output } from "./output.ts"
import { createPlayer } from "./play.ts"
import { answerLength, withModel } from "./with-model.ts"

const PACES = ["max", "realtime"] as const
const MODES = ["omni", "audio_assistant", "audio_roleplay", "default"] as const
const LANGUAGES = ["en", "zh"] as const

const FLAGS = {
  ...MODEL_FLAGS,
  audio: { type: "string", description: "sound file that is said", valueHint: "FILE" },
  video: {
    type: "string",
    description: "video, folder of frames or image (GIF and WebP may move) that the camera shows",
    valueHint: "FILE|DIR",
  },
  text: { type: "string", description: "text that is said instead, or as well" },
  out: { type: "string", description: "WAV, MP3, Opus, AAC, M4A or FLAC file for the answer", valueHint: "FILE" },
  ...SAMPLES_FLAG,
  turns: { type: "boolean", description: "find the end of each question in the sound, and answer them all" },
  voice: { type: "string", description: "sound file of the voice to speak with", valueHint: "FILE" },
  mode: {
    type: "string",
    description: `${MODES.join(", ")}: the official prompt to start from; omni with pictures, else audio_assistant, when absent`,
  },
  instructions: {
    type: "string",
    description:
      "how the model should behave; with --mode audio_roleplay whom it plays, with --mode default its voice in words",
  },
  language: { type: "string", description: `${LANGUAGES.join(", ")}: of the prompts`, default: "en" },
  pace: { type: "string", description: `${PACES.join(", ")}: how fast the files are played`, default: "max" },
  ...BEHAVIOUR_FLAG,
  ...SAMPLING_FLAGS,
  ...OUTPUT_FLAGS,
} as const

/** Between the answers of one file. */
const GAP = new Float32Array(VOCODER_SAMPLE_RATE_HZ / 2)

export const live = defineCommand({
  meta: { name: "live", description: "play files into a live call, get the spoken answer" },
  args: FLAGS,
  async run({ args }) {
    const output = createOutput({ json: args.json === true, quiet: args.quiet === true })
    const pace = choice("pace", args.pace, PACES)
    const behaviour = choice("behaviour", args.behaviour, BEHAVIOURS)
    const mode = args.mode === undefined ? undefined : choice("mode", args.mode, MODES)
    if (mode === "default" && args.voice !== undefined)
      throw new ConfigError(
        "--voice: expected a mode that has a voice, got default (take another --mode, or leave it out)",
      )
    const encoding = sampleEncoding(args.format)
    const language = choice("language", args.language, LANGUAGES)
    const sampling = samplingOptions(args)
    if (args.audio === undefined && args.text === undefined && args.video === undefined)
      throw new ConfigError("--audio: expected a sound file, pictures for --video, or --text, got none of them")
    if (args.out !== undefined)
      await checkOutFile("--out", args.out, [args.audio, args.video, args.voice], { encoding })
    await interruptible(async (signal) => {
      const media = await openMedia(args, { behaviour, signal })
      if (args.turns && !media.hasSound) throw new ConfigError("--turns: expected sound to find turns in, got none")
      const voice = args.voice === undefined ? undefined : await readAudioFile(args.voice, { signal })
      const check = (info: ModelInfo) => checkAbilities(info, media, args.out)
      await withModel(args, { output, signal, check }, async ({ engine, info }) => {
        const turns = new Turns(output)
        const call = await engine.call(
          {
            ...{
              mode: mode ?? (media.hasFrames ? "omni" : "audio_assistant"),
              language,
              behaviour,
              ...answerLength(sampling, info),
            },
            ...(args.instructions === undefined ? {} : { instructions: args.instructions }),
            ...(voice ? { voice } : {}),
            ...(args.turns ? { turns: {} } : {}),
          },
          { onEvent: (event) => turns.hear(event), signal },
        )
        const pieces: Float32Array[] = []
        const answer = async () => {
          if (pieces.length > 0) pieces.push(GAP)
          pieces.push(...(await turns.answer(call, info.speaks, signal)))
        }
        const player = createPlayer(call, { pace, waits: args.turns === true, signal })
        const answerEnded = async () => {
          while (turns.waiting > 0) {
            await answer()
            // Who asks listens to the answer; the microphone hears nobody meanwhile.
            await player.silence(turns.latestMs)
          }
        }
        await player.play(media.units(), args.turns ? answerEnded : undefined)
        if (args.text !== undefined) await call.push({ text: args.text })
        if (!args.turns || turns.isOpen || args.text !== undefined) await answer()
        else if (turns.answered === 0)
          throw new InputError("--turns: expected speech in the sound, got none (without --turns it is one question)")
        await player.settled()
        if (args.out !== undefined) {
          const audioMs = await writeSoundFile(args.out, pieces, { encoding, signal })
          output.record({ type: "written", file: args.out, audioMs })
        }
        await call.close()
      })
    })
  },
})

function checkAbilities(info: ModelInfo, media: MediaInput, out: string | undefined): void {
  const need = (has: boolean, flag: string, ability: string) => {
    if (!has) throw new ConfigError(`${flag}: expected a model that ${ability}, got ${info.name}, which does not`)
  }
  need(info.hears || !media.hasSound, "--audio", "hears")
  need(info.sees || !media.hasFrames, "--video", "sees")
  need(info.speaks || out === undefined, "--out", "speaks")
}

/** The turns of a call: which wait for an answer, and the answers. */
class Turns {
  readonly #output: Output
  #ended = 0
  /** Somebody is speaking. */
  isOpen = false
  answered = 0
  /** Length of the latest answer's sound. */
  latestMs = 0

  constructor(output: Output) {
    this.#output = output
  }

  /** Turns that are over and have no answer. */
  get waiting(): number {
    return this.#ended - this.answered
  }

  hear(event: CallEvent): void {
    this.#output.record(event)
    if (event.type === "speech-start") this.isOpen = true
    if (event.type !== "speech-end") return
    this.isOpen = false
    this.#ended++
  }

  /** Answers the latest turn. @returns its sound */
  async answer(call: EngineCall, speak: boolean, signal: AbortSignal): Promise<Float32Array[]> {
    const turn = this.answered + 1
    const pieces: Float32Array[] = []
    for await (const event of call.respond({ speak }, signal)) {
      if (event.type === "audio-delta") pieces.push(event.pcm)
      this.#show(event, turn)
    }
    // One answer is for all that was said.
    this.answered = Math.max(turn, this.#ended)
    this.isOpen = false
    return pieces
  }

  #show(event: AnswerEvent, turn: number): void {
    const output = this.#output
    if (event.type === "audio-delta") {
      output.record({ type: "audio-delta", samples: event.pcm.length, text: event.text, turn })
      return
    }
    output.record({ ...event, turn })
    if (event.type === "text-delta") output.text(event.text)
    if (event.type !== "turn-end") return
    output.done()
    this.latestMs = event.audioMs
    const { firstTextMs, firstAudioMs, totalMs } = event.timings
    const seconds = (ms: number | undefined) => (ms === undefined ? "none" : `${(ms / 1000).toFixed(2)} s`)
    output.note(
      `first text ${seconds(firstTextMs)}, first sound ${seconds(firstAudioMs)}, ` +
        `${seconds(event.audioMs)} of sound in ${seconds(totalMs)}`,
    )
  }
}
