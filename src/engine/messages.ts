/** @file What crosses the engine's boundary: commands in, events out, plain data that structured clone takes. */
import type { PickedFile } from "../checkpoint/index.ts"
import type {
  AnswerEvent,
  AppendedMessage,
  CallEvent,
  CallInput,
  CallOptions,
  CallSnapshot,
  ChatOptions,
  RespondOptions,
} from "../session/index.ts"
import {
  BackendError,
  CheckpointError,
  ConfigError,
  errorText,
  InputError,
  OmniError,
  ShapeError,
} from "../util/index.ts"

/** How linear weights are stored. `auto` takes what the folder has, or what fits the memory. */
export const QUANTIZE_KINDS = ["auto", "none", "int8", "int4", "int8+int4"] as const
export type QuantizeKind = (typeof QUANTIZE_KINDS)[number]

export const DEVICES = ["auto", "reference", "cpu", "webgpu"] as const
export type Device = (typeof DEVICES)[number]

/** Devices of browsers; `auto` is webgpu where there is a real graphics adapter, else wasm. */
export const WEB_DEVICES = ["auto", "wasm", "webgpu"] as const
export type WebDevice = (typeof WEB_DEVICES)[number]

export type LoadOptions = {
  /** Folder of the checkpoint. */
  readonly model: string
  readonly device: Device
  readonly quantize: QuantizeKind
  /** Threads of one step; the machine's cores when absent. */
  readonly threads?: number
  /** Folder for bundles of checkpoints whose own folder cannot be written. */
  readonly cacheFolder: string
  /** Keep what was run and when, for `trace`. */
  readonly trace?: boolean
}

/** Where a model lies for a browser: below an address, in a folder of this machine, or in files picked from one. */
export type WebModelPlace =
  | { readonly kind: "url"; readonly url: string }
  | { readonly kind: "folder"; readonly handle: FileSystemDirectoryHandle }
  | { readonly kind: "files"; readonly name: string; readonly files: readonly PickedFile[] }

/** Addresses are whole ones: a worker has another base than its page. */
export type WebLoadOptions = {
  readonly model: WebModelPlace
  readonly device: WebDevice
  readonly quantize: QuantizeKind
  /** Threads of the WebAssembly module. */
  readonly threads?: number
  /** Folder with ONNX Runtime's `.mjs` and `.wasm` files. */
  readonly wasmPaths?: string
  /** Address of `silero_vad_v5.onnx`. */
  readonly vadModel?: string
}

/** What was loaded, for people and logs. */
export type ModelInfo = {
  readonly name: string
  readonly device: string
  readonly quantize: Exclude<QuantizeKind, "auto">
  readonly layers: number
  readonly hiddenSize: number
  readonly vocabSize: number
  readonly loadMs: number
  /** What the model can do beside text. */
  readonly sees: boolean
  readonly hears: boolean
  readonly speaks: boolean
  /** Random weights: it answers, but nothing that makes sense. */
  readonly untrained: boolean
}

/** What is done with an open call; `call` is the id of the command that opened it. */
export type CallAction =
  | { readonly type: "push"; readonly input: CallInput }
  | { readonly type: "append"; readonly message: AppendedMessage }
  | { readonly type: "respond"; readonly options: RespondOptions }
  | { readonly type: "interrupt"; readonly heardMs?: number }
  | { readonly type: "keep" }
  | { readonly type: "clear" }
  | { readonly type: "snapshot" }
  | { readonly type: "hang-up" }

/** `Load` is what the platform needs to find and open a model. */
export type Command<Load = LoadOptions> =
  | { readonly type: "load"; readonly id: number; readonly options: Load }
  | { readonly type: "chat"; readonly id: number; readonly options: ChatOptions }
  | { readonly type: "call"; readonly id: number; readonly options: CallOptions; readonly snapshot?: CallSnapshot }
  | { readonly type: "act"; readonly id: number; readonly call: number; readonly action: CallAction }
  | { readonly type: "stats"; readonly id: number }
  | { readonly type: "trace"; readonly id: number }
  | { readonly type: "cancel"; readonly id: number }
  | { readonly type: "close" }

/** An error as data; `code` finds its class again on the other side. */
export type ErrorData = { readonly code: string; readonly message: string }

export type EngineEvent =
  | { readonly type: "progress"; readonly id: number; readonly stage: string; readonly fraction: number }
  | { readonly type: "loaded"; readonly id: number; readonly info: ModelInfo }
  | { readonly type: "answer"; readonly id: number; readonly event: AnswerEvent }
  /** Of the call that the command with this id opened. */
  | { readonly type: "call-event"; readonly id: number; readonly event: CallEvent }
  | { readonly type: "result"; readonly id: number; readonly value: unknown }
  | { readonly type: "done"; readonly id: number }
  | { readonly type: "error"; readonly id: number; readonly error: ErrorData }

/** What a Web Worker says last, when it has closed what it held: nothing else tells the page. */
export const CLOSED = "closed"

/** A saved call may be as large as the context: its bytes move to the other thread, where nobody here needs them again. */
export function transferable(event: EngineEvent): ArrayBuffer[] {
  const { bytes } = Object(event.type === "result" ? event.value : undefined) as { readonly bytes?: unknown }
  const isWhole = bytes instanceof Uint8Array && bytes.length === bytes.buffer.byteLength
  return isWhole && bytes.buffer instanceof ArrayBuffer ? [bytes.buffer] : []
}

const CLASSES: { readonly [code: string]: new (message: string) => OmniError } = {
  shape: ShapeError,
  config: ConfigError,
  checkpoint: CheckpointError,
  input: InputError,
  backend: BackendError,
}

export function errorToData(error: unknown): ErrorData {
  if (error instanceof Error && error.name === "AbortError") return { code: "abort", message: error.message }
  return { code: error instanceof OmniError ? error.code : "internal", message: errorText(error) }
}

export function errorFromData({ code, message }: ErrorData): Error {
  if (code === "abort") return new DOMException(message, "AbortError")
  const known = CLASSES[code]
  return known ? new known(message) : new Error(message)
}
