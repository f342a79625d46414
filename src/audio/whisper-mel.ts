/**
 * @file Log-mel features for the speech encoder, exactly as the official processor makes them: whole waveforms up to
 * 30 seconds each, longer ones split. A streaming call is the same extractor on one chunk, so it inherits four quirks,
 * each tested: the left edge sees the chunk's own reflection, the right edge sees zeros, the dynamic range is clipped
 * against this chunk's maximum alone, and up to two frames past the end count for that maximum but are not returned.
 * Source: WhisperFeatureExtractor (transformers 4.44) and the processor shipped with MiniCPM-o 2.6.
 */
import { f32, type HostTensor, i64 } from "../tensor/index.ts"
import { ConfigError, InputError } from "../util/index.ts"
import { audioLengths, minEncodableSamples } from "./audio-lengths.ts"
import { createRealFft } from "./fft.ts"
import { applyMelFilterBank, melFilterBank } from "./mel-filterbank.ts"
import { checkPcm, concatPcm } from "./pcm.ts"
import { forEachPowerFrame, hannWindow } from "./stft.ts"

/** The audio part of `preprocessor_config.json`. */
export type WhisperMelConfig = {
  readonly sampleRateHz: number
  readonly fftSize: number
  readonly hopLength: number
  readonly melBins: number
  /** Longest waveform of one extraction (30 s); longer ones are split there. */
  readonly maxSamples: number
}

/** The values of the official checkpoint. */
export const WHISPER_MEL: WhisperMelConfig = {
  sampleRateHz: 16_000,
  fftSize: 400,
  hopLength: 160,
  melBins: 80,
  maxSamples: 480_000,
}

/**
 * Reads the audio keys of `preprocessor_config.json`; absent keys keep the official values.
 * @throws ConfigError when a value is not usable
 */
export function whisperMelConfig(preprocessorConfig: Readonly<Record<string, unknown>>): WhisperMelConfig {
  const read = (key: string, fallback: number): number => {
    const value = preprocessorConfig[key] ?? fallback
    if (typeof value === "number" && Number.isInteger(value) && value > 0) return value
    throw new ConfigError(`preprocessor_config.json ${key}: expected a positive integer, got ${JSON.stringify(value)}`)
  }
  const sampleRateHz = read("sampling_rate", WHISPER_MEL.sampleRateHz)
  const config: WhisperMelConfig = {
    sampleRateHz,
    fftSize: read("n_fft", WHISPER_MEL.fftSize),
    hopLength: read("hop_length", WHISPER_MEL.hopLength),
    melBins: read("feature_size", WHISPER_MEL.melBins),
    maxSamples: read("n_samples", read("chunk_length", 30) * sampleRateHz),
  }
  if (config.fftSize % 2 !== 0) {
    throw new ConfigError(`preprocessor_config.json n_fft: expected an even size, got ${config.fftSize}`)
  }
  if (config.maxSamples % config.hopLength !== 0 || config.maxSamples <= config.fftSize) {
    throw new ConfigError(
      `preprocessor_config.json n_samples: expected a multiple of hop_length ${config.hopLength} beyond n_fft, ` +
        `got ${config.maxSamples}`,
    )
  }
  return config
}

/** Segments of one sample, right-padded with zeros to the longest. */
export type WhisperMelBatch = {
  /** // [B, M, L]; padding is 0.0, although silence is -1.5 */
  readonly features: HostTensor<"f32">
  /** Valid frames per segment.  // [B] */
  readonly featureLens: HostTensor<"i64">
  /** The segments without padding.  // each [M, L] */
  readonly segments: readonly HostTensor<"f32">[]
}

/** Extractor with its tables; stateless between calls. */
export type WhisperMel = {
  readonly config: WhisperMelConfig
  /**
   * Features of one waveform, as for a streaming call: nothing is remembered from earlier chunks.
   * @param pcm mono samples at 16 kHz, at most 30 s  // [N]
   * @returns log-mel  // [M, ceil(N / hop)]
   * @throws InputError when empty, non-finite or longer than 30 s
   */
  extract(pcm: Float32Array): HostTensor<"f32">
  /**
   * Features of the audio items of a conversation: items with equal, adjacent `parts` are joined as waveforms, each
   * result is split every 30 s. A last piece may be too short for one token: no placeholder stands for it.
   * @param parts per item the index of its message; without it nothing is joined
   * @throws InputError when an item is empty or non-finite, or a joined waveform is too short for one audio token
   */
  extractBatch(items: readonly Float32Array[], parts?: readonly number[], poolStep?: number): WhisperMelBatch
  /** What `extractBatch` makes segments of, for those who extract them one by one; throws alike.  // each [N] */
  split(items: readonly Float32Array[], parts?: readonly number[], poolStep?: number): Float32Array[]
  /** Segments [M, L] as one batch. */
  pad(segments: readonly HostTensor<"f32">[]): WhisperMelBatch
}

