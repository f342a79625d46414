/**
 * @file The audio worklet: plays the queue and hands out microphone and loudspeaker together, about 25 times a second. One
 * node for both directions, so that both share a clock.
 */
import { PlayQueue } from "./play-queue.ts"
import { DUPLEX, type FromWorklet, type ToWorklet } from "./worklet-messages.ts"

declare const sampleRate: number
declare function registerProcessor(name: string, processor: new () => AudioWorkletProcessor): void
declare class AudioWorkletProcessor {
  readonly port: MessagePort
}

const QUANTUM = 128
/** Frames per chunk: the whole quanta nearest to 40 ms. */
const CHUNK = Math.round((sampleRate * 0.04) / QUANTUM) * QUANTUM

class Duplex extends AudioWorkletProcessor {
  readonly #queue = new PlayQueue()
  readonly #started = new Set<string>()
  #mic = new Float32Array(CHUNK)
  #out = new Float32Array(CHUNK)
  #filled = 0

  constructor() {
    super()
    this.port.onmessage = ({ data }: MessageEvent<ToWorklet>) => {
      if (data.type === "play") this.#queue.enqueue(data.id, data.pcm)
      else this.#post({ type: "flushed", token: data.token, played: this.#queue.flush(QUANTUM) })
    }
  }

  process(inputs: Float32Array[][], outputs: Float32Array[][]): boolean {
    const out = outputs[0]![0]!
    this.#queue.read(out)
    for (const channel of outputs[0]!.slice(1)) channel.set(out)
    const mic = inputs[0]?.[0]
    if (mic) this.#mic.set(mic, this.#filled)
    else this.#mic.fill(0, this.#filled, this.#filled + out.length)
    this.#out.set(out, this.#filled)
    this.#filled += out.length
    const played = this.#queue.takeChanges()
    for (const { id } of played) this.#start(id)
    for (const one of played) this.#counts.set(one.id, one.samples)
    if (this.#filled >= CHUNK) this.#emit()
    return true
  }

  readonly #counts = new Map<string, number>()

  #start(id: string): void {
    if (this.#started.has(id)) return
    this.#started.add(id)
    for (const old of this.#started) {
      if (this.#started.size <= 64) break
      this.#started.delete(old)
    }
    this.#post({ type: "started", id })
  }

  #emit(): void {
    const played = [...this.#counts].map(([id, samples]) => ({ id, samples }))
    this.#post({ type: "chunk", mic: this.#mic, out: this.#out, played }, [this.#mic.buffer, this.#out.buffer])
    this.#counts.clear()
    this.#mic = new Float32Array(CHUNK)
    this.#out = new Float32Array(CHUNK)
    this.#filled = 0
  }

  #post(message: FromWorklet, transfer: Transferable[] = []): void {
    this.port.postMessage(message, transfer)
  }
}

registerProcessor(DUPLEX, Duplex)
