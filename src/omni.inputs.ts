/** @file How the library reads what callers give: each platform brings a reader of its pictures and recordings. */
import type { RgbaImage, RgbImage } from "./image/index.ts"
import type { Behaviour, Sound } from "./session/index.ts"

type Reading = {
  /** Names the input in errors, as in `messages[0].content[1]`. */
  readonly source: string
  readonly behaviour?: Behaviour | undefined
  readonly signal?: AbortSignal | undefined
}

/** Makes pixels and samples of what a platform calls a picture and a recording. Methods throw InputError naming `source`. */
export type InputReader<Picture, Recording> = {
  readImage(input: Picture, reading: Reading): Promise<RgbImage>
  readSound(input: Recording, reading: Reading): Promise<Sound>
  /** Which of them it is, the input itself says. */
  readPictureOrSound(
    input: Picture | Recording,
    reading: Reading,
  ): Promise<{ readonly image: RgbImage } | { readonly audio: Sound }>
  /** The picture as nobody else can change it any more, taken at once. */
  copyImage(input: Picture, source: string): Picture
}

/** Copies bytes or pixels, which become plain bytes; undefined for anything else. */
export function copyOfBytes(picture: unknown): Uint8Array | RgbImage | RgbaImage | undefined {
  if (picture instanceof Uint8Array) return new Uint8Array(picture)
  if (picture instanceof ArrayBuffer) return new Uint8Array(picture.slice(0))
  const { data } = Object(picture) as { readonly data?: unknown }
  if (!(data instanceof Uint8Array || data instanceof Uint8ClampedArray)) return undefined
  const { width, height } = picture as RgbaImage
  return { width, height, data: new Uint8Array(data) }
}
