export { type EncodeOptions, SOUND_FORMATS, type SoundFormat, SoundWriter, type StreamFormat } from "./encode.ts"
export { DEFAULT_PROGRAMS, MEDIA_SAMPLE_RATE_HZ, type Programs } from "./ffmpeg.ts"
export {
  type AudioInput,
  type FileInput,
  type ImageInput,
  readImage,
  readPictureOrSound,
  readSoundInput,
} from "./inputs.ts"
export { type MediaOptions, openVideo, readAudioFile, type Video } from "./open.ts"
export type { PcmInput } from "./raw.ts"
export { type MediaStreams, type MediaUnit, mediaUnits } from "./units.ts"
