/**
 * @file Speaking while the language model writes: pieces of text in, pieces of sound out. An utterance is one or more
 * segments; each call fills at most one chunk of text slots and draws some frames, so that speech and text interleave.
 * Long answers roll over to a new segment that starts from the last words and frames of the one before.
 *
 *   listening --push--> listening … --end of text, or long enough--> closing --> draining … --> flushing --> done
 *       ^-----------------------------------------------------------------------roll-over---------'
 *
 * Source: _generate_mel_spec_audio_streaming and prepare_tts_text (modeling_minicpmo.py).
 */
import {
  detectLanguage,
  type SpokenLanguage,
  sentenceEnd,
  speakable,
  TTS_EOS,
  type TtsPrompt,
  type TtsPromptLayout,
  type TtsTokenizer,
  ttsPrompt,
} from "../tokenizer/index.ts"
import { InputError, type Steps } from "../util/index.ts"
import type { CodeSampling, Draw } from "./code-sampler.ts"
import { closingAt, cutWithin, FREE_SLOTS_TO_CLOSE, isAudible } from "./speech-cut.ts"
import { type SpeechDecoder, textChunk } from "./speech-decoder.ts"
import { audioStart, textStart, visibleTextSlots } from "./speech-mask.ts"
import {
  type CodeRenderer,
  flushRendering,
  initRendering,
  type RenderOptions,
  renderFrames,
} from "./speech-renderer.ts"
import { closing, delivery, type SpeechPiece, type SpeechState, type SpeechStep } from "./speech-state.ts"

export type SpeechOptions = {
  readonly sampling: CodeSampling
  readonly draw: Draw
  readonly rendering: RenderOptions
  /** Frames drawn per call. */
  readonly callFrames: number
  /** Frames of an utterance's first call: fewer make the first sound come earlier. */
  readonly firstCallFrames: number
  /**
   * The language in which numbers are read where the text so far has no letters. With it, numbers that were cut between
   * two pieces keep their words apart. The official code, without it, takes Chinese and joins them.
   */
  readonly fallbackLanguage?: SpokenLanguage
  /**
   * All text gets a segment: one closes before its slots are full, at a clause, a word or a character when no sentence ends
   * in time; a segment's speech that ended before its text was seen is followed by another, and so is text that was left
   * when the last piece came. The official code, without it, lets all of that fall silent.
   */
  readonly speaksAll?: boolean
  /** Never ends an utterance before its frame limit. */
  readonly forceNoStop?: boolean
}

/** The drivers' number of frames per call. */
export const CALL_FRAMES = 25
/** A segment is given up when it gets longer than this: 43.7 s. */
export const MAX_SEGMENT_FRAMES = 2048
/** What a new segment takes over. */
const SEED_TOKENS = 5
const SEED_FRAMES = 50
/** The language of numbers is settled after so many pieces. */
const LANGUAGE_PIECES = 2

const hasLetters = (text: string): boolean => /[a-zA-Z\u4e00-\u9fff]/.test(text)

export class SpeechStream {
  private readonly decoder: SpeechDecoder
  private readonly renderer: CodeRenderer
  private readonly text: { readonly tokenizer: TtsTokenizer; readonly layout: TtsPromptLayout }
  readonly options: SpeechOptions

  constructor(
    decoder: SpeechDecoder,
    renderer: CodeRenderer,
    text: { readonly tokenizer: TtsTokenizer; readonly layout: TtsPromptLayout },
    options: SpeechOptions,
  ) {
    this.decoder = decoder
    this.renderer = renderer
    this.text = text
    this.options = options
  }

  /**
   * An utterance that has not heard any text.
   * @param speakerState the language model's normed hidden state at `<|spk|>`  // [D']
   */
  async init(speakerState: Float32Array): Promise<SpeechState> {
    const { speaker } = await this.decoder.speaker(speakerState)
    return {
      phase: "listening",
      closed: false,
      speaker,
      decoder: this.decoder.init(),
      drawnFrames: 0,
      rendering: initRendering(this.options.rendering),
      pieces: undefined,
      language: this.languageOf(""),
      written: "",
      delivered: 0,
      spoken: "",
      seeded: 0,
      chunk: 0,
      given: undefined,
      carry: undefined,
      segment: 0,
    }
  }

