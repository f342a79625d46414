/**
 * @file A live conversation at its core: messages are read into one cache piece by piece, answers are written behind them,
 * and what lies where is kept in a ledger, so that answers can be cut and old turns forgotten. Every operation either
 * succeeds or leaves all as it was. Source: streaming_prefill and streaming_generate (modeling_minicpmo.py).
 */
import {
  answerCompleted,
  answerPiece,
  type ContentItem,
  type ContentOptions,
  type EmbedParts,
  embedPiece,
  INITIAL_STREAM_PROMPT,
  type Message,
  messagePiece,
  speakerState,
  turnClosing,
  turnOpening,
  VOCODER_SAMPLE_RATE_HZ,
} from "../inference/index.ts"
import type { KvCache } from "../runtime/index.ts"
import type { HostTensor } from "../tensor/index.ts"
import { terminatorIds } from "../tokenizer/index.ts"
import { InputError, type Steps } from "../util/index.ts"
import { type AnswerRecord, emptyAnswer } from "./answer.ts"
import { textBesideCalls } from "./answer-text.ts"
import type { ConversationState, Mark, Room } from "./conversation-state.ts"
import { heardTokens, isComplete } from "./heard.ts"
import { Ledger } from "./ledger.ts"
import type { OmniModel } from "./model.ts"
import { joinRows, type ReadPiece, splitRows } from "./read-pieces.ts"

/** Positions that stay free while something is read, so that it can be answered: the opening, and a few words. */
export const ANSWER_ROOM = 32

/** The opening of an answer, read. */
export type OpenedAnswer = ReadPiece & {
  readonly speaker: HostTensor<"f32"> // [1, D]
  readonly record: AnswerRecord
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] }

export class Conversation {
  private readonly model: OmniModel
  private readonly state: Mutable<ConversationState>
  private marked: Mark | undefined

  constructor(model: OmniModel, state?: ConversationState) {
    this.model = model
    this.state = state
      ? { ...state }
      : {
          prompt: INITIAL_STREAM_PROMPT,
          cache: model.language.createCache(),
          audio: undefined,
          ledger: new Ledger(),
          answer: undefined,
          lastToken: undefined,
        }
  }

  get cache(): KvCache {
    return this.state.cache
  }

  /** Frames of sound that the encoder remembers. */
  get audioFrames(): number {
    return this.state.audio?.cache.length ?? 0
  }

  /** What there is to save. */
  get saved(): ConversationState {
    return { ...this.state }
  }

  /** Positions by what fills them. */
  get usage(): { readonly audio: number; readonly image: number } {
    const { ledger } = this.state
    return { audio: ledger.mediaPositions("audio"), image: ledger.mediaPositions("image") }
  }

  /** Milliseconds of the latest answer's sound that were delivered, as long as it can be cut. */
  get deliveredMs(): number {
    return ((this.state.answer?.record.samples ?? 0) / VOCODER_SAMPLE_RATE_HZ) * 1000
  }

  /** Positions that the conversation takes. */
  get length(): number {
    return this.state.cache.length
  }

