/**
 * @file The 24 kHz log-mel that the speech codec (DVAE) encodes and Vocos renders: magnitudes, HTK bank, natural log.
 * Source: torchaudio `MelSpectrogram(power=1, center, reflect)` with the floor 1e-5 of the ChatTTS processor.
 */
import { f32, type HostTensor } from "../tensor/index.ts"
import { InputError } from "../util/index.ts"
import { createRealFft } from "./fft.ts"
import { applyMelFilterBank, melFilterBank } from "./mel-filterbank.ts"
import { checkPcm } from "./pcm.ts"
import { forEachPowerFrame, hannWindow } from "./stft.ts"

/** Fixed by the official codec. */
export type CodecMelConfig = {
  readonly sampleRateHz: number
  readonly fftSize: number
  readonly hopLength: number
  readonly melBins: number
}

export const CODEC_MEL: CodecMelConfig = { sampleRateHz: 24_000, fftSize: 1024, hopLength: 256, melBins: 100 }

/**
 * @returns a function from mono 24 kHz samples [N] to log-mel [M, 1 + floor(N / hop)];
 * it throws InputError when the audio is empty, non-finite, or too short to be reflected (N ≤ 512)
 */
export function createCodecMel(config: CodecMelConfig = CODEC_MEL): (pcm: Float32Array) => HostTensor<"f32"> {
  const { fftSize, hopLength, melBins, sampleRateHz } = config
  const bank = melFilterBank({ fftSize, melBins, sampleRateHz, scale: "htk", norm: "none" })
  const fft = createRealFft(fftSize)
  const window = hannWindow(fftSize)
  return (pcm) => {
    checkPcm(pcm, "codec mel")
    const margin = fftSize / 2
    if (pcm.length <= margin) {
      throw new InputError(
        `codec mel: expected more than ${margin} samples, got ${pcm.length} (use a longer recording)`,
      )
    }
    const frames = 1 + Math.floor(pcm.length / hopLength)
    const logMel = new Float32Array(melBins * frames)
    const mel = new Float64Array(melBins)
    forEachPowerFrame(reflect(pcm, margin), { fft, window, hopLength, frames }, (spectrum, t) => {
      for (let k = 0; k < spectrum.length; k++) spectrum[k] = Math.sqrt(spectrum[k]!)
      applyMelFilterBank(bank, spectrum, mel)
      for (let m = 0; m < melBins; m++) logMel[m * frames + t] = Math.log(Math.max(mel[m]!, 1e-5))
    })
    return f32([melBins, frames], logMel)
  }
}

/** Mirrors `margin` samples at both ends; the edge samples are not repeated. */
function reflect(pcm: Float32Array, margin: number): Float32Array {
  const padded = new Float32Array(pcm.length + 2 * margin)
  padded.set(pcm, margin)
  for (let i = 1; i <= margin; i++) {
    padded[margin - i] = pcm[i]!
    padded[margin + pcm.length - 1 + i] = pcm[pcm.length - 1 - i]!
  }
  return padded
}
