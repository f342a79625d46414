/** @file A live call as the library offers it: files and pixels in any form go in, a saved call is the bytes of a file. */
import { checkSamples } from "./audio/index.ts"
import type { Engine, EngineCall } from "./engine/index.ts"
import { checkChoice, checkList, checkObject, checkOptions, checkText } from "./omni.checks.ts"
import type { InputReader } from "./omni.inputs.ts"
import {
  type AnswerEvent,
  type CallEvent,
  type CallInput,
  type CallOptions,
  type Interruption,
  type RespondOptions,
  readCallFile,
  writeCallFile,
} from "./session/index.ts"

export type CallOptionsOf<Recording> = Omit<CallOptions, "voice"> & {
  /** A recording of the voice to speak with, 0.5 to 30 s; the model's own voice when absent. */
  readonly voice?: Recording
  /** Hears what is no answer: begin and end of speech, what was read, what was forgotten. */
  readonly onEvent?: (event: CallEvent) => void
  /**
   * A saved call to go on with. Mode, language, voice, instructions and tools are those it began with; given again, they have
   * to be the same. `behaviour` and `perceive` are as they were unless given. All other options are those given here.
   */
  readonly snapshot?: Uint8Array
  /** Aborts opening the call. */
  readonly signal?: AbortSignal
}

/** What is pushed: pictures, mono sound of any length at the call's rate, the camera's latest frame, typed text. */
export type CallInputOf<Picture> = {
  /** Each is seen; of a camera's frames a second keeps the latest. */
  readonly pictures?: readonly Picture[]
  readonly pcm?: Float32Array | Int16Array
  readonly frame?: Picture
  readonly text?: string
}

/** A message that was not spoken now; a user's may have its sound, which is heard before its text. */
export type AppendedMessageOf<Recording> = Omit<EngineMessage, "sound"> & { readonly sound?: Recording }

type EngineMessage = Parameters<EngineCall["append"]>[0]

/** One conversation. */
export type CallOf<Picture, Recording> = AsyncDisposable & {
  /** Resolves when the call is open. Needs not be waited for. @throws what is wrong with the options */
  ready(): Promise<void>
  /**
   * Takes input, in the order of the calls. Resolves when it was read or, during an answer, when it was kept for after it:
   * who waits before the next push never floods the model.
   */
  push(input: CallInputOf<Picture>): Promise<void>
  /** Adds a whole message that was not spoken now: an earlier turn, or a tool's result. */
  append(message: AppendedMessageOf<Recording>): Promise<void>
  /** Ends the user's turn and answers it. Leaving the loop early interrupts the answer. */
  respond(options?: RespondOptions & { readonly signal?: AbortSignal }): AsyncGenerator<AnswerEvent, void, void>
  /**
   * Stops the answer, or cuts the latest one, to what was heard.
   * @param options.heardMs how much of its sound was played; everything delivered when absent
   */
  interrupt(options?: { readonly heardMs?: number }): Promise<Interruption>
  /** What was pushed so far stays, whatever is cleared later. */
  keep(): Promise<void>
  /** Forgets what was pushed since it was last kept or answered. */
  clear(): Promise<void>
  /** The whole call as the bytes of a file; `omni.call({ snapshot })` goes on with it, in any process. */
  snapshot(): Promise<Uint8Array>
  close(): Promise<void>
}

export function openCall<Picture, Recording>(
  engine: Engine,
  reader: InputReader<Picture, Recording>,
  options: CallOptionsOf<Recording>,
): CallOf<Picture, Recording> {
  return new OpeningCall(engine, reader, options)
}

class OpeningCall<Picture, Recording> implements CallOf<Picture, Recording> {
  readonly #reader: InputReader<Picture, Recording>
  readonly #call: Promise<EngineCall>
  readonly #behaviour: CallOptions["behaviour"]
  /** The latest push has reached the engine: what is asked later comes after it, however long its files take to read. */
  #sent: Promise<unknown> = Promise.resolve()

