export {
  type AudioInput,
  copyImage,
  type FileInput,
  type ImageInput,
  readImage,
  readPictureOrSound,
  readSoundInput,
} from "./inputs.web.ts"
export type { PcmInput } from "./raw.ts"
