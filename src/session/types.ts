/**
 * @file What crosses a session's border: requests, inputs and events as plain data that structured clone takes. Sound goes
 * in as mono float samples and comes out as mono float samples at 24 kHz; images are decoded RGB pixels.
 */
import type { RgbImage } from "../image/index.ts"
import type { SamplingOptions } from "../inference/index.ts"
import type { PromptLanguage, SystemPromptMode } from "../tokenizer/index.ts"

/** `reference`: what the official code does, step for step; `live`: our improvements (see `behaviour.ts`). */
export type Behaviour = "reference" | "live"

/** Mono sound. */
export type Sound = {
  readonly pcm: Float32Array // [N], in [-1, 1]
  readonly sampleRateHz: number
}

/** One item of a message. Text from outside never acts as special strings. */
export type ContentPart =
  | { readonly type: "text"; readonly text: string }
  | { readonly type: "image"; readonly image: RgbImage }
  | { readonly type: "audio"; readonly audio: Sound }

/** A function call of the model, as the checkpoint's chat template writes it. */
export type ToolCall = { readonly name: string; readonly arguments: string }

export type ChatMessage = {
  readonly role: "system" | "user" | "assistant" | "tool"
  readonly content: string | readonly ContentPart[]
  /** Calls that an assistant message made. */
  readonly toolCalls?: readonly ToolCall[]
}

/** A function that the model may call; `parameters` is a JSON Schema. */
export type Tool = { readonly name: string; readonly description?: string; readonly parameters?: object }

/**
 * What an answer must look like. Without a format it is text, or, where there are tools, text and calls as the model
 * chooses. An answer that breaks off for its length may not be whole.
 */
export type AnswerFormat =
  /** No calls. */
  | { readonly type: "text" }
  | { readonly type: "json-object" }
  | { readonly type: "json-schema"; readonly schema: object }
  /** At least one call of one of the request's tools, or of the named one. */
  | { readonly type: "tool-call"; readonly name?: string }

/** How answers are written. */
export type AnswerOptions = Partial<SamplingOptions> & {
  readonly maxNewTokens?: number
  /** Equal seeds give equal answers; 0 when absent. */
  readonly seed?: number
  /** Report log-probabilities of the text's tokens, with so many most likely tokens each, 0 to 20. */
  readonly logprobs?: number
}

/** A whole question with whole inputs. */
export type ChatOptions = AnswerOptions & {
  readonly messages: readonly ChatMessage[]
  /** Speak the answer as well: its text, not its calls, and not JSON. */
  readonly speak?: boolean
  readonly behaviour?: Behaviour
  readonly tools?: readonly Tool[]
  readonly format?: AnswerFormat
  /** Texts that end the answer; they are not part of it. */
  readonly stop?: readonly string[]
  /** Items are joined with nothing: for one-second units. */
  readonly omniInput?: boolean
  /** Most slices of an image, 1 to 9; the checkpoint's setting when absent. */
  readonly maxSlices?: number
}

/** One sampled token with what else was likely. Bytes, since a token may be part of a character. */
export type TokenLogprob = {
  readonly token: string
  readonly bytes: readonly number[]
  readonly logprob: number
  readonly top: readonly { readonly token: string; readonly bytes: readonly number[]; readonly logprob: number }[]
}

/** `tool-calls` when the answer ended after making calls; `interrupted` when it was cut off from outside. */
export type FinishReason = "stop" | "length" | "tool-calls" | "interrupted"

/** Times in milliseconds since the answer was asked for; undefined for what did not happen. */
export type AnswerTimings = {
  /** Prompt read: encoders and prefill. */
  readonly prefillMs: number
  readonly firstTextMs?: number
  readonly firstAudioMs?: number
  readonly totalMs: number
  /** Work by stage: language model, speech decoder, codec and vocoder. */
  readonly decodeMs: number
  readonly speechMs: number
}

/**
 * What an answer cost, by kind, in positions of the language model; `completionAudioTokens` counts frames of speech codes.
 * Prompt kinds add up to `promptTokens`: everything in the context when the answer began, earlier turns included.
 */
export type AnswerUsage = {
  /** Text, and the marks around images and sound. */
  readonly promptTextTokens: number
  readonly promptAudioTokens: number
  readonly promptImageTokens: number
  /** Those of all kinds that had been read before the answer was asked for. */
  readonly cachedTokens: number
  readonly completionTextTokens: number
  readonly completionAudioTokens: number
}

export type AnswerEvent =
  | { readonly type: "text-delta"; readonly text: string; readonly logprobs?: readonly TokenLogprob[] }
  /** Sound at 24 kHz, and the text written since the sound before. */
  | { readonly type: "audio-delta"; readonly pcm: Float32Array; readonly text: string }
  /** More of the arguments of call number `index` of this answer; joined, they are those of the call that follows. */
  | { readonly type: "tool-call-delta"; readonly index: number; readonly name: string; readonly arguments: string }
  | { readonly type: "tool-call"; readonly call: ToolCall }
  | {
      readonly type: "turn-end"
      readonly finishReason: FinishReason
      /** All text deltas joined. */
      readonly text: string
      /** Milliseconds of sound that were delivered. */
      readonly audioMs: number
      readonly promptTokens: number
      /** Tokens that the language model wrote, the one that ended the answer included. */
      readonly completionTokens: number
      readonly usage: AnswerUsage
      readonly timings: AnswerTimings
    }

