/**
 * @file Prints what the audio front ends measure: pass-band ripple and alias level of the resampler, and the time that
 * mel features, resampling and the inverse transform take per second of audio. Run: `npx node scripts/audio-figures.ts`
 */
import { createCodecMel, createIstft, createResampler, createWhisperMel, resample } from "../src/audio/index.ts"
import { gainDb } from "../src/audio/resample.test-util.ts"

const PAIRS = [
  [48000, 16000],
  [44100, 16000],
  [24000, 16000],
  [16000, 24000],
  [24000, 48000],
  [24000, 44100],
  [8000, 16000],
  [44101, 16000],
] as const

const noise = (samples: number) => Float32Array.from({ length: samples }, (_, n) => 0.3 * Math.sin(n * n * 0.01))

/** Fastest of several runs after a warm-up, in ms: the machine is shared, and disturbances only add. */
function fastestMs(work: () => void, runs = 12): number {
  let fastest = Number.POSITIVE_INFINITY
  for (let i = 0; i < runs + 3; i++) {
    const started = performance.now()
    work()
    if (i >= 3) fastest = Math.min(fastest, performance.now() - started)
  }
  return fastest
}

function figures(fromHz: number, toHz: number): string {
  const nyquist = Math.min(fromHz, toHz) / 2
  const sweep = (from: number, to: number, points: number) =>
    Array.from({ length: points }, (_, i) => gainDb(fromHz, toHz, from + ((to - from) * i) / (points - 1)))
  const ripple = Math.max(...sweep(50, 0.9 * nyquist, 30).map(Math.abs))
  const edge = gainDb(fromHz, toHz, 0.95 * nyquist)
  const alias = fromHz > toHz ? Math.max(...sweep(nyquist * 1.0005, fromHz / 2 - 10, 40)) : Number.NaN
  const pcm = noise(fromHz)
  const ms = fastestMs(() => resample(pcm, fromHz, toHz))
  const chunked = fastestMs(() => {
    const resampler = createResampler({ fromHz, toHz })
    for (let i = 0; i < fromHz; i += fromHz / 50) resampler.push(pcm.subarray(i, i + fromHz / 50))
  })
  const { lookAheadSamples } = createResampler({ fromHz, toHz })
  return [
    `${fromHz} -> ${toHz}`.padEnd(16),
    `ripple ${ripple.toFixed(5)} dB to 0.9 Nyquist, ${edge.toFixed(2)} dB at 0.95,`,
    fromHz > toHz ? `alias ${alias.toFixed(1)} dB,` : "",
    `look-ahead ${((1000 * lookAheadSamples) / fromHz).toFixed(2)} ms,`,
    `${ms.toFixed(2)} ms/s whole, ${chunked.toFixed(2)} ms/s in 20 ms chunks`,
  ].join(" ")
}

for (const [fromHz, toHz] of PAIRS) console.log(figures(fromHz, toHz))

const mel = createWhisperMel()
const second = noise(16000)
console.log(`log-mel 16 kHz, one-second chunks: ${fastestMs(() => mel.extract(second)).toFixed(2)} ms/s`)
const half = noise(480000)
console.log(`log-mel 16 kHz, 30 s at once: ${(fastestMs(() => mel.extract(half)) / 30).toFixed(2)} ms/s`)
const codecMel = createCodecMel()
const second24 = noise(24000)
console.log(`codec mel 24 kHz: ${fastestMs(() => codecMel(second24)).toFixed(2)} ms/s`)
const frames = 94
const values = Float64Array.from({ length: frames * 513 }, (_, n) => Math.sin(n))
const istftMs = fastestMs(() => createIstft({ fftSize: 1024, hopLength: 256 }).push({ frames, re: values, im: values }))
console.log(`inverse transform 24 kHz: ${istftMs.toFixed(2)} ms/s`)
