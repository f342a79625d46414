/**
 * @file A live call: sound, frames and text are read second by second while they come, answers are written and spoken, cut
 * to what was heard, and old turns are forgotten when the context fills. Every generator's `next()` is one step of work;
 * one that is abandoned leaves a valid state. Who calls must not run two of them at once; `push` and `clear` always may.
 */
import { VOCODER_SAMPLE_RATE_HZ } from "../inference/index.ts"
import type { Vad } from "../turns/index.ts"
import { ConfigError, InputError, inSteps, runAtOnce, type Steps } from "../util/index.ts"
import { DEFAULT_CALL_TOKENS, writeAnswer } from "./answer.ts"
import { answerForm, answerWith } from "./answer-options.ts"
import { BEHAVIOURS, type BehaviourOptions } from "./behaviour.ts"
import { type Beginning, beginningOf, goingOn } from "./call-beginning.ts"
import { checkCall, checkFrame, systemOf } from "./call-content.ts"
import { restoreCall, saveCall } from "./call-data.ts"
import { ANSWER_ROOM, Conversation } from "./conversation.ts"
import { Ears, type Place, UNIT_SAMPLES } from "./ears.ts"
import { InputReader, UNITS_TOGETHER } from "./input-reader.ts"
import type { OmniModel } from "./model.ts"
import { checkTextSize } from "./text-size.ts"
import { gateOf, type TurnGate, type TurnGateData } from "./turn-gate.ts"
import type {
  AnswerEvent,
  AppendedMessage,
  CallEvent,
  CallInput,
  CallOptions,
  CallSnapshot,
  Interruption,
  RespondOptions,
} from "./types.ts"
import type { VoiceCache } from "./voices.ts"

export type CallParts = {
  readonly model: OmniModel
  readonly voices: VoiceCache
  /** Milliseconds of any clock. */
  readonly now: () => number
  /** Voice activity; calls with turns need it. */
  readonly vad?: Vad
}

export class Call {
  private readonly parts: CallParts
  readonly options: CallOptions
  private readonly behaviour: BehaviourOptions
  private readonly conversation: Conversation
  private readonly ears: Ears
  private readonly gate: TurnGate | undefined
  private answers: number
  private readonly began: Beginning
  private writing = false
  private appending: boolean
  /** What was read since the mark is to be forgotten: it is not kept any more. */
  private clearing: boolean
  private readonly reader: InputReader

  private constructor(
    parts: CallParts,
    options: CallOptions,
    state: {
      conversation: Conversation
      ears: Ears
      gate?: TurnGateData | undefined
      answers: number
      began: Beginning
    },
  ) {
    this.parts = parts
    this.options = options
    this.behaviour = BEHAVIOURS[options.behaviour ?? "live"]
    this.conversation = state.conversation
    this.ears = state.ears
    this.answers = state.answers
    this.began = state.began
    const { model, now } = parts
    this.reader = new InputReader({ model, now, conversation: this.conversation, ears: this.ears }, options)
    this.gate = gateOf(parts, options, state)
    this.appending = false
    this.clearing = false
  }

  /**
   * A new call, its system prompt read, or one that goes on where a snapshot was taken.
   * @throws InputError naming the wrong option, or when the snapshot is of another model
   */
  static async *open(parts: CallParts, options: CallOptions, snapshot?: CallSnapshot): Steps<Call> {
    checkCall(parts, options)
    const rate = options.sampleRateHz ?? UNIT_SAMPLES
    if (snapshot) {
      const restored = yield* restoreCall(parts.model, snapshot, rate)
      const { began = beginningOf(options) } = restored
      return new Call(parts, goingOn(options, began), { ...restored, began })
    }
    const conversation = new Conversation(parts.model)
    const began = beginningOf(options)
    const call = new Call(parts, options, { conversation, ears: new Ears(rate), answers: 0, began })
    const message = systemOf(parts.model, options)
    const perception = parts.voices.remembering(parts.model.perception)
    yield* conversation.read([message], { omniInput: true, perception, room: call.reader.room })
    return call
  }

  /**
   * Takes input without listening to it or reading it.
   * @throws InputError for damaged input, ConfigError for what the model has no encoder for; nothing of it is taken then
   */
  push(input: CallInput): CallEvent[] {
    const { vision, audio } = this.parts.model.perception
    checkTextSize("call.push: text", [input.text], this.reader.room.limit)
    if (input.frame) checkFrame(vision, input.frame, this.reader.lastFrameSlices)
    for (const picture of input.pictures ?? []) checkFrame(vision, picture, 1)
    if (input.pcm && !audio)
      throw new ConfigError("call.push: expected a model that hears, got one without an audio encoder")
    const heard = this.ears.prepare(input, this.listens)
    const droppedMs = this.gate ? this.gate.push(heard) : this.ears.take(heard)
    return droppedMs > 0 ? [{ type: "input-dropped", droppedMs }] : []
  }

