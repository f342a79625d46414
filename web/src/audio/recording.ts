/** @file The sound of a conversation: microphone left, answers right, as 16-bit samples; the oldest go when it is too long. */
import { concatPcm, encodePcm, int16ToFloat, writeWav } from "../omni.ts"

export const RECORDING_RATE_HZ = 24_000

type Piece = { readonly mic: Int16Array; readonly out: Int16Array }

export class Recording {
  readonly #maxSamples: number
  #pieces: Piece[] = []
  #samples = 0

  /** @param maxMinutes what is kept; 192 KB per second of it */
  constructor(maxMinutes = 30) {
    this.#maxSamples = maxMinutes * 60 * RECORDING_RATE_HZ
  }

  get seconds(): number {
    return this.#samples / RECORDING_RATE_HZ
  }

  /** Adds the same moments of both sides; the shorter side is filled with silence. */
  push(mic: Float32Array, out: Float32Array): void {
    const length = Math.max(mic.length, out.length)
    if (length === 0) return
    this.#pieces.push({ mic: pcm16(mic, length), out: pcm16(out, length) })
    this.#samples += length
    while (this.#samples > this.#maxSamples) this.#samples -= this.#pieces.shift()!.mic.length
  }

  clear(): void {
    this.#pieces = []
    this.#samples = 0
  }

  /** A stereo WAV file. */
  wav(): Uint8Array<ArrayBuffer> {
    const mic = concatPcm(this.#pieces.map((piece) => int16ToFloat(piece.mic)))
    const out = concatPcm(this.#pieces.map((piece) => int16ToFloat(piece.out)))
    const both = new Float32Array(2 * mic.length)
    for (let i = 0; i < mic.length; i++) {
      both[2 * i] = mic[i]!
      both[2 * i + 1] = out[i]!
    }
    return writeWav(both, { sampleRateHz: RECORDING_RATE_HZ, channels: 2 })
  }
}

function pcm16(pcm: Float32Array, length: number): Int16Array {
  const samples = new Int16Array(length)
  samples.set(new Int16Array(encodePcm(pcm, "s16").buffer))
  return samples
}
