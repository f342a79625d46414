/**
 * @file One sequence of embeddings: text first, then the rows of images and sound over their placeholders.
 * Source: `get_vllm_embedding` and `get_omni_embedding` of the official code.
 */
import { f32, f32Data, type HostTensor } from "../tensor/index.ts"
import { ShapeError } from "../util/index.ts"
import { type PromptSpans, type Span, spanLength } from "./prompt-spans.ts"

/** Embeddings in the order in which their placeholders appear. */
export type MediaEmbeds = {
  /** A block of rows for each image span.  // [N, Q, D] */
  readonly images?: HostTensor
  /** Tokens of each encoded segment; segments need not match spans.  // [A, D] each */
  readonly audio?: readonly HostTensor[]
}

/**
 * Puts embeddings into their spans; sound comes after images, and may only fill its own spans.
 *
 * Quirk, intended, as in the official code: all segments count as one run of tokens that fills the audio spans in order,
 * and tokens without a placeholder are dropped at the end.
 * @param embeds of the prompt's ids, [1, T, D]; taken over and changed
 * @throws ShapeError when widths differ, image blocks do not match spans, or tokens are fewer than placeholders
 */
export function mergeEmbeds(
  embeds: HostTensor<"f32">,
  { imageSpans, audioSpans }: Pick<PromptSpans, "imageSpans" | "audioSpans">,
  { images, audio = [] }: MediaEmbeds,
): HostTensor<"f32"> {
  const [, total, width] = embeds.shape as [number, number, number]
  const blocks = images?.shape[0] ?? 0
  const wanted = spanLength(imageSpans)
  const rows = images ? blocks * images.shape[1]! : 0
  if (blocks !== imageSpans.length || rows !== wanted) {
    throw new ShapeError(
      `merge: expected image embeddings for ${imageSpans.length} spans of ${wanted} positions together, ` +
        `got ${blocks} blocks of ${rows} rows (the prompt and its images do not belong together)`,
    )
  }
  const places = spanLength(audioSpans)
  const tokens = audio.reduce((sum, segment) => sum + segment.shape[0]!, 0)
  if (tokens < places) {
    throw new ShapeError(
      `merge: expected at least ${places} audio tokens for as many placeholders, got ${tokens} ` +
        "(the prompt and its sound do not belong together)",
    )
  }
  const sources = [...(images ? [images] : []), ...audio]
  for (const { shape } of sources) {
    if (shape.at(-1) !== width) {
      throw new ShapeError(`merge: expected embeddings ${width} wide, got [${shape.join(", ")}] (check the config)`)
    }
  }
  if (images) fill(embeds.data, width, total, imageSpans, [images])
  fill(embeds.data, width, total, audioSpans, audio)
  return f32(embeds.shape, embeds.data)
}

/** Copies rows of the sources, one after the other, into the spans in order. */
function fill(
  target: Float32Array,
  width: number,
  total: number,
  spans: readonly Span[],
  sources: readonly HostTensor[],
): void {
  const positions = spans.flatMap(([start, end]) => Array.from({ length: end - start }, (_, i) => start + i))
  if (positions.some((position) => position >= total)) {
    throw new ShapeError(`merge: expected spans within ${total} positions, got one beyond (is this another prompt?)`)
  }
  let next = 0
  for (const source of sources) {
    const data = f32Data(source)
    for (let row = 0; row < data.length / width && next < positions.length; row++) {
      target.set(data.subarray(row * width, (row + 1) * width), positions[next++]! * width)
    }
  }
}
