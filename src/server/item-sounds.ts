/** @file Sound of a Realtime session that may be needed again, as 16-bit samples and never more than a bounded length. */
import { concatPcm, floatToInt16, int16ToFloat, resample } from "../audio/index.ts"
import type { Sound } from "../session/index.ts"

type Piece = { readonly samples: Int16Array; readonly rateHz: number; readonly startMs: number; readonly endMs: number }

const MAX_RECENT_MS = 60_000
const MAX_KEPT_MS = 60_000

/** The latest sound on one clock, for cutting turns out of it. */
export class RecentSound {
  #pieces: Piece[] = []
  readonly #mostMs: number
  endMs = 0

  constructor(mostMs = MAX_RECENT_MS) {
    this.#mostMs = mostMs
  }

  push(pcm: Float32Array, rateHz: number): void {
    const startMs = this.endMs
    this.endMs = startMs + (pcm.length * 1000) / rateHz
    this.#pieces.push({ samples: floatToInt16(pcm), rateHz, startMs, endMs: this.endMs })
    while (this.#pieces.length > 1 && this.endMs - this.#pieces[0]!.endMs > this.#mostMs) this.#pieces.shift()
  }

  /** Time goes on without sound that could be asked for. */
  skip(ms: number): void {
    this.endMs += ms
  }

  /** What lies between two times, as far as it is still here, and where that begins; undefined for nothing. */
  cut(fromMs: number, toMs: number): (Sound & { readonly startMs: number }) | undefined {
    const inside = this.#pieces.filter(({ startMs, endMs }) => endMs > fromMs && startMs < toMs)
    const last = inside.at(-1)
    if (!last) return undefined
    const parts = inside.map(({ samples, rateHz, startMs }) => {
      const at = (ms: number) => Math.max(0, Math.round(((ms - startMs) / 1000) * rateHz))
      const pcm = int16ToFloat(samples.subarray(at(fromMs), at(toMs)))
      return rateHz === last.rateHz ? pcm : resample(pcm, rateHz, last.rateHz)
    })
    return { pcm: concatPcm(parts), sampleRateHz: last.rateHz, startMs: Math.max(fromMs, inside[0]!.startMs) }
  }

  clear(): void {
    this.#pieces = []
  }
}

/** Sound of items by their id; the oldest is forgotten first. */
export class ItemSounds {
  readonly #sounds = new Map<string, { readonly samples: Int16Array; readonly rateHz: number }>()
  readonly #mostMs: number
  #ms = 0

  constructor(mostMs = MAX_KEPT_MS) {
    this.#mostMs = mostMs
  }

  set(id: string, { pcm, sampleRateHz }: Sound): void {
    this.delete(id)
    const sound = { samples: floatToInt16(pcm), rateHz: sampleRateHz }
    this.#sounds.set(id, sound)
    this.#ms += lengthMs(sound)
    for (const oldest of this.#sounds.keys()) {
      if (this.#ms <= this.#mostMs) return
      this.delete(oldest)
    }
  }

  get(id: string): Sound | undefined {
    const sound = this.#sounds.get(id)
    return sound && { pcm: int16ToFloat(sound.samples), sampleRateHz: sound.rateHz }
  }

  delete(id: string): void {
    const sound = this.#sounds.get(id)
    if (!sound) return
    this.#sounds.delete(id)
    this.#ms -= lengthMs(sound)
  }
}

const lengthMs = ({ samples, rateHz }: { readonly samples: Int16Array; readonly rateHz: number }) =>
  (samples.length * 1000) / rateHz
