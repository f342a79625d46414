/**
 * @file Triangular mel filter banks: Slaney's scale with area normalization (16 kHz, Whisper) and the HTK scale
 * without (24 kHz, speech codec). Stored sparse, since each filter touches a few of the bins.
 */

/** Which bank to build. */
export type MelFilterBankOptions = {
  readonly fftSize: number
  readonly melBins: number
  readonly sampleRateHz: number
  readonly scale: "slaney" | "htk"
  /** `slaney` divides each filter by its width in Hz, halved; `none` leaves the peak at 1. */
  readonly norm: "slaney" | "none"
}

/** A bank of `melBins` filters from 0 Hz to Nyquist over `fftSize / 2 + 1` bins. */
export type MelFilterBank = {
  readonly melBins: number
  readonly fftBins: number
  /** First bin with a non-zero weight, per filter.  // [M] */
  readonly starts: Int32Array
  /** Where each filter's weights begin in `weights`, with the end as last entry.  // [M + 1] */
  readonly offsets: Int32Array
  readonly weights: Float32Array
}

/** Builds a bank. Sources: librosa `filters.mel` (slaney), torchaudio `melscale_fbanks` (htk). */
export function melFilterBank(options: MelFilterBankOptions): MelFilterBank {
  const { fftSize, melBins, sampleRateHz, norm } = options
  const { toMel, toHz } = SCALES[options.scale]
  const fftBins = fftSize / 2 + 1
  const topMel = toMel(sampleRateHz / 2)
  const edges = Float64Array.from({ length: melBins + 2 }, (_, i) => toHz((topMel * i) / (melBins + 1)))
  const starts = new Int32Array(melBins)
  const offsets = new Int32Array(melBins + 1)
  const weights: number[] = []
  for (let m = 0; m < melBins; m++) {
    const [low, peak, high] = [edges[m]!, edges[m + 1]!, edges[m + 2]!]
    const scale = norm === "slaney" ? 2 / (high - low) : 1
    starts[m] = -1
    for (let k = 0; k < fftBins; k++) {
      const hz = (k * sampleRateHz) / fftSize
      const weight = Math.min((hz - low) / (peak - low), (high - hz) / (high - peak))
      if (weight <= 0) continue
      if (starts[m]! < 0) starts[m] = k
      weights.push(weight * scale)
    }
    offsets[m + 1] = weights.length
  }
  return { melBins, fftBins, starts, offsets, weights: Float32Array.from(weights) }
}

/** Sums a spectrum into mel bands: `mel[m] = Σ_k W[k, m] · spectrum[k]`. */
export function applyMelFilterBank(bank: MelFilterBank, spectrum: Float64Array, mel: Float64Array): void {
  for (let m = 0; m < bank.melBins; m++) {
    const end = bank.offsets[m + 1]!
    let bin = bank.starts[m]!
    let sum = 0
    for (let i = bank.offsets[m]!; i < end; i++) sum += bank.weights[i]! * spectrum[bin++]!
    mel[m] = sum
  }
}

/** The same bank as a full matrix, for comparison and for graphs.  // [fftBins, M] row-major */
export function denseMelFilterBank(bank: MelFilterBank): Float32Array {
  const dense = new Float32Array(bank.fftBins * bank.melBins)
  for (let m = 0; m < bank.melBins; m++) {
    const length = bank.offsets[m + 1]! - bank.offsets[m]!
    for (let i = 0; i < length; i++)
      dense[(bank.starts[m]! + i) * bank.melBins + m] = bank.weights[bank.offsets[m]! + i]!
  }
  return dense
}

const LOG_STEP = Math.log(6.4) / 27 // Slaney: 27 mels per factor 6.4 above 1 kHz
const SCALES = {
  slaney: {
    toMel: (hz: number) => (hz < 1000 ? (3 * hz) / 200 : 15 + Math.log(hz / 1000) / LOG_STEP),
    toHz: (mel: number) => (mel < 15 ? (200 * mel) / 3 : 1000 * Math.exp((mel - 15) * LOG_STEP)),
  },
  htk: {
    toMel: (hz: number) => 2595 * Math.log10(1 + hz / 700),
    toHz: (mel: number) => 700 * (10 ** (mel / 2595) - 1),
  },
}