  /**
   * Reads messages, one piece each, in one pass over the language model. The first message of all is a closed turn of its
   * own; later ones of the user open a turn where one is due.
   * @param options.perception takes the place of the model's encoders, for a voice that was encoded before
   * @param options.room what to do when the context is full; without it the model's own limit is an error
   * @returns the pieces, where their states were asked for
   * @throws InputError for wrong contents, or when the context is full
   */
  async *read(
    messages: readonly Pick<Message, "role" | "content">[],
    options: Pick<ContentOptions, "omniInput" | "maxSliceNums"> & {
      readonly perception?: EmbedParts
      readonly room?: Room
      /** The messages are an answer, and it is opened by this. */
      readonly answerOpening?: string
      /** Gives what was read with its states. */
      readonly states?: boolean
    } = {},
  ): Steps<ReadPiece[]> {
    const { state, model } = this
    const { pieces, prompt } = this.pieces(messages, options)
    const total = pieces.reduce((sum, { piece }) => sum + piece.ids.length, 0)
    if (options.room) {
      const { room } = options
      this.makeRoom(total + this.lastRows, { ...room, limit: room.limit - ANSWER_ROOM })
    }
    const answerOpening = options.answerOpening && model.prompts.tokenizer.encode(options.answerOpening)
    const heard = state.audio?.cache.length
    const before = state.cache.length
    const ledger = state.ledger.copy()
    let audio = state.audio
    let { started } = state.prompt
    const embeds: HostTensor<"f32">[] = []
    const last = this.lastEmbeds()
    let done = false
    try {
      let at = before + last.length
      if (last.length > 0) ledger.closeAnswer(at)
      for (const { piece, openingLength, role } of pieces) {
        // Sound is remembered within one turn of the user.
        if (role !== "user") audio = undefined
        const [rows, stream] = yield* embedPiece(options.perception ?? model.perception, piece, audio)
        audio = started ? stream : undefined
        embeds.push(rows)
        const end = at + piece.ids.length
        if (!started) ledger.addSystem(end)
        else if (answerOpening) ledger.addAnswer(at, at + commonLength(piece.ids, answerOpening), end)
        else ledger.addUnit({ start: at, openingLength, end })
        ledger.addMedia(at, piece)
        started = true
        at = end
      }
      const { states = false } = options
      const [hidden] = yield* model.language.forward(state.cache, joinRows([...last, ...embeds]), { states })
      done = true
      this.lastTokenRead(last.length)
      state.prompt = prompt
      state.audio = audio
      state.ledger = ledger
      return hidden ? splitRows(pieces, embeds, hidden, last.length) : []
    } finally {
      if (!done) this.restore(before, heard)
    }
  }

  private get lastRows(): number {
    return this.state.lastToken === undefined ? 0 : 1
  }

  /** The row of the last answer's last token, if it was not read. */
  private lastEmbeds(): HostTensor<"f32">[] {
    const { lastToken } = this.state
    return lastToken === undefined ? [] : [this.model.language.embed([lastToken])]
  }

  private lastTokenRead(rows: number): void {
    const { answer } = this.state
    if (answer && rows > 0) this.state.answer = { ...answer, end: answer.end + rows }
    this.state.lastToken = undefined
  }

  /** The pieces of messages, before anything is encoded, and the prompt's state after them. */
  private pieces(
    messages: readonly Pick<Message, "role" | "content">[],
    options: Pick<ContentOptions, "omniInput" | "maxSliceNums">,
  ) {
    const { prompts } = this.model
    let { prompt } = this.state
    const pieces = messages.map((message) => {
      const opening = turnOpening(prompt, message.role)
      const [piece, next] = messagePiece(prompts, prompt, message, options)
      prompt = next
      const openingLength = opening === "" ? 0 : commonLength(piece.ids, prompts.tokenizer.encode(opening))
      return { piece, openingLength, role: message.role }
    })
    return { pieces, prompt }
  }

  /** Reads an answer that was given earlier. */
  async *readAnswer(items: readonly ContentItem[], room?: Room): Steps<void> {
    const answerOpening = `${turnClosing(this.state.prompt)}<|im_start|>assistant\n`
    const content = [answerOpening, ...items]
    yield* this.read([{ role: "assistant", content }], { ...(room ? { room } : {}), answerOpening })
    this.state.answer = undefined
    this.state.prompt = { ...answerCompleted(this.state.prompt), turnDue: true }
  }

