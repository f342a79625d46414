/** @file What the fake microphone and camera play: files that are made here, and a recording of the test fixtures. */
import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import sharp from "sharp"
import { readWavMono, resample, writeWav } from "../../src/audio/index.ts"

const RECORDING = join(import.meta.dirname, "../fixtures/tiny-a/assets/audio/speech_en.wav")
const RATE_HZ = 48_000
/** Silence before the voice of a file begins. */
const LEAD_S = 0.6

/** Something like a voice: harmonics of a gliding pitch, syllables; then silence. The browser repeats it. */
export function voiceFile(path: string, speechS: number, periodS: number): void {
  const pcm = new Float32Array(periodS * RATE_HZ)
  let phase = 0
  for (let i = 0; i < speechS * RATE_HZ; i++) {
    const t = i / RATE_HZ
    phase += (2 * Math.PI * (140 + 30 * Math.sin(2 * Math.PI * 1.7 * t))) / RATE_HZ
    const syllable = Math.max(0, Math.sin(2 * Math.PI * 3.5 * t)) ** 0.5
    let value = 0
    for (let harmonic = 1; harmonic <= 12; harmonic++) value += Math.sin(harmonic * phase) / harmonic
    pcm[Math.floor(LEAD_S * RATE_HZ) + i] = 0.22 * syllable * value
  }
  writeFileSync(path, writeWav(pcm, { sampleRateHz: RATE_HZ }))
}

/** A sentence that somebody said, then silence up to the period. */
export function recordedVoiceFile(path: string, periodS: number): void {
  const { pcm, sampleRateHz } = readWavMono(readFileSync(RECORDING), RECORDING)
  const whole = new Float32Array(periodS * RATE_HZ)
  whole.set(resample(pcm, sampleRateHz, RATE_HZ), Math.floor(LEAD_S * RATE_HZ))
  writeFileSync(path, writeWav(whole, { sampleRateHz: RATE_HZ }))
}

/** A camera before a wall, red on the left and blue on the right, with a white square that falls. */
export async function cameraFile(path: string, width = 640, height = 360): Promise<void> {
  const half = Math.floor(width / 2)
  const wall = { create: { width, height, channels: 3 as const, background: "#c01818" } }
  const blue = await sharp({ create: { width: width - half, height, channels: 3, background: "#1830c0" } })
    .png()
    .toBuffer()
  const square = await sharp({ create: { width: 40, height: 40, channels: 3, background: "#ffffff" } })
    .png()
    .toBuffer()
  const pictures = Array.from({ length: 20 }, (_, i) =>
    sharp(wall)
      .composite([
        { input: blue, left: half, top: 0 },
        { input: square, left: half - 20, top: Math.floor(((height - 40) * i) / 20) },
      ])
      .jpeg({ quality: 90 })
      .toBuffer(),
  )
  writeFileSync(path, Buffer.concat(await Promise.all(pictures)))
}
