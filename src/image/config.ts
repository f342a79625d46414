/** @file The image part of `preprocessor_config.json`, checked once and named our way. */
import { ConfigError } from "../util/index.ts"
import type { PlaceholderTokens } from "./placeholders.ts"
import type { SliceSettings } from "./slicing.ts"

/** Settings of the image processor. */
export type ImageConfig = SliceSettings & {
  readonly sliceMode: boolean
  readonly useImageId: boolean
  readonly mean: readonly number[] // [3], of values in [0, 1]
  readonly std: readonly number[] // [3]
  readonly tokens: PlaceholderTokens
}

/** What the official processor takes for keys that a file leaves out. */
const DEFAULTS: { readonly [key: string]: unknown } = {
  scale_resolution: 448,
  patch_size: 14,
  max_slice_nums: 9,
  slice_mode: true,
  use_image_id: false,
  image_feature_size: 64,
  norm_mean: [0.5, 0.5, 0.5],
  norm_std: [0.5, 0.5, 0.5],
  im_start: "<image>",
  im_end: "</image>",
  slice_start: "<slice>",
  slice_end: "</slice>",
  im_id_start: "<image_id>",
  im_id_end: "</image_id>",
  unk: "<unk>",
}

/**
 * Reads the image settings of a parsed `preprocessor_config.json`; absent keys take the official processor's defaults, other
 * keys (audio) are left alone.
 * @param source the file's name, for errors
 * @throws ConfigError naming the key that is wrong, or when the file is no object
 */
export function parseImageConfig(json: unknown, source = "preprocessor_config.json"): ImageConfig {
  if (typeof json !== "object" || json === null || Array.isArray(json)) {
    throw new ConfigError(`${source}: expected an object, got ${JSON.stringify(json)} (take the model's own file)`)
  }
  const values = json as Record<string, unknown>
  const read = <T>(key: string, expected: string, is: (value: unknown) => value is T): T => {
    const value = values[key] ?? DEFAULTS[key]
    if (is(value)) return value
    const got = JSON.stringify(value)
    throw new ConfigError(`${source}: expected ${key} to be ${expected}, got ${got} (take the model's own file)`)
  }
  const count = (key: string) =>
    read(key, "a positive whole number", (v): v is number => Number.isSafeInteger(v) && (v as number) > 0)
  const flag = (key: string) => read(key, "true or false", (v): v is boolean => typeof v === "boolean")
  const text = (key: string) => read(key, "a non-empty string", (v): v is string => typeof v === "string" && v !== "")
  const channels = (key: string, positive: boolean) =>
    read(key, positive ? "3 positive numbers" : "3 numbers", (v): v is number[] => {
      const fine = (x: unknown) => typeof x === "number" && Number.isFinite(x) && (!positive || x > 0)
      return Array.isArray(v) && v.length === 3 && v.every(fine)
    })
  return {
    scaleResolution: count("scale_resolution"),
    patchSize: count("patch_size"),
    maxSliceNums: count("max_slice_nums"),
    sliceMode: flag("slice_mode"),
    useImageId: flag("use_image_id"),
    mean: channels("norm_mean", false),
    std: channels("norm_std", true),
    tokens: {
      imageStart: text("im_start"),
      imageEnd: text("im_end"),
      sliceStart: text("slice_start"),
      sliceEnd: text("slice_end"),
      imageIdStart: text("im_id_start"),
      imageIdEnd: text("im_id_end"),
      unknown: text("unk"),
      featureSize: count("image_feature_size"),
    },
  }
}
