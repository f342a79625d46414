/**
 * @file Microphone and loudspeaker of one call or chat, in 24 kHz samples whatever the device runs at. What is said to be
 * played is what has left the queue, less what still waits in the device.
 */
import { createResampler, type Resampler } from "../omni.ts"
import { pcmFromBase64 } from "./base64.ts"
import workletUrl from "./duplex-worklet.ts?worker&url"
import { DUPLEX, type FromWorklet, type ToWorklet } from "./worklet-messages.ts"

const WIRE_HZ = 24_000

export type SoundParts = {
  /** The same moments of microphone and loudspeaker at 24 kHz, about 25 times a second. */
  readonly onChunk?: (mic: Float32Array, out: Float32Array) => void
  readonly onStarted?: (id: string, atMs: number) => void
  readonly onPlayed?: (id: string, playedMs: number) => void
}

type Item = { readonly resampler: Resampler; queued: number }

export class Sound {
  readonly context: AudioContext
  readonly #node: AudioWorkletNode
  readonly #parts: SoundParts
  readonly #items = new Map<string, Item>()
  readonly #flushes = new Map<number, (played: ReadonlyMap<string, number>) => void>()
  readonly #capture: Resampler
  readonly #render: Resampler
  #token = 0

  /** @param microphone a stream with an audio track; without it there is only playback */
  static async open(microphone: MediaStream | undefined, parts: SoundParts): Promise<Sound> {
    const context = new AudioContext({ latencyHint: "interactive" })
    try {
      await context.audioWorklet.addModule(workletUrl)
      if (context.state === "suspended") await context.resume()
      return new Sound(context, microphone, parts)
    } catch (error) {
      await context.close()
      throw error
    }
  }

  private constructor(context: AudioContext, microphone: MediaStream | undefined, parts: SoundParts) {
    this.context = context
    this.#parts = parts
    this.#capture = createResampler({ fromHz: context.sampleRate, toHz: WIRE_HZ })
    this.#render = createResampler({ fromHz: context.sampleRate, toHz: WIRE_HZ })
    this.#node = new AudioWorkletNode(context, DUPLEX, {
      numberOfInputs: 1,
      numberOfOutputs: 1,
      outputChannelCount: [1],
      channelCount: 1,
      channelCountMode: "explicit",
    })
    this.#node.port.onmessage = ({ data }: MessageEvent<FromWorklet>) => this.#receive(data)
    if (microphone) context.createMediaStreamSource(microphone).connect(this.#node)
    this.#node.connect(context.destination)
  }

  /** Time until a sample that leaves the queue is heard. */
  get #delayMs(): number {
    return 1000 * (this.context.baseLatency + (this.context.outputLatency || 0))
  }

  /** Appends 16-bit PCM in base64 to what is played. */
  play(id: string, audio: string): void {
    let item = this.#items.get(id)
    if (!item) {
      item = { resampler: createResampler({ fromHz: WIRE_HZ, toHz: this.context.sampleRate }), queued: 0 }
      this.#items.set(id, item)
    }
    this.#queue(id, item, item.resampler.push(pcmFromBase64(audio)))
  }

  /** No more sound of this item will come. */
  end(id: string): void {
    const item = this.#items.get(id)
    if (item) this.#queue(id, item, item.resampler.flush())
  }

  /** Stops playing at once. @returns milliseconds of the item that were heard */
  async flush(id: string): Promise<number> {
    const token = ++this.#token
    const played = await new Promise<ReadonlyMap<string, number>>((resolve) => {
      this.#flushes.set(token, resolve)
      this.#post({ type: "flush", token })
    })
    const queued = this.#items.get(id)?.queued ?? 0
    this.#items.delete(id)
    return Math.max(0, ((played.get(id) ?? queued) * 1000) / this.context.sampleRate - this.#delayMs)
  }

  /** Phones stop sound while another program rings. */
  resume(): void {
    if (this.context.state !== "running") void this.context.resume().catch(() => undefined)
  }

  async close(): Promise<void> {
    this.#node.port.onmessage = null
    this.#node.disconnect()
    for (const resolve of this.#flushes.values()) resolve(new Map())
    this.#flushes.clear()
    await this.context.close()
  }

  #queue(id: string, item: Item, pcm: Float32Array): void {
    if (pcm.length === 0) return
    item.queued += pcm.length
    this.#post({ type: "play", id, pcm }, [pcm.buffer])
  }

  #receive(message: FromWorklet): void {
    switch (message.type) {
      case "chunk": {
        for (const { id, samples } of message.played)
          this.#parts.onPlayed?.(id, Math.max(0, (samples * 1000) / this.context.sampleRate))
        this.#parts.onChunk?.(this.#capture.push(message.mic), this.#render.push(message.out))
        return
      }
      case "started":
        this.#parts.onStarted?.(message.id, performance.now() + this.#delayMs)
        return
      case "flushed":
        this.#flushes.get(message.token)?.(new Map(message.played.map(({ id, samples }) => [id, samples])))
        this.#flushes.delete(message.token)
    }
  }

  #post(message: ToWorklet, transfer: Transferable[] = []): void {
    this.#node.port.postMessage(message, transfer)
  }
}
