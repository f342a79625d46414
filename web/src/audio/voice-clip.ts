/** @file A voice to speak with: five seconds of the microphone, or a sound file, as mono WAV at 24 kHz. */
import { decodeSound } from "../chat/attachments.ts"
import { concatPcm, writeWav } from "../omni.ts"
import { openMicrophone, stopStream } from "./microphone.ts"
import { Sound } from "./sound.ts"

const RATE_HZ = 24_000
export const CLIP_SECONDS = 5
const LONGEST_SECONDS = 30

/** Records the microphone. @throws DOMException when it cannot be opened, the signal's reason */
export async function recordClip(onSeconds: (left: number) => void, signal: AbortSignal): Promise<Blob> {
  const microphone = await openMicrophone()
  const pieces: Float32Array[] = []
  let samples = 0
  let enough: () => void = () => undefined
  const recorded = new Promise<void>((resolve) => {
    enough = resolve
  })
  let sound: Sound | undefined
  try {
    sound = await Sound.open(microphone, {
      onChunk: (mic) => {
        pieces.push(mic)
        samples += mic.length
        onSeconds(Math.max(0, Math.ceil(CLIP_SECONDS - samples / RATE_HZ)))
        if (samples >= CLIP_SECONDS * RATE_HZ) enough()
      },
    })
    signal.addEventListener("abort", enough, { once: true })
    if (!signal.aborted) await recorded
  } finally {
    stopStream(microphone)
    await sound?.close()
  }
  signal.throwIfAborted()
  return wavOf(concatPcm(pieces).subarray(0, CLIP_SECONDS * RATE_HZ))
}

/** A sound file's first half minute. Undefined when it is shorter than a second. @throws DOMException for what is no sound */
export async function fileClip(file: File): Promise<Blob | undefined> {
  const pcm = await decodeSound(file, RATE_HZ)
  return pcm.length < RATE_HZ ? undefined : wavOf(pcm.subarray(0, LONGEST_SECONDS * RATE_HZ))
}

const wavOf = (pcm: Float32Array) => new Blob([writeWav(pcm, { sampleRateHz: RATE_HZ })], { type: "audio/wav" })
