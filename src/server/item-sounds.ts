/** @file Sound of a Realtime session that may be needed again, as 16-bit samples and never more than a bounded length. */
import type { Sound } from "../session/index.ts"

type Piece = { readonly samples: Int16Array; readonly rateHz: number; readonly startMs: number; readonly endMs: number }

const MAX_RECENT_MS = 60_000
const MAX_KEPT_MS = 60_000

function to16Bit(pcm: Float32Array): Int16Array {
  const samples = new Int16Array(pcm.length)
  for (let i = 0; i < pcm.length; i++) samples[i] = Math.max(-32_768, Math.min(32_767, Math.round(pcm[i]! * 32_768)))
  return samples
}

function toSound(pieces: readonly { readonly samples: Int16Array }[], sampleRateHz: number): Sound {
  const pcm = new Float32Array(pieces.reduce((sum, { samples }) => sum + samples.length, 0))
  let at = 0
  for (const { samples } of pieces) {
    for (let i = 0; i < samples.length; i++) pcm[at + i] = samples[i]! / 32_768
    at += samples.length
  }
  return { pcm, sampleRateHz }
}

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
    this.#pieces.push({ samples: to16Bit(pcm), rateHz, startMs, endMs: this.endMs })
    while (this.#pieces.length > 1 && this.endMs - this.#pieces[0]!.endMs > this.#mostMs) this.#pieces.shift()
  }

  /** Time goes on without sound that could be asked for. */
  skip(ms: number): void {
    this.endMs += ms
  }

  /** What lies between two times, as far as it is still here; undefined for nothing. */
  cut(fromMs: number, toMs: number): Sound | undefined {
    const inside = this.#pieces.filter(({ startMs, endMs }) => endMs > fromMs && startMs < toMs)
    const rateHz = inside[0]?.rateHz
    if (rateHz === undefined) return undefined
    const parts = inside
      .filter((piece) => piece.rateHz === rateHz)
      .map(({ samples, startMs }) => {
        const at = (ms: number) => Math.max(0, Math.round(((ms - startMs) / 1000) * rateHz))
        return { samples: samples.subarray(at(fromMs), at(toMs)) }
      })
    return toSound(parts, rateHz)
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
    const sound = { samples: to16Bit(pcm), rateHz: sampleRateHz }
    this.#sounds.set(id, sound)
    this.#ms += lengthMs(sound)
    for (const oldest of this.#sounds.keys()) {
      if (this.#ms <= this.#mostMs) return
      this.delete(oldest)
    }
  }

  get(id: string): Sound | undefined {
    const sound = this.#sounds.get(id)
    return sound && toSound([sound], sound.rateHz)
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
