/** @file What a call hears and sees before it is read: sound of any rate and length becomes one-second units with frames. */
import { concatPcm, createResampler, type Resampler } from "../audio/index.ts"
import { checkPixels, type RgbImage } from "../image/index.ts"
import { InputError } from "../util/index.ts"
import type { CallInput } from "./types.ts"

/** The encoder's rate, which is also the length of a unit: one second. */
export const UNIT_SAMPLES = 16_000

/** One second of sound with its frame, the shorter rest of a turn, or typed text. */
export type Heard = {
  readonly pcm?: Float32Array // at 16 kHz
  readonly frame?: RgbImage
  readonly text?: string
}

/** Most units that wait to be read: an answer may keep them waiting, a minute of it. */
const MAX_WAITING = 60

export type EarsData = {
  readonly ready: readonly Heard[]
  readonly rest: Float32Array
  readonly frame: RgbImage | undefined
  readonly lastFrame: RgbImage | undefined
}

export class Ears {
  private readonly resampler: Resampler
  private ready: Heard[]
  /** Sound of the second that is not full yet. */
  private rest: Float32Array
  /** The latest frame that no unit has. */
  private frame: RgbImage | undefined
  /** The latest frame of this turn. */
  private lastFrame: RgbImage | undefined

  /** @throws InputError for a rate outside 8,000 to 192,000 Hz */
  constructor(sampleRateHz: number, saved?: EarsData) {
    this.resampler = createResampler({ fromHz: sampleRateHz, toHz: UNIT_SAMPLES })
    this.ready = [...(saved?.ready ?? [])]
    this.rest = saved?.rest ?? new Float32Array(0)
    this.frame = saved?.frame
    this.lastFrame = saved?.lastFrame
  }

  /**
   * Takes input.
   * @returns milliseconds of sound that had to be dropped, the oldest first
   * @throws InputError for sound that is not finite or a damaged frame; nothing is taken then
   */
  push({ pcm, frame, text }: CallInput): number {
    if (pcm) checkFinite(pcm)
    if (frame) checkPixels("call.push: frame", frame, 3)
    if (frame) this.frame = this.lastFrame = frame
    if (pcm) this.hear(this.resampler.push(pcm))
    if (text !== undefined && text !== "") this.ready.push({ text })
    return this.dropOldest()
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

  private dropOldest(): number {
    let dropped = 0
    while (this.ready.length > MAX_WAITING) dropped += this.ready.shift()!.pcm?.length ?? 0
    return (dropped / UNIT_SAMPLES) * 1000
  }

  /** The first whole units; they stay until they are taken. */
  peek(most: number): readonly Heard[] {
    return this.ready.slice(0, most)
  }

  take(count: number): void {
    this.ready.splice(0, count)
  }

  /**
   * What is left of a turn: the started second and the frame that no unit has, or, when it is wanted in full resolution,
   * the turn's last frame again.
   * @param fewest samples that can be encoded; less is padded with silence to that
   */
  tail(fewest: number, again: boolean): Heard | undefined {
    const frame = this.frame ?? (again ? this.lastFrame : undefined)
    const tail = concatPcm([this.rest, this.resampler.flush()])
    this.rest = tail
    if (tail.length === 0) return frame && { frame }
    const pcm = tail.length < fewest ? concatPcm([tail, new Float32Array(fewest - tail.length)]) : tail
    return { pcm, ...(frame ? { frame } : {}) }
  }

  /** The turn is over. */
  endTurn(): void {
    this.rest = new Float32Array(0)
    this.frame = this.lastFrame = undefined
  }

  /** Forgets everything that was not read. */
  clear(): void {
    this.ready = []
    this.resampler.flush()
    this.endTurn()
  }

  get data(): EarsData {
    this.rest = concatPcm([this.rest, this.resampler.flush()])
    return { ready: this.ready, rest: this.rest, frame: this.frame, lastFrame: this.lastFrame }
  }
}

function checkFinite(pcm: Float32Array): void {
  const at = pcm.findIndex((value) => !Number.isFinite(value))
  if (at >= 0) throw new InputError(`call.push: expected finite samples, got ${pcm[at]} at ${at} (check the sound)`)
}