/** Builds the extractor for one configuration. */
export function createWhisperMel(config: WhisperMelConfig = WHISPER_MEL): WhisperMel {
  const { fftSize, hopLength, melBins, maxSamples, sampleRateHz } = config
  const bank = melFilterBank({ fftSize, melBins, sampleRateHz, scale: "slaney", norm: "slaney" })
  const fft = createRealFft(fftSize)
  const window = hannWindow(fftSize)

  const extract = (pcm: Float32Array): HostTensor<"f32"> => {
    checkPcm(pcm, "mel")
    if (pcm.length > maxSamples) {
      throw new InputError(`mel: expected at most ${maxSamples} samples, got ${pcm.length} (split the audio first)`)
    }
    const kept = audioLengths(pcm.length, 2, hopLength).melFrames
    // Frames that touch a sample; later ones are silence and cannot raise the maximum. The very last frame of the
    // padded buffer is not computed: the official code drops it before the maximum is taken.
    const frames = Math.min(Math.ceil((pcm.length + fftSize / 2) / hopLength), maxSamples / hopLength)
    const logMel = new Float32Array(melBins * kept)
    const mel = new Float64Array(melBins)
    let maximum = -10
    const padded = padChunk(pcm, config, frames)
    forEachPowerFrame(padded, { fft, window, hopLength, frames }, (power, t) => {
      applyMelFilterBank(bank, power, mel)
      for (let m = 0; m < melBins; m++) {
        const value = Math.log10(Math.max(mel[m]!, 1e-10))
        if (value > maximum) maximum = value
        if (t < kept) logMel[m * kept + t] = value
      }
    })
    const floor = maximum - 8
    for (let i = 0; i < logMel.length; i++) logMel[i] = (Math.max(logMel[i]!, floor) + 4) / 4
    return f32([melBins, kept], logMel)
  }

  const split = (items: readonly Float32Array[], parts?: readonly number[], poolStep = 2): Float32Array[] => {
    const minSamples = minEncodableSamples(poolStep, hopLength)
    const pieces: Float32Array[] = []
    for (const pcm of joinParts(items, parts)) {
      if (pcm.length < minSamples) {
        throw new InputError(`audio: expected at least ${minSamples} samples, got ${pcm.length} (too short to encode)`)
      }
      pieces.push(...splitAudio(pcm, maxSamples))
    }
    return pieces
  }
  const pad = (segments: readonly HostTensor<"f32">[]) => padSegments(segments, melBins)
  const extractBatch: WhisperMel["extractBatch"] = (...of) => pad(split(...of).map(extract))
  return { config, extract, extractBatch, split, pad }
}

/** Cuts a waveform every `maxSamples` samples; views, not copies. */
export function splitAudio(pcm: Float32Array, maxSamples: number): Float32Array[] {
  return Array.from({ length: Math.ceil(pcm.length / maxSamples) }, (_, i) =>
    pcm.subarray(i * maxSamples, (i + 1) * maxSamples),
  )
}

/** Reflection on the left, zeros on the right; within the last 200 samples of the 30 s buffer, reflection there too. */
function padChunk(pcm: Float32Array, config: WhisperMelConfig, frames: number): Float32Array {
  const { fftSize, hopLength, maxSamples } = config
  const margin = fftSize / 2
  const padded = new Float32Array((frames - 1) * hopLength + fftSize)
  padded.set(pcm.subarray(0, padded.length - margin), margin)
  for (let i = 1; i <= margin && i < pcm.length; i++) padded[margin - i] = pcm[i]!
  for (let i = maxSamples + margin; i < padded.length; i++) {
    padded[i] = padded[2 * (maxSamples + margin - 1) - i]! // mirror around the last sample of the buffer
  }
  return padded
}

/** Joins adjacent items of the same part; every item is checked under its own number. */
function joinParts(items: readonly Float32Array[], parts?: readonly number[]): Float32Array[] {
  if (parts && parts.length !== items.length) {
    throw new InputError(`audio: expected one part per item (${items.length}), got ${parts.length}`)
  }
  const groups: Float32Array[][] = []
  items.forEach((pcm, i) => {
    checkPcm(pcm, `audio ${i}`)
    const last = groups.at(-1)
    if (parts && last && parts[i] === parts[i - 1]) last.push(pcm)
    else groups.push([pcm])
  })
  return groups.map((group) => (group.length === 1 ? group[0]! : concatPcm(group)))
}

function padSegments(segments: readonly HostTensor<"f32">[], melBins: number): WhisperMelBatch {
  const lens = segments.map((segment) => segment.shape[1]!)
  const longest = Math.max(0, ...lens)
  const data = new Float32Array(segments.length * melBins * longest)
  segments.forEach((segment, b) => {
    for (let m = 0; m < melBins; m++) {
      const row = segment.data.subarray(m * lens[b]!, (m + 1) * lens[b]!)
      data.set(row, (b * melBins + m) * longest)
    }
  })
  return {
    features: f32([segments.length, melBins, longest], data),
    featureLens: i64([segments.length], lens),
    segments,
  }
}
