export { AUDIO_FORMAT_NAMES, type AudioFormat, sniffAudio } from "./audio-format.ts"
export { type AudioLengths, audioLengths, minEncodableSamples, placeholderGroups } from "./audio-lengths.ts"
export { CODEC_MEL, type CodecMelConfig, createCodecMel } from "./codec-mel.ts"
export { DEFAULT_MAX_AUDIO_SECONDS, type DecodeAudioOptions, type DecodedAudio, decodeAudio } from "./decode.ts"
export { createRealFft, type RealFft } from "./fft.ts"
export { decodeAlaw, decodeMulaw, encodeAlaw, encodeMulaw } from "./g711.ts"
export { createIstft, type Istft, type IstftOptions, type Spectrum, vocosSpectrum } from "./istft.ts"
export {
  applyMelFilterBank,
  denseMelFilterBank,
  type MelFilterBank,
  type MelFilterBankOptions,
  melFilterBank,
} from "./mel-filterbank.ts"
export { type CrossFader, createCrossFader, crossFade, type FirstPiece } from "./overlap-add.ts"
export {
  checkFinite,
  checkPcm,
  checkSamples,
  concatPcm,
  decodePcm,
  encodePcm,
  floatToInt16,
  int16ToFloat,
  mixToMono,
  PCM_SAMPLE_BYTES,
  type PcmEncoding,
} from "./pcm.ts"
export { createResampler, type Resampler, type ResamplerState, resample, resampleSteps } from "./resample.ts"
export { type FrameLayout, forEachPowerFrame, hannWindow } from "./stft.ts"
export { readWav, readWavMono, type WavAudio, type WavHeaderOptions, wavHeader, writeWav } from "./wav.ts"
export {
  createWhisperMel,
  splitAudio,
  WHISPER_MEL,
  type WhisperMel,
  type WhisperMelBatch,
  type WhisperMelConfig,
  whisperMelConfig,
} from "./whisper-mel.ts"
