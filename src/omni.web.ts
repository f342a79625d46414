/**
 * @file The library in browsers: a model from an address or a picked folder into a Web Worker, questions with whole inputs, live
 * calls. Pictures and sound are decoded here, in the page; everything below takes samples and pixels.
 */

import {
  type EngineClient,
  QUANTIZE_KINDS,
  type QuantizeKind,
  WEB_DEVICES,
  type WebDevice,
  type WebLoadOptions,
} from "./engine/index.ts"
import { startWebEngine } from "./engine/index.web.ts"
import {
  type AudioInput,
  copyImage,
  type ImageInput,
  readImage,
  readPictureOrSound,
  readSoundInput,
} from "./media/index.web.ts"
import type { AppendedMessageOf, CallInputOf, CallOf, CallOptionsOf } from "./omni.call.ts"
import { checkChoice, checkObject } from "./omni.checks.ts"
import { copyOfBytes, type InputReader } from "./omni.inputs.ts"
import { type ChatOptionsOf, LoadedModel, type LoadProgress } from "./omni.loaded.ts"
import type { ItemOf, MessageOf } from "./omni.messages.ts"
import { type ModelSource, modelPlace } from "./omni.models.web.ts"
import { ConfigError } from "./util/index.ts"

export type { AudioInput, FileInput, ImageInput, PcmInput } from "./media/index.web.ts"
export type { ModelSource } from "./omni.models.web.ts"
export * from "./omni.shared.ts"

export type Message = MessageOf<ImageInput, AudioInput>
export type MessageItem = ItemOf<ImageInput, AudioInput>
export type LibraryCall = CallOf<ImageInput, AudioInput>
export type LibraryCallInput = CallInputOf<ImageInput>
export type LibraryCallOptions = CallOptionsOf<AudioInput>
export type LibraryAppendedMessage = AppendedMessageOf<AudioInput>
export type OmniChatOptions = ChatOptionsOf<AudioInput>

export type OmniOptions = {
  /** `auto`, the default, is webgpu where there is a real graphics adapter, else wasm. */
  readonly device?: WebDevice
  /** Weights are taken as the folder has them; anything else is refused. */
  readonly quantize?: QuantizeKind
  /** Threads of the WebAssembly module; more than one needs a cross-origin isolated page. */
  readonly threads?: number
  /** Address of a folder with ONNX Runtime's `.mjs` and `.wasm` files, where the bundler does not place them. */
  readonly wasmPaths?: string | URL
  /** Address of `silero_vad_v5.onnx` (of the package @ricky0123/vad-web), for turns where the bundler does not place it. */
  readonly vadModel?: string | URL
  readonly signal?: AbortSignal
  readonly onProgress?: (progress: LoadProgress) => void
}

const READER: InputReader<ImageInput, AudioInput> = {
  readImage,
  readSound: readSoundInput,
  readPictureOrSound,
  copyImage: (picture, source) => copyOfBytes(picture) ?? copyImage(picture, source),
}

/** A loaded model. It computes in a worker of its own until it is closed. */
export class Omni extends LoadedModel<ImageInput, AudioInput> {
  private constructor(engine: EngineClient<WebLoadOptions>) {
    super(engine, READER)
  }

  /**
   * Loads a model: a folder below an address, read by Range requests where the server answers them, or one that a person picked
   * (`showDirectoryPicker()`, or the files of an input with `webkitdirectory`).
   * @throws InputError for what is no model, CheckpointError when the folder is not there or damaged, ConfigError for wrong
   * options or a model too large for a page, BackendError when the device does not work, the signal's reason
   */
  static async load(model: ModelSource, options: OmniOptions = {}): Promise<Omni> {
    checkObject("Omni.load: options", options)
    const { device = "auto", quantize = "auto", threads, wasmPaths, vadModel, signal } = options
    checkChoice("device", device, WEB_DEVICES)
    checkChoice("quantize", quantize, QUANTIZE_KINDS)
    const base = globalThis.document?.baseURI ?? globalThis.location.href // none in a worker
    const place = modelPlace(model, base)
    signal?.throwIfAborted()
    const onProgress = (stage: string, fraction: number) => options.onProgress?.({ stage, fraction })
    const load = {
      ...{ model: place, device, quantize },
      ...(threads === undefined ? {} : { threads }),
      ...(wasmPaths === undefined
        ? {}
        : { wasmPaths: wholeAddress("wasmPaths", wasmPaths, base).replace(/\/?$/, "/") }),
      ...(vadModel === undefined ? {} : { vadModel: wholeAddress("vadModel", vadModel, base) }),
    }
    const { engine, stop } = startWebEngine()
    signal?.addEventListener("abort", stop) // whatever is being fetched, a script as well
    try {
      await engine.load(load, { onProgress, ...(signal ? { signal } : {}) })
      return new Omni(engine)
    } catch (error) {
      stop()
      signal?.throwIfAborted()
      throw error
    } finally {
      signal?.removeEventListener("abort", stop)
    }
  }
}

function wholeAddress(option: string, address: string | URL, base: string): string {
  if (URL.canParse(address, base)) return new URL(address, base).href
  throw new ConfigError(`${option}: expected an address, got ${address}`)
}