  /** Whether turns are to be found in the sound. */
  get listens(): boolean {
    return this.gate !== undefined
  }

  /**
   * Finds turns in what was pushed. May run beside any other generator, also while an answer is written; nothing to do
   * for a call without turns.
   * @param mayPause whether it may leave the rest for later while a minute waits to be read
   */
  async *listen(mayPause?: () => boolean): AsyncGenerator<CallEvent | undefined, void, void> {
    if (this.gate) yield* this.gate.listen(() => this.writing, mayPause)
  }

  /** Whether {@link listen} has something to do. */
  get isUnheard(): boolean {
    return this.gate?.isBehind === true
  }

  /** Whether {@link perceive} has something to do. @param end as it is given to it */
  isUnread(end?: Place): boolean {
    return this.ears.peek(1, end).length > 0
  }

  /** Whether {@link listen} or {@link perceive} has something to do. */
  get isBehind(): boolean {
    return this.isUnheard || this.isUnread()
  }

  /** Where a message stands that comes now, for {@link perceive}: behind what was pushed so far. */
  placeOfMessage(): Place {
    return this.gate?.place() ?? { item: this.ears.latest, isReached: true }
  }

  /**
   * An answer is asked for: to the latest turn that was found in the sound, with what was typed behind it, or else to all that
   * was pushed so far, which ends a turn. @returns where its number will be once that was listened to, perhaps at once
   */
  ask(): { readonly turn: number | undefined } {
    const asked: { turn: number | undefined } = { turn: undefined }
    const end = () => {
      asked.turn = this.ears.askedTurn() ?? this.endTurn()
    }
    if (this.gate) this.gate.place(end)
    else end()
    return asked
  }

  /**
   * Reads what is complete: whole seconds and text. The rest of a turn that was found waits for its answer, or for a message.
   * @param goesOn asked between two reads whether to go on; what waits then stays
   * @param end asked before each read for the place to read up to; all when there is none
   * @throws InputError or ConfigError of an item that cannot be read, which is gone then; what follows it waits
   */
  async *perceive(
    goesOn = () => true,
    end: () => Place | undefined = () => undefined,
  ): AsyncGenerator<CallEvent | undefined, void, void> {
    for (;;) {
      const heard = this.ears.peek(UNITS_TOGETHER, end())
      if (heard.length === 0) return
      if (!this.ears.keeps(heard[0]!)) this.conversation.mark()
      yield* this.ears.isHeld(heard[0]!) ? this.reader.rest(heard[0]!) : this.reader.take(heard)
      if (!goesOn()) return
    }
  }

  /** Adds a message that was not spoken now, all of it or nothing. @throws InputError for damaged sound */
  async *append(message: AppendedMessage): Steps<void> {
    const { text, toolCalls = [] } = message
    checkTextSize("call.append", [text, ...toolCalls.map((call) => call.arguments)], this.reader.room.limit)
    this.conversation.unmark()
    this.conversation.mark()
    this.appending = true
    try {
      yield* this.reader.message(message)
      this.conversation.unmark()
    } finally {
      this.appending = false
      this.conversation.rewind()
    }
  }

