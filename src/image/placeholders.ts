/** @file The text that stands for an image in a prompt; its `unknown` tokens are later replaced by vision features. */
import type { Grid } from "./slicing.ts"

/** Special strings around image features, and how many features one block has. */
export type PlaceholderTokens = {
  readonly imageStart: string
  readonly imageEnd: string
  readonly sliceStart: string
  readonly sliceEnd: string
  readonly imageIdStart: string
  readonly imageIdEnd: string
  readonly unknown: string
  readonly featureSize: number // positions per block: the number of vision queries
}

/**
 * Placeholder of one image: number, overview, then the slices, one line per row. No line break follows the overview or
 * the last row.
 * @param grid slices of the image, if it has any
 * @param imageIndex number of the image within its prompt, from 0; left out for video, omni and streaming
 */
export function imagePlaceholder(tokens: PlaceholderTokens, grid?: Grid, imageIndex?: number): string {
  const features = tokens.unknown.repeat(tokens.featureSize)
  const id = imageIndex === undefined ? "" : `${tokens.imageIdStart}${imageIndex}${tokens.imageIdEnd}`
  const overview = `${tokens.imageStart}${features}${tokens.imageEnd}`
  if (!grid) return id + overview
  const row = `${tokens.sliceStart}${features}${tokens.sliceEnd}`.repeat(grid.cols)
  return id + overview + Array<string>(grid.rows).fill(row).join("\n")
}
