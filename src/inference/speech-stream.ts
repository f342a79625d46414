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
import { type SpeechDecoder, type SpeechDecoderState, textChunk } from "./speech-decoder.ts"
import { audioStart, textStart } from "./speech-mask.ts"
import {
  type CodeRenderer,
  flushRendering,
  initRendering,
  type RenderOptions,
  type RenderState,
  renderFrames,
} from "./speech-renderer.ts"

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
  /** Never ends an utterance before its frame limit. */
  readonly forceNoStop?: boolean
}

/** The drivers' number of frames per call. */
export const CALL_FRAMES = 25
/** A segment is given up when it gets longer than this: 43.7 s. */
export const MAX_SEGMENT_FRAMES = 2048
/** A segment closes at the first sentence end when fewer text slots than this are free. */
const FREE_SLOTS_TO_CLOSE = 180
/** What a new segment takes over. */
const SEED_TOKENS = 5
const SEED_FRAMES = 50
/** The language of numbers is settled after so many pieces. */
const LANGUAGE_PIECES = 2

/** A delivery: sound at 24 kHz, and the text written since the one before. */
export type SpeechPiece = { readonly text: string; readonly pcm: Float32Array }

type Phase = "listening" | "closing" | "draining" | "flushing" | "done"

/** One utterance. Plain data, except for the decoder's cache. */
export type SpeechState = {
  readonly phase: Phase
  /** No more text will come. */
  readonly closed: boolean
  readonly speaker: Float32Array // [D]
  readonly decoder: SpeechDecoderState
  /** Frames drawn in all segments. */
  readonly drawnFrames: number
  readonly rendering: RenderState
  /** Text pieces of this segment; the utterance's first is not counted, and undefined says that it has not come. */
  readonly pieces: number | undefined
  readonly language: SpokenLanguage
  /** All text of the segment as written, and how much of it was delivered. */
  readonly written: string
  readonly delivered: number
  /** The text as it is spoken. */
  readonly spoken: string
  /** Text chunks prefilled, which is also the number of calls so far. */
  readonly chunk: number
  /** Text left for the next segment. */
  readonly carry: string | undefined
}

type Step = readonly [SpeechPiece | undefined, SpeechState]

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
      chunk: 0,
      carry: undefined,
    }
  }

  /**
   * Takes a piece of text; when it completes a chunk, draws one call's frames. The first piece only gets the speech
   * ready. Text after the end of the utterance is not spoken.
   * @throws InputError while a segment is ending: call `next` until it listens again
   */
  async *push(state: SpeechState, piece: string): Steps<Step> {
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
    if (pieces === 1 && text === "" && state.decoder.frames.length > 0) {
      return { ...state, pieces, phase: "done" }
    }
    const written = state.written + text
    const language = this.isSettled(pieces, state.written) ? state.language : this.languageOf(written)
    const spoken = state.spoken + this.jointOf(state.written, text, language) + speakable(text, language)
    const heard = { ...state, pieces, written, language, spoken }
    const { textTokens } = this.prompt(spoken)
    const end = sentenceEnd(text)
    if (textTokens < this.text.layout.textSlots - FREE_SLOTS_TO_CLOSE || end === "") return heard
    const cut = spoken.lastIndexOf(end) + 1
    return { ...heard, phase: "closing", spoken: spoken.slice(0, cut), carry: spoken.slice(cut) }
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
  async *next(state: SpeechState): Steps<Step> {
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

  private async *drain(state: SpeechState): Steps<Step> {
    // A new segment that heard nothing has nothing to say.
    const silent = state.pieces === undefined || (state.pieces === 0 && state.decoder.frames.length > 0)
    if (state.phase === "closing" && silent) return [undefined, { ...state, phase: "done" }]
    const prompt = this.prompt(state.spoken)
    let ready = state
    if (state.phase === "closing") {
      const [begin] = textChunk(state.chunk, this.decoder.config)
      const end = Math.min(this.textEnd(prompt), audioStart(this.decoder.config))
      if (end > begin) ready = await this.prefill(state, prompt, begin, end)
      yield
    }
    const [piece, next] = yield* this.call({ ...ready, phase: "draining" }, prompt)
    if (next.phase === "flushing" || next.decoder.frames.length <= MAX_SEGMENT_FRAMES) return [piece, next]
    return [piece, { ...next, phase: "flushing", carry: undefined }]
  }

  private async flush(state: SpeechState): Promise<Step> {
    const [pcm, rendering] = flushRendering(state.rendering)
    const piece = pcm && { text: state.written.slice(state.delivered), pcm }
    const flushed = { ...state, rendering, delivered: piece ? state.written.length : state.delivered }
    if (state.carry === undefined || state.closed) return [piece, { ...flushed, phase: "done" }]
    return [piece, await this.rollOver(flushed)]
  }

  /** A new segment that knows the end of this one. */
  private async rollOver(state: SpeechState): Promise<SpeechState> {
    const { config } = this.decoder
    const { startIds } = this.text.layout
    const prompt = this.prompt(state.spoken)
    const last = this.textEnd(prompt) - 1 // the slot of [Etts]
    const seedIds = prompt.ids.slice(Math.max(textStart(config), last - SEED_TOKENS), last)
    const seedFrames = state.decoder.frames.slice(-SEED_FRAMES)
    const [, withText] = await this.decoder.prefillText(
      this.decoder.init(),
      [...startIds, ...seedIds],
      0,
      state.speaker,
    )
    const [, decoder] = await this.decoder.prefillAudio(withText, seedFrames, seedIds.length)
    const written = this.text.tokenizer.decode(seedIds) + state.carry!
    return {
      ...state,
      phase: "listening",
      decoder,
      rendering: initRendering(this.options.rendering, seedFrames.length),
      pieces: 0,
      written,
      delivered: written.length,
      spoken: written,
      chunk: Math.floor(seedIds.length / config.textChunkSize),
      carry: undefined,
    }
  }

  /** Draws one call's frames and renders what is new. */
  private async *call(state: SpeechState, { textTokens }: TtsPrompt): Steps<Step> {
    const { callFrames, firstCallFrames, sampling, draw, forceNoStop = false, rendering } = this.options
    const maxFrames = state.decoder.frames.length === 0 ? firstCallFrames : callFrames
    const options = { textTokens, maxFrames, forceNoStop, sampling, draw }
    const [, decoder] = yield* this.decoder.generate(state.decoder, options)
    const ends = decoder.finished || (state.phase === "draining" && decoder.frames.length > MAX_SEGMENT_FRAMES)
    const [pcm, rendered] = await renderFrames(this.renderer, state.rendering, decoder.frames, rendering, ends)
    const next: SpeechState = {
      ...state,
      decoder,
      drawnFrames: state.drawnFrames + decoder.frames.length - state.decoder.frames.length,
      rendering: rendered,
      chunk: state.chunk + 1,
      phase: decoder.finished ? "flushing" : state.phase,
    }
    if (pcm.length === 0) return [undefined, next]
    return [
      { text: state.written.slice(state.delivered), pcm },
      { ...next, delivered: state.written.length },
    ]
  }

  private async prefill(state: SpeechState, prompt: TtsPrompt, begin: number, end: number): Promise<SpeechState> {
    const speaker = begin === 0 ? state.speaker : undefined
    const ids = prompt.ids.slice(begin, end)
    const [, decoder] = await this.decoder.prefillText(state.decoder, ids, begin, speaker)
    return { ...state, decoder }
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
    const deliver = async function* (steps: Steps<Step>): AsyncGenerator<SpeechPiece | undefined, void, void> {
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
