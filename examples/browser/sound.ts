/** @file The microphone as pieces of samples, and a loudspeaker that knows how much of its sound was heard. */

/** In the thread of the sound: collects a tenth of a second, mono. */
const COLLECTOR = `registerProcessor("collector", class extends AudioWorkletProcessor {
  kept = new Float32Array(Math.round(sampleRate / 10))
  length = 0
  process([[samples = new Float32Array()]]) {
    for (const sample of samples) {
      this.kept[this.length++] = sample
      if (this.length < this.kept.length) continue
      this.port.postMessage(this.kept)
      this.length = 0
    }
    return true
  }
})`

export async function openMicrophone(
  context: AudioContext,
  onSound: (pcm: Float32Array) => void,
): Promise<{ close(): void }> {
  const audio = { channelCount: 1, echoCancellation: true, noiseSuppression: true }
  const stream = await navigator.mediaDevices.getUserMedia({ audio })
  const script = URL.createObjectURL(new Blob([COLLECTOR], { type: "text/javascript" }))
  await context.audioWorklet.addModule(script).finally(() => URL.revokeObjectURL(script))
  const collector = new AudioWorkletNode(context, "collector", { numberOfOutputs: 0 })
  collector.port.onmessage = ({ data }) => onSound(data as Float32Array)
  context.createMediaStreamSource(stream).connect(collector)
  return {
    close: () => {
      for (const track of stream.getTracks()) track.stop()
    },
  }
}

const RATE_HZ = 24_000

export class Loudspeaker {
  readonly context = new AudioContext()
  private playing: AudioBufferSourceNode[] = []
  private startedAt: number | undefined
  /** When what was given so far will have been played, on the context's clock. */
  private endsAt = 0

  get sampleRateHz(): number {
    return this.context.sampleRate
  }

  get isPlaying(): boolean {
    return this.endsAt > this.context.currentTime
  }

  /** An answer begins. */
  begin(): void {
    this.startedAt = undefined
    if (!this.isPlaying) this.playing = []
  }

  play(pcm: Float32Array): void {
    const buffer = this.context.createBuffer(1, pcm.length, RATE_HZ)
    buffer.copyToChannel(pcm as Float32Array<ArrayBuffer>, 0)
    const source = Object.assign(this.context.createBufferSource(), { buffer })
    source.connect(this.context.destination)
    const at = Math.max(this.endsAt, this.context.currentTime)
    source.start(at)
    this.startedAt ??= at
    this.endsAt = at + buffer.duration
    this.playing.push(source)
  }

  /** Falls silent. @returns how much of the answer was heard, in milliseconds; pauses between pieces count as heard */
  stop(): number {
    const now = Math.min(this.context.currentTime, this.endsAt)
    for (const source of this.playing.splice(0)) source.stop()
    this.endsAt = 0
    return this.startedAt === undefined ? 0 : Math.max(0, (now - this.startedAt) * 1000)
  }
}