  constructor(engine: Engine, reader: InputReader<Picture, Recording>, options: CallOptionsOf<Recording>) {
    this.#reader = reader
    this.#behaviour = options.behaviour
    this.#call = open(engine, reader, options)
    this.#call.catch(() => {}) // thrown by whatever is asked of the call
  }

  async ready(): Promise<void> {
    await this.#call
  }

  async push(input: CallInputOf<Picture>): Promise<void> {
    const before = this.#sent
    const prepared = this.#prepare(input)
    prepared.catch(() => {}) // thrown below, after those before it
    const sent = (async () => {
      await before
      const ready = await prepared
      const call = await this.#call
      return { taken: call.push(ready) }
    })()
    this.#sent = sent.catch(() => {})
    await (await sent).taken
  }

  async #prepare(input: CallInputOf<Picture>): Promise<CallInput> {
    checkObject("call.push", input)
    const { pictures, pcm, frame, text } = input
    checkList("call.push: pictures", pictures)
    checkText("call.push: text", text)
    const source = "call.push: frame"
    const reading = { source, behaviour: this.#behaviour }
    // Taken before anything is waited for: a microphone and a camera fill their buffers again.
    const sound = pcm === undefined ? {} : { pcm: checkSamples("call.push: pcm", pcm).slice() }
    const shown = frame === undefined ? undefined : this.#reader.copyImage(frame, source)
    const copies = pictures?.map((one) => this.#reader.copyImage(one, source))
    return {
      ...sound,
      ...(copies === undefined
        ? {}
        : { pictures: await Promise.all(copies.map((one) => this.#reader.readImage(one, reading))) }),
      ...(shown === undefined ? {} : { frame: await this.#reader.readImage(shown, reading) }),
      ...(text === undefined ? {} : { text }),
    }
  }

  async append(given: AppendedMessageOf<Recording>): Promise<void> {
    checkObject("call.append", given)
    const { sound, ...message } = given
    checkChoice("call.append: role", message.role ?? null, ["user", "assistant", "tool"])
    checkText("call.append: text", message.text ?? null)
    const reading = { source: "call.append: sound" }
    const read = sound === undefined ? undefined : await this.#reader.readSound(sound, reading)
    await this.#sent
    await (await this.#call).append({ ...message, ...(read ? { sound: read } : {}) })
  }

  async keep(): Promise<void> {
    await this.#sent
    await (await this.#call).keep()
  }

  async *respond(
    given: RespondOptions & { readonly signal?: AbortSignal } = {},
  ): AsyncGenerator<AnswerEvent, void, void> {
    checkOptions("call.respond", given)
    const { signal, ...options } = given
    await this.#sent
    yield* (await this.#call).respond(options, signal)
  }

  async interrupt(options: { readonly heardMs?: number } = {}): Promise<Interruption> {
    return await (await this.#call).interrupt(options)
  }

  async clear(): Promise<void> {
    await this.#sent
    await (await this.#call).clear()
  }

  async snapshot(): Promise<Uint8Array> {
    await this.#sent
    return writeCallFile(await (await this.#call).snapshot())
  }

  async close(): Promise<void> {
    const call = await this.#call.catch(() => undefined) // one that was never open needs no closing
    await call?.close()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }
}

async function open<Picture, Recording>(
  engine: Engine,
  reader: InputReader<Picture, Recording>,
  options: CallOptionsOf<Recording>,
): Promise<EngineCall> {
  checkOptions("call", options)
  const { voice, onEvent, snapshot, signal, ...rest } = options
  const sound = voice === undefined ? undefined : await reader.readSound(voice, { source: "voice", signal })
  return await engine.call(
    { ...rest, ...(sound ? { voice: sound } : {}) },
    {
      ...(onEvent ? { onEvent } : {}),
      ...(snapshot ? { snapshot: readCallFile(snapshot) } : {}),
      ...(signal ? { signal } : {}),
    },
  )
}
