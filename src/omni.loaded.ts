/** @file A loaded model as the library offers it on every platform; how it is loaded, the platform's entry says. */
import type { Engine, EngineStats, ModelInfo } from "./engine/index.ts"
import { type CallOf, type CallOptionsOf, openCall } from "./omni.call.ts"
import { checkOptions } from "./omni.checks.ts"
import type { InputReader } from "./omni.inputs.ts"
import { type MessageOf, readMessages } from "./omni.messages.ts"
import { type AnswerEvent, type ChatOptions, spokenPrompt } from "./session/index.ts"

/** How far loading is: its stage in words, and 0 to 1 within it. */
export type LoadProgress = { readonly stage: string; readonly fraction: number }

/** Options of a question. */
export type ChatOptionsOf<Recording> = Omit<ChatOptions, "messages"> & {
  readonly signal?: AbortSignal
  /** A recording of the voice to speak with; it turns the question into a spoken one. */
  readonly voice?: Recording
}

/** An engine with a model; it runs until it is closed. */
type RunningEngine = Engine & { close(): Promise<void> }

/** A loaded model. It computes in a thread of its own until it is closed. */
export class LoadedModel<Picture, Recording> implements AsyncDisposable {
  readonly info: ModelInfo
  readonly #engine: RunningEngine
  readonly #reader: InputReader<Picture, Recording>

  protected constructor(engine: RunningEngine, reader: InputReader<Picture, Recording>) {
    this.info = engine.info
    this.#engine = engine
    this.#reader = reader
  }

  /**
   * Answers a conversation with whole inputs. Leaving the loop early cancels the answer.
   * @param messages the last one from the user; a string is one message of text
   * @throws InputError naming the message that is wrong, ConfigError when the model cannot see, hear or speak
   */
  async *chat(
    messages: string | readonly MessageOf<Picture, Recording>[],
    given: ChatOptionsOf<Recording> = {},
  ): AsyncGenerator<AnswerEvent, void, void> {
    checkOptions("chat", given)
    const { signal, voice, ...options } = given
    const read = await readMessages(messages, this.#reader, { behaviour: options.behaviour, signal })
    const sound = voice === undefined ? undefined : await this.#reader.readSound(voice, { source: "voice", signal })
    yield* this.#engine.chat({ ...options, messages: sound ? spokenPrompt(read, sound) : read }, signal)
  }

  /**
   * A live conversation: sound, frames and text go in while they come, `respond` answers. It is opened in the background;
   * what is wrong with the options is thrown by the first thing asked of it.
   */
  call(options: CallOptionsOf<Recording> = {}): CallOf<Picture, Recording> {
    return openCall(this.#engine, this.#reader, options)
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