  /**
   * Takes a piece of text; when it completes a chunk, draws one call's frames. The first piece only gets the speech
   * ready. Text after the end of the utterance is not spoken.
   * @throws InputError while a segment is ending: call `next` until it listens again
   */
  async *push(state: SpeechState, piece: string): Steps<SpeechStep> {
    if (state.phase === "done") return [undefined, state]
    if (state.phase !== "listening") {
      throw new InputError(`speech: expected text while listening, got some while ${state.phase} (call next first)`)
    }
    const text = piece.split(TTS_EOS)[0]!
    if (state.pieces === undefined) return [undefined, { ...state, pieces: 0, written: text, spoken: text }]
    const heard = this.hear(state, text)
    if (heard.phase !== "listening") return [undefined, heard]
    const prompt = this.prompt(heard.spoken)
    if (prompt.textTokens < this.decoder.config.textChunkSize * (heard.chunk + 1)) return [undefined, heard]
    const [begin, end] = textChunk(heard.chunk, this.decoder.config)
    const ready = await this.prefill(heard, prompt, begin, end)
    yield
    return yield* this.call(ready, prompt)
  }

  /** Adds text to a segment, and decides whether that closes it. */
  private hear(state: SpeechState, text: string): SpeechState {
    const pieces = state.pieces! + 1
    // Quirk of the reference: an empty piece right after a roll-over ends the utterance, the carried text included.
    if (pieces === 1 && text === "" && state.decoder.frames.length > 0 && !this.options.speaksAll) {
      return { ...state, pieces, phase: "done" }
    }
    const written = state.written + text
    const language = this.isSettled(pieces, state.written) ? state.language : this.languageOf(written)
    const before = state.spoken + this.jointOf(state.written, text, language)
    const spoken = before + speakable(text, language)
    const heard = { ...state, pieces, written, language, spoken }
    const freeSlots = this.text.layout.textSlots - this.prompt(spoken).textTokens
    if (freeSlots > FREE_SLOTS_TO_CLOSE) return heard
    if (this.options.speaksAll) {
      const at = closingAt(text, freeSlots)
      return at === undefined ? heard : closing(heard, before.length + speakable(text.slice(0, at), language).length)
    }
    const end = sentenceEnd(text)
    return end === "" ? heard : closing(heard, spoken.lastIndexOf(end) + 1)
  }

  private languageOf(written: string): SpokenLanguage {
    const { fallbackLanguage } = this.options
    return fallbackLanguage && !hasLetters(written) ? fallbackLanguage : detectLanguage(written)
  }

  /** Whether the language of numbers does not change any more. */
  private isSettled(pieces: number, writtenBefore: string): boolean {
    return pieces > LANGUAGE_PIECES && (this.options.fallbackLanguage === undefined || hasLetters(writtenBefore))
  }

  /** What keeps the words of a number apart that was cut between two pieces. */
  private jointOf(before: string, text: string, language: SpokenLanguage): string {
    const isCut = /\p{Nd}$/u.test(before) && /^\p{Nd}/u.test(text)
    return this.options.fallbackLanguage && isCut && language === "english" ? " " : ""
  }

  /** Says that no more text will come. */
  close(state: SpeechState): SpeechState {
    return { ...state, closed: true, phase: state.phase === "listening" ? "closing" : state.phase }
  }

  /** Goes on with a segment that is ending: one call, or the held samples, or the change to a new segment. */
  async *next(state: SpeechState): Steps<SpeechStep> {
    switch (state.phase) {
      case "closing":
      case "draining":
        return yield* this.drain(state)
      case "flushing":
        return await this.flush(state)
      case "listening":
      case "done":
        return [undefined, state]
    }
  }