  /**
   * Answers the user's turn: the one that was found in the sound, or else all that was pushed, which ends it.
   * @param asked says which turn, as {@link ask} gave it; what comes later belongs to the next
   * @throws InputError for wrong options or an item that cannot be read, which is gone then; ConfigError when the model
   * cannot speak
   */
  async *respond(
    options: RespondOptions = {},
    asked: { readonly turn: number | undefined } = this.ask(),
  ): AsyncGenerator<AnswerEvent | CallEvent | undefined, void, void> {
    const { model, now } = this.parts
    const { speak, merged } = this.check(options)
    using form = await answerForm(model, options.format, this.options.tools)
    const startMs = now()
    const cached = this.conversation.length
    this.conversation.unmark()
    yield* this.listen()
    yield* this.reader.turn(asked.turn ?? this.endTurn())
    if (options.instructions) {
      const message = { role: "user" as const, content: [{ plain: `\n${options.instructions}` }] }
      yield* inSteps(this.conversation.read([message], { room: this.reader.room }))
    }
    using _told = { [Symbol.dispose]: () => options.instructions && this.conversation.forgetLatestUnit() }
    const wished = merged.maxNewTokens ?? DEFAULT_CALL_TOKENS
    const reserve = Math.min(wished, Math.floor(this.reader.room.limit / 4))
    this.conversation.makeRoom(reserve + ANSWER_ROOM, this.reader.room, ANSWER_ROOM)
    yield* this.reader.events()
    const opened = yield* inSteps(this.conversation.open({ recloses: this.behaviour.reclosesTurns }))
    const { piece, hidden, speaker, record } = opened
    const maxNewTokens = Math.min(wished, this.reader.room.limit - this.conversation.length)
    const seed = (merged.seed ?? 0) + this.answers++
    let isWhole = false
    this.writing = true
    try {
      const events = writeAnswer(
        model,
        {
          cache: this.conversation.cache,
          promptIds: piece.ids,
          hidden,
          ...(speak ? { speaker } : {}),
          language: this.options.language === "zh" ? "chinese" : "english",
          ...form,
          options: { ...merged, maxNewTokens, seed, ...(options.stop ? { stop: options.stop } : {}) },
          behaviour: this.behaviour,
          prompt: {
            ...this.conversation.usage,
            positions: this.conversation.length,
            // Forgetting may have taken some of it.
            cached: Math.min(cached, this.conversation.length),
          },
          startMs,
          now,
        },
        record,
      )
      for await (const event of events) {
        if (event?.type === "audio-delta") this.gate?.speak((event.pcm.length / VOCODER_SAMPLE_RATE_HZ) * 1000)
        if (event?.type === "turn-end") isWhole = true
        yield event
      }
    } finally {
      this.writing = false
      this.conversation.close(this.behaviour.keepsLastToken)
      // What nobody was given does not stay.
      if (!isWhole) this.conversation.cut()
    }
  }

  /** What an answer is made with. @throws InputError for wrong options, ConfigError when the model cannot speak */
  check(options: RespondOptions): ReturnType<typeof answerWith> {
    checkTextSize("respond.instructions", [options.instructions], this.reader.room.limit)
    return answerWith(this.parts.model, this.options, options)
  }

  /** Whether an answer is being written, its question read. */
  get isWriting(): boolean {
    return this.writing
  }

  /** Answers that were begun. */
  get begunAnswers(): number {
    return this.answers
  }

  /**
   * Cuts the latest answer to what was heard; everything delivered when no time is given.
   * @param hasBegun false when what was stopped was still reading its question: nothing of it was said, and earlier answers
   * stay as they are
   */
  interrupt(heardMs?: number, hasBegun = true): Interruption {
    if (heardMs !== undefined && !(Number.isFinite(heardMs) && heardMs >= 0)) {
      throw new InputError(`interrupt.heardMs: expected milliseconds ≥ 0, got ${heardMs}`)
    }
    this.gate?.stopSpeaking()
    if (!hasBegun) return { text: "", heardMs: 0 }
    const deliveredMs = this.conversation.deliveredMs
    return { text: this.conversation.cut(heardMs), heardMs: Math.min(heardMs ?? deliveredMs, deliveredMs) }
  }

  /** What was pushed so far stays. */
  keep(): void {
    this.ears.keep()
    this.gate?.keep()
    if (!this.appending && !this.clearing) this.conversation.unmark()
  }

  /** Forgets what was pushed since it was last kept and was not read. @returns whether some was read: {@link rewind} forgets it */
  clear(): boolean {
    this.ears.clear()
    this.gate?.clear()
    this.ears.keep() // what the gate had kept as well
    this.clearing = this.conversation.isMarked
    return this.clearing
  }

  /** Forgets what was read since it was last kept. Not while a generator runs. */
  rewind(): void {
    this.clearing = false
    this.conversation.rewind()
  }

  /** Not while a generator runs. */
  snapshot(): CallSnapshot {
    return runAtOnce(this.saving())
  }

  /** {@link snapshot} in steps; what is pushed between them is not part of it. */
  async *save(): Steps<CallSnapshot> {
    return yield* this.saving()
  }

  private saving(): Generator<undefined, CallSnapshot, void> {
    const { conversation, ears, answers, began } = this
    return saveCall(this.parts.model, { conversation, ears, answers, began, gate: this.gate?.data })
  }

  /** Ends the turn by hand. @returns its number */
  private endTurn(): number {
    // With turns the sound goes on: nothing may be taken out of the resampler.
    if (this.gate) this.gate.release()
    else this.ears.flush()
    return this.ears.endTurn("hand")
  }
}
