/** @file What the parts of a server share: the engine, limits, metrics, log and voices. */
import type { Engine } from "../engine/index.ts"
import type { RgbImage } from "../image/index.ts"
import type { SoundWriter } from "../media/index.ts"
import type { Admission } from "./admission.ts"
import type { Logger } from "./log.ts"
import type { Metrics } from "./metrics.ts"
import type { SpokenAnswers } from "./spoken-answers.ts"
import type { Voices } from "./voices.ts"

/** An engine that may be away for a while: it is started anew when it stops. */
export type EngineSource = {
  readonly engine: Engine
  /** Whether the engine takes work right now. */
  readonly ready: boolean
  /** How often it was started. */
  readonly starts: number
  /** How often it was ended because it hung. */
  readonly hangs: number
  /** Resolves when the engine takes work. @throws the signal's reason */
  whenReady(signal: AbortSignal): Promise<void>
}

export type ServerLimits = {
  /** Most bytes of a JSON or multipart body. */
  readonly maxBodyBytes: number
  /** Most bytes of all bodies at once. */
  readonly maxBodiesBytes: number
  /** Most bytes of one picture, sound or video inside a body. */
  readonly maxFileBytes: number
  readonly maxPixels: number
  /** Longest sound of a question, a transcription or a video. */
  readonly maxSeconds: number
  readonly maxImages: number
  /** A request that takes longer ends. */
  readonly totalMs: number
  /** So long without anything from the engine ends a request. */
  readonly idleMs: number
  /** A stream that is not read for so long ends. */
  readonly stallMs: number
}

export const DEFAULT_LIMITS: ServerLimits = {
  maxBodyBytes: 64 * 1024 * 1024,
  maxBodiesBytes: 512 * 1024 * 1024,
  maxFileBytes: 48 * 1024 * 1024,
  maxPixels: 50_000_000,
  maxSeconds: 3600,
  maxImages: 64,
  totalMs: 1_800_000,
  idleMs: 300_000,
  stallMs: 60_000,
}

export type ServerContext = {
  readonly source: EngineSource
  /** Name of the model on the wire; requests may also say `default`. */
  readonly model: string
  readonly createdAt: number
  readonly limits: ServerLimits
  /** Places of requests. */
  readonly admission: Admission
  /** Places of Realtime sessions. */
  readonly sessions: Admission
  readonly metrics: Metrics
  readonly log: Logger
  readonly voices: Voices
  /** Spoken answers that later requests refer to by id. */
  readonly spoken: SpokenAnswers
  /** Writes answers' sound in the formats that requests ask for. */
  readonly sounds: SoundWriter
  readonly decodeImage: (bytes: Uint8Array, source: string) => Promise<RgbImage>
  /** Fetches a file that a request names; undefined when that is switched off. */
  readonly fetchRemote: ((url: string, maxBytes: number, signal: AbortSignal) => Promise<Uint8Array>) | undefined
  readonly nowMs: () => number
}

/** What a route knows of its request. */
export type RequestInfo = {
  readonly id: string
  /** Short hash of the key; empty without keys. */
  readonly owner: string
  /** Aborts when the client is gone, the time is over or the server stops. */
  readonly signal: AbortSignal
  /** Fields for the request's line in the log. */
  readonly note: (fields: Readonly<Record<string, string | number | boolean>>) => void
  /** Counts bytes of its body, until its answer begins. @throws HttpError 503 when the server holds too many */
  readonly hold: (bytes: number) => void
  /** Headers of the response. */
  readonly header: (name: string, value: string) => void
}