  private async *drain(begun: SpeechState): Steps<SpeechStep> {
    if (begun.phase === "closing" && this.isSilent(begun)) return [undefined, { ...begun, phase: "done" }]
    const state = begun.phase === "closing" && this.options.speaksAll ? this.fitting(begun) : begun
    const prompt = this.prompt(state.spoken)
    let ready = state
    if (state.phase === "closing") {
      const [begin] = textChunk(state.chunk, this.decoder.config)
      if (this.textEnd(prompt) > begin) {
        ready = await this.prefill(
          state,
          prompt,
          begin,
          Math.min(this.textEnd(prompt), audioStart(this.decoder.config)),
        )
      }
      yield
    }
    const [piece, next] = yield* this.call({ ...ready, phase: "draining" }, this.heardPrompt(ready, prompt))
    if (next.phase === "flushing" || next.decoder.frames.length <= MAX_SEGMENT_FRAMES) return [piece, next]
    return [piece, { ...next, phase: "flushing", carry: undefined }]
  }

  /** A new segment that heard nothing has nothing to say. */
  private isSilent({ pieces, decoder, spoken, seeded }: SpeechState): boolean {
    if (pieces === undefined) return true
    const isNew = pieces === 0 && decoder.frames.length > 0
    return isNew && !(this.options.speaksAll && isAudible(spoken.slice(seeded)))
  }

  /** A closing segment whose text has room for its end mark; what has not is left for the next. */
  private fitting(state: SpeechState): SpeechState {
    const { spoken, seeded, carry } = state
    const cut = cutWithin(spoken, seeded, this.within(this.text.layout.textSlots - 1))
    if (cut === spoken.length) return state
    return { ...state, spoken: spoken.slice(0, cut), carry: spoken.slice(cut) + (carry ?? "") }
  }

  /**
   * A segment whose speech has ended, with the text that it cannot have said left for the next: what its slots did not have
   * yet, or no frame has seen.
   */
  private unseenLeft(state: SpeechState, textTokens: number): SpeechState {
    const { config } = this.decoder
    const { spoken, seeded, carry, phase, chunk, decoder } = state
    const given = phase === "listening" ? config.textChunkSize * (chunk + 1) : textTokens
    const visible = visibleTextSlots(audioStart(config) + decoder.frames.length, textTokens, config) - textStart(config)
    const cut = cutWithin(spoken, seeded, this.within(Math.min(given, visible)))
    const rest = spoken.slice(cut)
    // Without progress there is no end of it.
    if (cut <= seeded || !isAudible(rest)) return state
    return { ...state, spoken: spoken.slice(0, cut), carry: rest + (carry ?? "") }
  }

  private within(tokens: number): (text: string) => boolean {
    return (text) => this.text.tokenizer.encode(text).length <= tokens
  }

  private async flush(state: SpeechState): Promise<SpeechStep> {
    const [pcm, rendering] = flushRendering(state.rendering)
    const piece = pcm && delivery(state, pcm)
    const flushed = { ...state, rendering, delivered: piece ? state.written.length : state.delivered }
    const { carry, closed } = state
    const goesOn = carry !== undefined && (!closed || (this.options.speaksAll && isAudible(carry)))
    return [piece, goesOn ? await this.rollOver(flushed) : { ...flushed, phase: "done" }]
  }

  /** A new segment that knows the end of this one. */
  private async rollOver(state: SpeechState): Promise<SpeechState> {
    const { config } = this.decoder
    const { startIds } = this.text.layout
    const prompt = this.prompt(state.spoken)
    const last = this.textEnd(prompt) - 1 // the slot of [Etts]
    const seedIds = this.heardPrompt(state, prompt).ids.slice(Math.max(textStart(config), last - SEED_TOKENS), last)
    const seedFrames = state.decoder.frames.slice(-SEED_FRAMES)
    const [, withText] = await this.decoder.prefillText(
      this.decoder.init(),
      [...startIds, ...seedIds],
      0,
      state.speaker,
    )
    const [, decoder] = await this.decoder.prefillAudio(withText, seedFrames, seedIds.length)
    const seed = this.text.tokenizer.decode(seedIds)
    const written = seed + state.carry!
    return {
      ...state,
      phase: state.closed ? "closing" : "listening",
      decoder,
      rendering: initRendering(this.options.rendering, seedFrames.length),
      pieces: 0,
      written,
      delivered: written.length,
      spoken: written,
      seeded: seed.length,
      chunk: Math.floor(seedIds.length / config.textChunkSize),
      given: undefined,
      carry: undefined,
      segment: state.segment + 1,
    }
  }

