/** @file What a call hears and sees before it is read: sound of any rate and length becomes one-second units with frames. */
import { checkFinite, concatPcm, createResampler, type Resampler, type ResamplerState } from "../audio/index.ts"
import { checkPixels, type RgbImage } from "../image/index.ts"
import type { CallInput } from "./types.ts"

/** The encoder's rate, which is also the length of a unit: one second. */
export const UNIT_SAMPLES = 16_000

/** One second of sound with its frame, the shorter rest of a turn, a picture, or typed text. */
export type Heard = {
  /** Only before they are taken: then each is a frame of its own. */
  readonly pictures?: readonly RgbImage[]
  readonly pcm?: Float32Array // at 16 kHz
  readonly frame?: RgbImage
  readonly text?: string
  /** A turn ends here; it may be all there is. */
  readonly turnEnd?: {
    /** Turns count from 1. */
    readonly turn: number
    /** The latest frame of the turn. */
    readonly lastFrame?: RgbImage
  }
}

/** A place in the order of what was pushed: behind an item, once all that came before it was listened to. */
export type Place = { item: Heard | undefined; isReached: boolean }

/** Most units that wait to be read: an answer may keep them waiting, a minute of it. One longer input waits beside them. */
const MAX_WAITING = 60

/**
 * The rest of a turn is read with its answer. When so many units follow it and nobody asked for one, it is read like any
 * other sound, and the turn goes on.
 */
const HELD_UNITS = 3

export type EarsData = {
  readonly ready: readonly Heard[]
  readonly rest: Float32Array
  readonly frame: RgbImage | undefined
  readonly lastFrame: RgbImage | undefined
  /** The turn that it was shown in. */
  readonly lastFrameTurn?: number
  readonly marks: TurnMarks
  /** Saved calls of earlier versions have none: they begin a new signal. */
  readonly resampler?: ResamplerState
}

type TurnMarks = {
  /** Ends of turns, whoever set them. */
  readonly ended: number
  /** The latest one that was found in the sound. */
  readonly found: number
  /** The latest one that an answer was written for. */
  readonly answered: number
}

export class Ears {
  private resampler: Resampler
  private ready: Heard[]
  /** Sound of the second that is not full yet. */
  private rest: Float32Array
  /** The latest frame that no unit has. */
  private frame: RgbImage | undefined
  /** The latest frame of this turn, or of one before that has no answer. */
  private lastFrame: RgbImage | undefined
  private lastFrameTurn: number
  private marks: TurnMarks
  /** Units of sound that may wait now. */
  private room: number = MAX_WAITING
  /** What was here when input was last kept. */
  private kept: Omit<EarsData, "marks" | "resampler"> & { readonly resampler: ResamplerState }

  /** @throws InputError for a rate outside 8,000 to 192,000 Hz */
  constructor(sampleRateHz: number, saved?: EarsData) {
    const rates = { fromHz: sampleRateHz, toHz: UNIT_SAMPLES }
    const isSame = saved?.resampler?.fromHz === sampleRateHz
    this.resampler = createResampler((isSame ? saved.resampler : undefined) ?? rates)
    this.ready = [...(saved?.ready ?? [])]
    this.rest = saved?.rest ?? new Float32Array(0)
    this.frame = saved?.frame
    this.lastFrame = saved?.lastFrame
    this.marks = saved?.marks ?? { ended: 0, found: 0, answered: 0 }
    this.lastFrameTurn = saved?.lastFrameTurn ?? this.marks.ended + 1
    // A call that goes on at another rate has all of the sound before.
    if (saved?.resampler && !isSame) this.hear(createResampler(saved.resampler).flush())
    this.kept = this.now
  }

  /** The latest turn that was found in the sound, is over and has no answer. */
  get foundTurn(): number | undefined {
    const { found, answered } = this.marks
    return found > answered ? found : undefined
  }