  /**
   * Opens an answer: the sound before it is forgotten by the encoder, and the latest answer can no longer be cut.
   * @param options as of `answerPiece`
   */
  async *open(options: { readonly recloses?: boolean } = {}): Steps<OpenedAnswer> {
    const { state, model } = this
    if (!state.prompt.started) throw new InputError("respond: expected something to answer, got an empty conversation")
    const before = state.cache.length
    let done = false
    try {
      const [piece, next] = answerPiece(model.prompts, state.prompt, options)
      const embeds = model.language.embed(piece.ids)
      const last = this.lastEmbeds()
      const [all] = yield* model.language.forward(state.cache, joinRows([...last, embeds]))
      const [{ hidden }] = splitRows([{ piece }], [embeds], all!, last.length) as [ReadPiece]
      const speaker = await speakerState(model.language, hidden, piece)
      const record = emptyAnswer()
      done = true
      state.prompt = next
      state.audio = undefined
      state.ledger = state.ledger.copy()
      if (last.length > 0) state.ledger.closeAnswer(before + last.length)
      state.ledger.openAnswer(before + last.length, state.cache.length)
      state.lastToken = undefined
      state.answer = { record, textStart: state.cache.length, end: state.cache.length }
      return { piece, embeds, hidden, speaker, record }
    } finally {
      if (!done) this.restore(before, state.audio?.cache.length)
    }
  }

  /**
   * Says that nothing more is written to the open answer.
   * @param keepsLastToken whether the last token of an answer that did not come to its own end is remembered
   */
  close(keepsLastToken = false): void {
    const { answer } = this.state
    if (!answer) return
    const { record, textStart } = answer
    const end = Math.min(this.state.cache.length, textStart + record.ids.length)
    this.state.lastToken = keepsLastToken && !isComplete(record) ? record.ids[end - textStart] : undefined
    this.state.cache.truncate(end)
    this.state.answer = { record, textStart, end }
    this.state.ledger.closeAnswer(end)
    if (isComplete(record)) {
      this.state.prompt = answerCompleted(this.state.prompt)
    }
  }

  /** Whether the answer's last token ends it: it was stopped later, while the rest of it was spoken. */
  private isEnded({ ids }: AnswerRecord): boolean {
    return ids.length > 0 && terminatorIds(this.model.prompts.tokenizer).includes(ids.at(-1)!)
  }

  private complete(record: AnswerRecord): void {
    record.finishReason = record.callTokens > 0 ? "tool-calls" : "stop"
    this.state.lastToken = undefined
    if (this.state.ledger.latestIsAnswer()) this.state.prompt = answerCompleted(this.state.prompt)
  }

  /**
   * Cuts the latest answer to what was heard. Text and sound are not aligned one to one: within the delivery being heard,
   * text is kept in proportion.
   * @param heardMs milliseconds of its sound that were played; all that was delivered when absent
   * @returns the text that stays
   */
  cut(heardMs?: number): string {
    const { answer, cache, ledger } = this.state
    if (!answer) return ""
    const { record, textStart, end } = answer
    const kept = heardTokens(record, heardMs)
    const { tokenizer } = this.model.prompts
    if (kept >= record.ids.length && (isComplete(record) || this.isEnded(record))) {
      if (!isComplete(record)) this.complete(record)
      return record.text
    }
    const keptEnd = Math.max(ledger.textStartBefore(end) ?? textStart, Math.min(end, textStart + kept))
    if (keptEnd < end) {
      if (end === cache.length) cache.truncate(keptEnd)
      else this.model.language.forget(cache, keptEnd, end)
      ledger.cut(keptEnd, end)
      if (this.marked) {
        const { length } = this.marked
        this.marked = { ...this.marked, length: length - Math.max(0, Math.min(length, end) - keptEnd) }
      }
    }
    if (kept < record.ids.length) {
      this.state.lastToken = undefined
      if (this.marked) this.marked = { ...this.marked, lastToken: undefined }
    }
    const last = ledger.latestIsAnswer()
    if (last) this.state.prompt = { ...this.state.prompt, answer: "cut-off", turnDue: true }
    if (this.marked?.afterAnswer) {
      this.marked = { ...this.marked, prompt: { ...this.marked.prompt, answer: "cut-off", turnDue: true } }
    }
    const ids = record.ids.slice(0, kept)
    const decoder = tokenizer.createDecoder()
    const written = ids.map((id) => (tokenizer.isSpecial(id) ? "" : decoder.push(id))).join("")
    const text = record.callTokens > 0 ? textBesideCalls(written) : written
    record.ids.length = kept
    record.text = text
    record.shownTokens = Math.min(record.shownTokens, kept)
    if (record.callTokens > kept) record.callTokens = 0
    record.finishReason = "interrupted"
    this.state.answer = { record, textStart, end: keptEnd }
    return text
  }

