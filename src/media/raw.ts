/** @file Pictures and sound that are decoded already, in any environment: pixels and samples of callers, checked. */
import { checkPcm, checkSamples } from "../audio/index.ts"
import { checkPixels, type ImageBehaviour, type RgbaImage, type RgbImage, toRgb } from "../image/index.ts"
import { InputError } from "../util/index.ts"

/** Mono sound in memory: floats in [-1, 1], or 16-bit samples. */
export type PcmInput = { readonly pcm: Float32Array | Int16Array; readonly sampleRateHz: number }

/** How an input is read. */
export type Reading = {
  /** Names the input in errors, as in `messages[0].content[1]`. */
  readonly source: string
  readonly behaviour?: ImageBehaviour | undefined
  readonly signal?: AbortSignal | undefined
}

/** What else the input might have been, for the error. */
type Forms = { readonly source: string; readonly forms: string }

/** @throws InputError naming `source` when it is no RGB or RGBA image */
export function readPixels(
  input: unknown,
  { source, forms, behaviour }: Forms & { readonly behaviour: ImageBehaviour },
): RgbImage {
  const { width, height, data } = Object(input) as Partial<RgbImage | RgbaImage>
  if (width === undefined || height === undefined || data === undefined)
    throw unknownInput(source, `${forms}, or { width, height, data }`, input)
  if (data.length === width * height * 4) return toRgb({ width, height, data }, behaviour)
  checkPixels(source, { width, height, data }, 3)
  return { width, height, data: data as Uint8Array }
}

/** @throws InputError naming `source` when it is no sound, or has samples that are no numbers */
export function readPcm(input: unknown, { source, forms }: Forms): { pcm: Float32Array; sampleRateHz: number } {
  const { pcm, sampleRateHz } = Object(input) as Partial<PcmInput>
  if (pcm === undefined) throw unknownInput(source, `${forms}, or { pcm, sampleRateHz }`, input)
  const floats = checkSamples(`${source}: pcm`, pcm)
  if (!(sampleRateHz !== undefined && Number.isFinite(sampleRateHz) && sampleRateHz > 0))
    throw new InputError(`${source}: expected a sampleRateHz above 0, got ${sampleRateHz}`)
  checkPcm(floats, source)
  return { pcm: floats, sampleRateHz }
}

function unknownInput(source: string, expected: string, got: unknown): InputError {
  const shown =
    typeof got === "object" && got !== null ? `an object with ${Object.keys(got).join(", ") || "nothing"}` : typeof got
  return new InputError(`${source}: expected ${expected}, got ${shown}`)
}