  /** Draws one call's frames and renders what is new. */
  private async *call(state: SpeechState, { textTokens }: TtsPrompt): Steps<SpeechStep> {
    const { callFrames, firstCallFrames, sampling, draw, forceNoStop = false, rendering } = this.options
    const maxFrames = state.decoder.frames.length === 0 ? firstCallFrames : callFrames
    const options = { textTokens, maxFrames, forceNoStop, sampling, draw }
    const [, decoder] = yield* this.decoder.generate(state.decoder, options)
    const ends = decoder.finished || (state.phase === "draining" && decoder.frames.length > MAX_SEGMENT_FRAMES)
    const [pcm, rendered] = await renderFrames(this.renderer, state.rendering, decoder.frames, rendering, ends)
    const drawn = { ...state, decoder }
    const next: SpeechState = {
      ...(decoder.finished && this.options.speaksAll ? this.unseenLeft(drawn, textTokens) : drawn),
      drawnFrames: state.drawnFrames + decoder.frames.length - state.decoder.frames.length,
      rendering: rendered,
      chunk: state.chunk + 1,
      phase: decoder.finished ? "flushing" : state.phase,
    }
    if (pcm.length === 0) return [undefined, next]
    return [delivery(next, pcm), { ...next, delivered: state.written.length }]
  }

  private async prefill(state: SpeechState, prompt: TtsPrompt, begin: number, end: number): Promise<SpeechState> {
    if (begin === end) return { ...state, given: prompt } // no slot is left
    const speaker = begin === 0 ? state.speaker : undefined
    const ids = prompt.ids.slice(begin, end)
    const [, decoder] = await this.decoder.prefillText(state.decoder, ids, begin, speaker)
    return { ...state, decoder, given: prompt }
  }

  /**
   * What a closed segment says.
   * Quirk of the reference: where the last piece made a word of fewer tokens, so that no slot is left to fill, it goes on with
   * the prompt as it was before.
   */
  private heardPrompt({ given }: SpeechState, prompt: TtsPrompt): TtsPrompt {
    return this.options.speaksAll ? prompt : (given ?? prompt)
  }

  private prompt(spoken: string): TtsPrompt {
    return ttsPrompt(this.text.tokenizer, this.text.layout, spoken)
  }

  /** The slot after `[Etts]`. */
  private textEnd({ textTokens }: TtsPrompt): number {
    return textStart(this.decoder.config) + textTokens + 1
  }

  /**
   * A whole utterance: pieces of text as they come, sound as it is ready. When the speech ends before the text does, the
   * rest of the text is not asked for.
   * @returns pieces, and undefined after each step of work without one
   */
  async *speak(
    speakerState: Float32Array,
    pieces: AsyncIterable<string> | Iterable<string>,
  ): AsyncGenerator<SpeechPiece | undefined, SpeechState, void> {
    let state = await this.init(speakerState)
    const deliver = async function* (steps: Steps<SpeechStep>): AsyncGenerator<SpeechPiece | undefined, void, void> {
      for (;;) {
        const { done, value } = await steps.next()
        if (!done) {
          yield undefined
          continue
        }
        state = value[1]
        if (value[0]) yield value[0]
        return
      }
    }
    const ending = () => state.phase !== "listening" && state.phase !== "done"
    for await (const piece of pieces) {
      yield* deliver(this.push(state, piece))
      while (ending()) yield* deliver(this.next(state))
      if (state.phase === "done") return state
    }
    state = this.close(state)
    while (ending()) yield* deliver(this.next(state))
    return state
  }
}