/**
 * How the engine itself finds turns in the sound: it reports begin and end of speech, `respond` answers the turn that ended,
 * and what was pushed after its end belongs to the next one. A turn that is not answered goes on. Without these options,
 * and while no turn has ended, `respond` ends the user's turn (push-to-talk); speech that it ends so has no `speech-end`.
 */
export type TurnOptions = {
  /** Speech probability that starts a turn, 0 to 1; 0.5 when absent. */
  readonly threshold?: number
  /** Silence that ends it; 500 when absent. */
  readonly silenceMs?: number
  /** Sound before the start that belongs to the turn; 300 when absent. */
  readonly preRollMs?: number
  /** Shorter bursts are no speech; 192 when absent, and more is needed while the assistant speaks. */
  readonly minSpeechMs?: number
  /** Report `idle`, once, after so long without speech of anybody. */
  readonly idleMs?: number
}

export type CallOptions = AnswerOptions & {
  /** The official system prompt to start from; `omni` expects frames. */
  readonly mode?: Exclude<SystemPromptMode, "voice_cloning">
  readonly language?: PromptLanguage
  /**
   * Replaces the system prompt's sentence about behaviour. A voice described in words belongs in here.
   */
  readonly instructions?: string
  /** A recording of the voice to speak with, 1 to 30 s; the model's own voice when absent. */
  readonly voice?: Sound
  readonly behaviour?: Behaviour
  /** Rate of pushed sound; 16,000 when absent. */
  readonly sampleRateHz?: number
  readonly turns?: TurnOptions
  /**
   * What the model hears with `turns`: everything (`always`, the default for omni), or only turns with their pre-roll
   * (`speech`, the default for the other modes), which saves context.
   */
  readonly perceive?: "always" | "speech"
  /** Slices of a question's last frame; 1 leaves it at medium resolution. */
  readonly lastFrameSlices?: number
  /** Positions after which the oldest units and turns are forgotten; 8,192, or less where the model has less. */
  readonly contextPositions?: number
  readonly tools?: readonly Tool[]
}

/** What is pushed into a call: pictures, sound of any length, the camera's latest frame, typed text; read in this order. */
export type CallInput = {
  /** Each is seen; of frames a second keeps the latest. */
  readonly pictures?: readonly RgbImage[]
  readonly pcm?: Float32Array // [N] at the call's rate
  readonly frame?: RgbImage
  readonly text?: string
}

/** A message that was not spoken now, such as an earlier turn or a tool's result. */
export type AppendedMessage = {
  readonly role: "user" | "assistant" | "tool"
  readonly text: string
  /** Calls that an assistant's message made. */
  readonly toolCalls?: readonly ToolCall[]
  /** A user's message may have its sound, which is heard before its text. */
  readonly sound?: Sound
}

export type RespondOptions = AnswerOptions & {
  /** Text alone when false. Calls and JSON are not spoken. */
  readonly speak?: boolean
  readonly stop?: readonly string[]
  readonly format?: AnswerFormat
  /** Instructions for this answer alone: they follow the question, and are forgotten after the answer. */
  readonly instructions?: string
}

/** What a call reports beside its answers. Times are milliseconds of pushed sound since the call began. */
export type CallEvent =
  /** Also while an answer is made. `startMs` includes the pre-roll; `atMs` is when it became known. */
  | { readonly type: "speech-start"; readonly atMs: number; readonly startMs: number }
  | { readonly type: "speech-end"; readonly atMs: number; readonly endMs: number }
  | { readonly type: "idle"; readonly atMs: number }
  /** The context was full: the oldest units or turns were forgotten. */
  | {
      readonly type: "context-compacted"
      readonly droppedPositions: number
      readonly droppedUnits: number
      readonly droppedTurns: number
      readonly positions: number
    }
  /**
   * Sound came faster than it was taken for too long, so the oldest of it was dropped; or, with a reason, something that was
   * pushed during an answer could not be read.
   */
  | { readonly type: "input-dropped"; readonly droppedMs: number; readonly reason?: string }
  /** Units were read: how much, and how long it took. */
  | {
      readonly type: "perceived"
      readonly units: number
      readonly audioMs: number
      readonly workMs: number
      readonly positions: number
    }

/** What stays of an interrupted answer. */
export type Interruption = {
  /** Text that counts as said. */
  readonly text: string
  readonly heardMs: number
}

/** A call as data: everything needed to go on in another process. */
export type CallSnapshot = {
  /** Calls of the first version, too, can be gone on with. */
  readonly version: 1 | 2
  /** Of the model that it belongs to. */
  readonly model: string
  readonly bytes: Uint8Array
}
