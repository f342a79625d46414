/** @file The spoken side of one answer: pieces of text go in as they are written, sound comes out step by step. */
import {
  CALL_FRAMES,
  codeSampling,
  type Draw,
  type SpeechPiece,
  type SpeechState,
  SpeechStream,
} from "../inference/index.ts"
import type { SpokenLanguage } from "../tokenizer/index.ts"
import type { Steps } from "../util/index.ts"
import type { BehaviourOptions } from "./behaviour.ts"
import type { VoiceParts } from "./model.ts"

export class SpeechTrack {
  private readonly stream: SpeechStream
  private readonly behaviour: BehaviourOptions
  private readonly speaker: Float32Array
  private state: SpeechState | undefined
  /** Frames and segments of utterances that are over. */
  private earlierFrames = 0
  private earlierSegments = 0

  /**
   * @param speaker the language model's normed hidden state at the speaker's slot  // [D]
   * @param language of the conversation
   */
  constructor(
    voice: VoiceParts,
    behaviour: BehaviourOptions,
    speaker: Float32Array,
    { draw, language }: { readonly draw: Draw; readonly language: SpokenLanguage },
  ) {
    const { rendering, firstCallFrames, numbers, speaksAll } = behaviour
    this.stream = new SpeechStream(voice.decoder, voice, voice, {
      sampling: codeSampling(voice.decoder.config),
      draw,
      rendering,
      callFrames: CALL_FRAMES,
      firstCallFrames,
      speaksAll,
      ...(numbers === "conversation" ? { fallbackLanguage: language } : {}),
    })
    this.behaviour = behaviour
    this.speaker = speaker
  }

  /** Frames of speech codes drawn so far. */
  get frames(): number {
    return this.earlierFrames + (this.state?.drawnFrames ?? 0)
  }

  /** The utterance is over; more text is not asked for unless the behaviour goes on. */
  get ended(): boolean {
    return this.state?.phase === "done" && !this.behaviour.outlivesSpeech
  }

  /** Takes a piece of text; yields sound as it is ready, and undefined after each step without one. */
  async *say(text: string): AsyncGenerator<SpeechPiece | undefined, void, void> {
    if (this.ended) return
    // An empty piece would only use up the quirk of the first one, or end a continued segment.
    if (text === "" && !this.behaviour.firstPieceVerbatim) return
    const state = await this.listening()
    yield* this.take(this.stream.push(state, text))
    while (this.ending()) yield* this.take(this.stream.next(this.state!))
  }

  /** No more text comes: the rest of the sound. */
  async *finish(): AsyncGenerator<SpeechPiece | undefined, void, void> {
    if (!this.state) return
    this.state = this.stream.close(this.state)
    while (this.ending()) yield* this.take(this.stream.next(this.state))
  }

  private ending(): boolean {
    return this.state!.phase !== "listening" && this.state!.phase !== "done"
  }

  /** The utterance that takes text now, a new one where the last one is over. */
  private async listening(): Promise<SpeechState> {
    if (this.state && this.state.phase !== "done") return this.state
    const next = await this.stream.init(this.speaker)
    this.earlierFrames = this.frames
    if (this.state) this.earlierSegments += this.state.segment + 1
    this.state = next
    if (this.behaviour.firstPieceVerbatim) return this.state
    // The first piece is taken verbatim; an empty one leaves all text to be spoken like the rest.
    for (const steps = this.stream.push(this.state, ""); ; ) {
      const { done, value } = await steps.next()
      if (!done) continue
      this.state = value[1]
      return this.state
    }
  }

  private async *take(
    steps: Steps<readonly [SpeechPiece | undefined, SpeechState]>,
  ): AsyncGenerator<SpeechPiece | undefined, void, void> {
    for (;;) {
      const { done, value } = await steps.next()
      if (!done) {
        yield undefined
        continue
      }
      const [piece, next] = value
      this.state = next
      yield piece && { ...piece, segment: this.earlierSegments + piece.segment }
      return
    }
  }
}