  /**
   * The turn that an answer is asked for, where one was found: with what was typed behind it, or shown before more sound came,
   * which is part of the question.
   */
  askedTurn(): number | undefined {
    const { foundTurn } = this
    if (foundTurn === undefined) return undefined
    const end = this.ready.findIndex(({ turnEnd }) => turnEnd?.turn === foundTurn)
    const isQuiet = this.rest.length === 0 && !this.ready.slice(end + 1).some(({ pcm }) => pcm)
    if (this.frame && isQuiet) return this.endTurn("sound")
    const typed = this.ready.findLastIndex(({ text }) => text !== undefined)
    if (typed <= end) return foundTurn
    const turn = this.marks.ended + 1
    this.marks = { ...this.marks, ended: turn, found: turn }
    const { lastFrame } = this
    this.ready.splice(typed + 1, 0, { turnEnd: { turn, ...(lastFrame ? { lastFrame } : {}) } })
    return turn
  }

  /**
   * Checks input and brings its sound to 16 kHz; it is taken only by {@link take}.
   * @param goesOn whether the sound must not be cut where text follows it
   * @throws InputError for sound that is not finite or a damaged frame
   */
  prepare({ pictures = [], pcm, frame, text }: CallInput, goesOn = false): Heard {
    if (pcm) checkFinite(pcm, "call.push")
    for (const picture of pictures) checkPixels("call.push: pictures", picture, 3)
    if (frame) checkPixels("call.push: frame", frame, 3)
    const hasText = text !== undefined && text !== ""
    const heard = pcm ? [this.resampler.push(pcm)] : []
    // What the resampler holds back was said before the text.
    if (hasText && !goesOn) heard.push(this.resampler.flush())
    return {
      ...(pictures.length > 0 ? { pictures } : {}),
      ...(heard.length > 0 ? { pcm: concatPcm(heard) } : {}),
      ...(frame ? { frame } : {}),
      ...(hasText ? { text } : {}),
    }
  }

  /**
   * Takes prepared input, all of it, however long: what waits already makes room. Text and ends of turns always stay.
   * @returns milliseconds of sound that had to be dropped, the oldest first
   */
  take({ pictures = [], pcm, frame, text }: Heard): number {
    const waiting = this.soundUnits
    if (waiting <= MAX_WAITING) this.room = MAX_WAITING
    if (pictures.length > 0) this.settle()
    for (const picture of pictures) this.ready.push({ frame: picture })
    if (frame) {
      this.frame = this.lastFrame = frame
      this.lastFrameTurn = this.marks.ended + 1
    }
    if (pcm) this.hear(pcm)
    if (text !== undefined) this.type(text)
    const arrived = this.soundUnits - waiting
    if (arrived > MAX_WAITING) this.room = Math.max(this.room, arrived + MAX_WAITING)
    return this.dropOldest(waiting + arrived - this.room)
  }

  /** Whether more sound would drop the oldest. */
  get isFull(): boolean {
    return this.soundUnits >= MAX_WAITING
  }

  private get soundUnits(): number {
    return this.ready.filter(isSound).length
  }

  private hear(pcm: Float32Array): void {
    const all = concatPcm([this.rest, pcm])
    let at = 0
    for (; all.length - at >= UNIT_SAMPLES; at += UNIT_SAMPLES) {
      this.ready.push({ pcm: all.slice(at, at + UNIT_SAMPLES), ...(this.frame ? { frame: this.frame } : {}) })
      this.frame = undefined
    }
    this.rest = all.slice(at)
  }

  private type(text: string): void {
    this.settle()
    this.ready.push({ text })
  }

  /** Text and pictures come behind what was said and shown before them, though the second is not full. */
  private settle(): void {
    const { rest, frame } = this
    if (rest.length > 0 || frame)
      this.ready.push({ ...(rest.length > 0 ? { pcm: rest } : {}), ...(frame ? { frame } : {}) })
    this.rest = new Float32Array(0)
    this.frame = undefined
  }

  private dropOldest(units: number): number {
    if (units <= 0) return 0
    const dropped = this.ready.filter(isSound).slice(0, units)
    this.remove(dropped)
    return (dropped.reduce((sum, { pcm }) => sum + pcm!.length, 0) / UNIT_SAMPLES) * 1000
  }

