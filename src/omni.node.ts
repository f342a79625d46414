/**
 * @file The library in Node.js: a model loaded by name or folder into a worker thread, questions with whole inputs, live
 * calls. Files and decoders are handled here, everything below takes samples and pixels.
 */
import { startEngine } from "./engine/index.node.ts"
import {
  DEVICES,
  type EngineClient,
  type EngineStats,
  type LoadOptions,
  type ModelInfo,
  QUANTIZE_KINDS,
} from "./engine/index.ts"
import { pullModel } from "./hub/index.node.ts"
import { parseModelName } from "./hub/index.ts"
import { type AudioInput, readSoundInput } from "./media/index.ts"
import { type LibraryCall, type LibraryCallOptions, openCall } from "./omni.call.node.ts"
import { checkChoice, checkObject, checkOptions } from "./omni.checks.ts"
import { type Message, readMessages } from "./omni.messages.node.ts"
import { cacheFolder, type Environment, hubSettings, modelFolder } from "./omni.models.node.ts"
import { type AnswerEvent, type ChatOptions, spokenPrompt } from "./session/index.ts"
import { CheckpointError, InputError } from "./util/index.ts"

export { concatPcm, floatToInt16, readWavMono, writeWav } from "./audio/index.ts"
export type { EngineStats, ModelInfo } from "./engine/index.ts"
export type { RgbaImage, RgbImage } from "./image/index.ts"
export type { AudioInput, FileInput, ImageInput, PcmInput } from "./media/index.ts"
export type { LibraryAppendedMessage, LibraryCall, LibraryCallInput, LibraryCallOptions } from "./omni.call.node.ts"
export type { Message, MessageItem } from "./omni.messages.node.ts"
export type {
  AnswerEvent,
  AnswerFormat,
  AnswerOptions,
  AnswerTimings,
  AnswerUsage,
  Behaviour,
  CallEvent,
  FinishReason,
  Interruption,
  RespondOptions,
  Tool,
  ToolCall,
  TurnOptions,
} from "./session/index.ts"
export { BackendError, CheckpointError, ConfigError, InputError, OmniError } from "./util/index.ts"

/** How far loading is: its stage in words, and 0 to 1 within it. */
export type LoadProgress = { readonly stage: string; readonly fraction: number }

export type OmniOptions = Partial<Pick<LoadOptions, "device" | "quantize" | "threads">> & {
  readonly signal?: AbortSignal
  readonly onProgress?: (progress: LoadProgress) => void
  /** False refuses to download: the model has to be on this machine. */
  readonly download?: boolean
  /** Where models lie (`HF_HOME`, `XDG_CACHE_HOME`, …) and come from; the process's own environment when absent. */
  readonly environment?: Environment
}

/** Options of a question. */
export type OmniChatOptions = Omit<ChatOptions, "messages"> & {
  readonly signal?: AbortSignal
  /** A recording of the voice to speak with; it turns the question into a spoken one. */
  readonly voice?: AudioInput
}

/** A loaded model. It computes in a thread of its own, which keeps the process alive until it is closed. */
export class Omni implements AsyncDisposable {
  readonly info: ModelInfo
  readonly #engine: EngineClient

  private constructor(engine: EngineClient, info: ModelInfo) {
    this.#engine = engine
    this.info = info
  }

  /**
   * Loads a model: `nano`, which comes with the program; the name of a model of Hugging Face, such as
   * `openbmb/MiniCPM-o-2_6`, which is downloaded when it is not on this machine; or a folder.
   * @throws CheckpointError when there is no such model, InputError for what is no name, ConfigError for wrong options or too little memory, BackendError
   * when the device does not work, the signal's reason
   */
  static async load(model = "nano", options: OmniOptions = {}): Promise<Omni> {
    if (typeof model !== "string" || model === "")
      throw new InputError(
        `Omni.load: expected the name or folder of a model, got ${model === "" ? "no text" : typeof model}`,
      )
    checkObject("Omni.load: options", options)
    const { device = "auto", quantize = "auto", threads, signal, environment = process.env } = options
    checkChoice("device", device, DEVICES)
    checkChoice("quantize", quantize, QUANTIZE_KINDS)
    signal?.throwIfAborted()
    const onProgress = (stage: string, fraction: number) => options.onProgress?.({ stage, fraction })
    const folder = await findModel(model, { ...options, environment, report: onProgress })
    const engine = startEngine()
    try {
      const load = { model: folder, device, quantize, cacheFolder: cacheFolder(environment) }
      const info = await engine.load(
        { ...load, ...(threads === undefined ? {} : { threads }) },
        { onProgress, ...(signal ? { signal } : {}) },
      )
      return new Omni(engine, info)
    } catch (error) {
      await engine.close()
      throw error
    }
  }

  /**
   * Answers a conversation with whole inputs. Leaving the loop early cancels the answer.
   * @param messages the last one from the user; a string is one message of text
   * @throws InputError naming the message that is wrong, ConfigError when the model cannot see, hear or speak
   */
  async *chat(
    messages: string | readonly Message[],
    given: OmniChatOptions = {},
  ): AsyncGenerator<AnswerEvent, void, void> {
    checkOptions("chat", given)
    const { signal, voice, ...options } = given
    const reading = { behaviour: options.behaviour, signal }
    const read = await readMessages(messages, reading)
    const sound = voice === undefined ? undefined : await readSoundInput(voice, { source: "voice", signal })
    yield* this.#engine.chat({ ...options, messages: sound ? spokenPrompt(read, sound) : read }, signal)
  }

  /**
   * A live conversation: sound, frames and text go in while they come, `respond` answers. It is opened in the background;
   * what is wrong with the options is thrown by the first thing asked of it.
   */
  call(options: LibraryCallOptions = {}): LibraryCall {
    return openCall(this.#engine, options)
  }

  /** Load of the engine right now. */
  stats(): Promise<EngineStats> {
    return this.#engine.stats()
  }

  /** Ends all calls and the thread. */
  close(): Promise<void> {
    return this.#engine.close()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }
}

type Finding = OmniOptions & {
  readonly environment: Environment
  readonly report: (stage: string, fraction: number) => void
}

/** The folder of a model, downloaded when its name says where from. */
async function findModel(model: string, options: Finding): Promise<string> {
  const { environment, signal, report, download = true } = options
  try {
    return await modelFolder(model, environment, { signal, onProgress: report })
  } catch (error) {
    const settings = await hubSettings(environment)
    const named = error instanceof CheckpointError && parseModelName(model) !== undefined
    if (!named || !download || settings.offline) throw error
    const { directory } = await pullModel({
      ...settings,
      model,
      signal,
      onProgress: ({ doneBytes, totalBytes }) => report("downloading", totalBytes === 0 ? 1 : doneBytes / totalBytes),
    })
    return directory
  }
}
