/**
 * @file The library in Node.js: a model loaded by name or folder into a worker thread, questions with whole inputs, live
 * calls. Files and decoders are handled here, everything below takes samples and pixels.
 */
import { startEngine } from "./engine/index.node.ts"
import { DEVICES, type EngineClient, type LoadOptions, QUANTIZE_KINDS } from "./engine/index.ts"
import { pullModel } from "./hub/index.node.ts"
import { parseModelName } from "./hub/index.ts"
import { type AudioInput, type ImageInput, readImage, readPictureOrSound, readSoundInput } from "./media/index.ts"
import type { AppendedMessageOf, CallInputOf, CallOf, CallOptionsOf } from "./omni.call.ts"
import { checkChoice, checkObject } from "./omni.checks.ts"
import { copyOfBytes, type InputReader } from "./omni.inputs.ts"
import { type ChatOptionsOf, LoadedModel, type LoadProgress } from "./omni.loaded.ts"
import type { ItemOf, MessageOf } from "./omni.messages.ts"
import { cacheFolder, type Environment, hubSettings, modelFolder } from "./omni.models.node.ts"
import { CheckpointError, InputError } from "./util/index.ts"

export type { AudioInput, FileInput, ImageInput, PcmInput } from "./media/index.ts"
export * from "./omni.shared.ts"

export type Message = MessageOf<ImageInput, AudioInput>
export type MessageItem = ItemOf<ImageInput, AudioInput>
export type LibraryCall = CallOf<ImageInput, AudioInput>
export type LibraryCallInput = CallInputOf<ImageInput>
export type LibraryCallOptions = CallOptionsOf<AudioInput>
export type LibraryAppendedMessage = AppendedMessageOf<AudioInput>
export type OmniChatOptions = ChatOptionsOf<AudioInput>

export type OmniOptions = Partial<Pick<LoadOptions, "device" | "quantize" | "threads">> & {
  readonly signal?: AbortSignal
  readonly onProgress?: (progress: LoadProgress) => void
  /** False refuses to download: the model has to be on this machine. */
  readonly download?: boolean
  /** Where models lie (`HF_HOME`, `XDG_CACHE_HOME`, …) and come from; the process's own environment when absent. */
  readonly environment?: Environment
}

const READER: InputReader<ImageInput, AudioInput> = {
  readImage,
  readSound: readSoundInput,
  readPictureOrSound,
  copyImage: (picture) => copyOfBytes(picture) ?? picture,
}

/** A loaded model. It computes in a thread of its own, which keeps the process alive until it is closed. */
export class Omni extends LoadedModel<ImageInput, AudioInput> {
  private constructor(engine: EngineClient) {
    super(engine, READER)
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
      await engine.load(
        { ...load, ...(threads === undefined ? {} : { threads }) },
        { onProgress, ...(signal ? { signal } : {}) },
      )
      return new Omni(engine)
    } catch (error) {
      await engine.close()
      throw error
    }
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