  /** Forgets what was read last before the latest answer, the opening of its turn excepted. */
  forgetLatestUnit(): void {
    const { state } = this
    const ledger = state.ledger.copy()
    const unit = ledger.removeLatestUnit()
    if (!unit) return
    const [from, to] = unit
    this.model.language.forget(state.cache, from, to)
    state.ledger = ledger
    const { answer } = state
    if (answer && answer.end >= to) {
      state.answer = { ...answer, textStart: answer.textStart - (to - from), end: answer.end - (to - from) }
    }
  }

  /**
   * Forgets the oldest of what was said until `positions` more fit below `limit`; the first message stays. Later keys are
   * moved to their new places.
   * @param least of them are needed: with less than all it goes on, and then what is to be answered stays
   * @throws InputError when even then there is no room
   */
  makeRoom(positions: number, { limit, target, report }: Room, least = positions): void {
    const { cache, ledger } = this.state
    if (cache.length + positions <= limit) return
    const needed = cache.length + positions - Math.min(limit, Math.max(target, positions))
    const plan = ledger.plan(needed, least < positions)
    if (cache.length - plan.droppedPositions + least > limit) {
      throw new InputError(
        `context: expected at most ${Math.max(0, limit - (cache.length - plan.droppedPositions))} new positions, got ${positions} (shorten the message or raise contextPositions)`,
      )
    }
    if (plan.droppedPositions === 0) return
    for (const [from, to] of plan.cuts) this.model.language.forget(cache, from, to)
    if (this.marked)
      this.marked = { ...this.marked, length: this.marked.length - plan.droppedBefore(this.marked.length) }
    const copy = ledger.copy()
    copy.apply(plan)
    this.state.ledger = copy
    const { answer } = this.state
    if (answer) {
      const end = answer.end - plan.droppedBefore(answer.end)
      this.state.answer =
        copy.textStartBefore(end) === undefined
          ? undefined
          : { ...answer, textStart: end - (answer.end - answer.textStart), end }
    }
    report({ ...plan, positions: cache.length })
  }

  get isMarked(): boolean {
    return this.marked !== undefined
  }

  /** Remembers where the conversation stands, unless it does already. */
  mark(): void {
    const { prompt, audio, cache, ledger, lastToken } = this.state
    const audioFrames = audio?.cache.length ?? 0
    const { length } = cache
    this.marked ??= { prompt, audio, lastToken, length, audioFrames, afterAnswer: ledger.latestIsAnswer() }
  }

  unmark(): void {
    this.marked = undefined
  }

  /** Forgets what was read since the mark; without one, nothing. */
  rewind(): void {
    const { marked, state } = this
    if (!marked) return
    this.marked = undefined
    state.cache.truncate(marked.length)
    state.ledger = state.ledger.copy()
    state.ledger.truncate(marked.length)
    state.prompt = marked.prompt
    state.lastToken = marked.lastToken
    const { answer } = state
    if (answer) state.answer = { ...answer, end: Math.min(answer.end, marked.length) }
    marked.audio?.cache.truncate(marked.audioFrames)
    state.audio = marked.audio
  }

  /** Undoes an operation that did not come to its end. */
  private restore(length: number, heard: number | undefined): void {
    this.state.cache.truncate(length)
    if (heard !== undefined) this.state.audio?.cache.truncate(heard)
  }
}

function commonLength(a: readonly number[], b: readonly number[]): number {
  let length = 0
  while (length < b.length && a[length] === b[length]) length++
  return length
}