  /**
   * A turn ends here: its rest waits for the answer, and what comes later belongs to the next one. Who asks for an answer
   * again, since the first one failed, means the same turn, with what came since.
   * @param by who ended it: voice activity, or somebody who asks for an answer
   * @returns its number
   */
  endTurn(by: "sound" | "hand"): number {
    const { rest, frame, lastFrame } = this
    const last = this.ready.at(-1)?.turnEnd
    if (by === "hand" && last && rest.length === 0 && !frame) return last.turn
    const turn = this.marks.ended + 1
    this.marks = { ...this.marks, ended: turn, ...(by === "sound" ? { found: turn } : {}) }
    this.ready.push({
      ...(rest.length > 0 ? { pcm: rest } : {}),
      ...(frame ? { frame } : {}),
      turnEnd: { turn, ...(lastFrame ? { lastFrame } : {}) },
    })
    this.rest = new Float32Array(0)
    this.frame = undefined
    return turn
  }

  /** Sound that the resampler holds back because more may come. */
  flush(): void {
    this.hear(this.resampler.flush())
  }

  /** What waits to be read and came last. */
  get latest(): Heard | undefined {
    return this.ready.at(-1)
  }

  /** Whether an item is the rest of a turn that waits for its answer. */
  isHeld(item: Heard): boolean {
    return item.turnEnd !== undefined && this.ready.length - this.ready.indexOf(item) <= HELD_UNITS
  }

  /**
   * The first items that may be read now, kept ones alone, and the rest of a turn alone; they stay until they are removed.
   * @param end only up to here, where it is reached: all of that has to be read; its item may be gone
   */
  peek(most: number, end?: Place): readonly Heard[] {
    const held = this.ready.findIndex((item) => this.isHeld(item))
    const ended = end?.isReached ? this.ready.indexOf(end.item!) + 1 : most
    // Before a message it does not wait.
    if (held === 0 && end?.isReached && ended > 0) return this.ready.slice(0, 1)
    const first = this.ready.slice(0, Math.min(most, ended, held < 0 ? most : held))
    const kept = first.findLastIndex((item) => this.keeps(item)) + 1
    return kept === 0 ? first : first.slice(0, kept)
  }

  /** What is here stays, whatever is cleared later. */
  keep(): void {
    this.kept = this.now
  }

  /** Whether an item was there when input was last kept. */
  keeps(item: Heard): boolean {
    return this.kept.ready.includes(item)
  }

  /** The first items before the end of this turn, its end included when it is alone; none when it is not waiting. */
  peekTurn(turn: number, most: number): readonly Heard[] {
    const end = this.ready.findIndex(({ turnEnd }) => turnEnd?.turn === turn)
    return this.ready.slice(0, end === 0 ? 1 : Math.min(most, Math.max(0, end)))
  }

  /** Removes items that were read; some may have been dropped meanwhile. */
  remove(items: readonly Heard[]): void {
    this.ready = this.ready.filter((item) => !items.includes(item))
  }

  /** Everything up to this turn was read for an answer. */
  answer(turn: number): void {
    this.marks = { ...this.marks, answered: Math.max(this.marks.answered, turn) }
    if (this.lastFrameTurn <= this.marks.answered) this.lastFrame = undefined
  }

  /** Forgets what was taken since {@link keep} and was not read. */
  clear(): void {
    const { ready, resampler, ...waiting } = this.kept
    this.ready = this.ready.filter((item) => ready.includes(item))
    this.resampler = createResampler(resampler)
    Object.assign(this, waiting)
    this.answer(this.marks.ended)
  }

  get data(): EarsData {
    return { ...this.now, marks: this.marks }
  }

  private get now() {
    const { ready, rest, frame, lastFrame, lastFrameTurn, resampler } = this
    return { ready: [...ready], rest, frame, lastFrame, lastFrameTurn, resampler: resampler.state }
  }
}

const isSound = ({ pcm, turnEnd }: Heard): boolean => pcm !== undefined && turnEnd === undefined
