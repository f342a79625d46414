/**
 * @file Bicubic resize of 8-bit RGB, bit for bit as Pillow does it: a cubic kernel (a = -0.5) widened when shrinking,
 * weights rounded to 22-bit fixed point, a horizontal pass to 8 bits and then a vertical one. The model was trained on
 * images resized this way. Quirk: newer Pillow versions resize very tall images vertically first; the pinned one and
 * this one never do.
 *
 * Source: Pillow 10.1, Resample.c (the arithmetic, not the text).
 */
import { InputError, runAtOnce } from "../util/index.ts"
import { checkPixels, type RgbImage } from "./rgb-image.ts"

/** Part of an image in pixels, right and bottom exclusive; fractions are allowed. */
export type ResizeBox = { readonly left: number; readonly top: number; readonly right: number; readonly bottom: number }

const FRACTION_BITS = 22 // 8 bits of result, 2 of headroom for the kernel's overshoot, in 32
const ONE = 2 ** FRACTION_BITS
const HALF = 2 ** (FRACTION_BITS - 1)
const SUPPORT = 2 // the cubic kernel ends here
const A = -0.5
/** Pixels times weights of one step: a tenth of a second, where a photo of 12 megapixels takes half of one and more. */
const STEP_PRODUCTS = 2 ** 24

/** Which inputs make each output of one axis, and with which fixed-point weights. */
type AxisWeights = {
  readonly taps: number // row length of `weights`
  readonly first: Int32Array // [outputs]
  readonly count: Int32Array // [outputs]
  readonly weights: Int32Array // [outputs, taps]
}

function cubic(distance: number): number {
  const t = Math.abs(distance)
  if (t < 1) return ((A + 2) * t - (A + 3)) * t * t + 1
  if (t < 2) return (((t - 5) * t + 8) * t - 4) * A
  return 0
}

/** Weights for mapping [from, to) of `inputs` pixels onto `outputs`; computed in f64 and in this order, then rounded. */
function axisWeights(inputs: number, from: number, to: number, outputs: number): AxisWeights {
  const scale = (to - from) / outputs
  const stretch = Math.max(scale, 1)
  const support = SUPPORT * stretch
  const inverse = 1 / stretch
  const taps = Math.min(Math.ceil(support) * 2 + 1, inputs)
  const first = new Int32Array(outputs)
  const count = new Int32Array(outputs)
  const weights = new Int32Array(outputs * taps)
  const exact = new Float64Array(taps)
  for (let o = 0; o < outputs; o++) {
    const center = from + (o + 0.5) * scale
    const low = Math.max(Math.trunc(center - support + 0.5), 0)
    let n = Math.min(Math.trunc(center + support + 0.5), inputs) - low
    let sum = 0
    for (let i = 0; i < n; i++) {
      exact[i] = cubic((i + low - center + 0.5) * inverse)
      sum += exact[i]!
    }
    for (let i = 0; i < n; i++) {
      const weight = (sum === 0 ? exact[i]! : exact[i]! / sum) * ONE
      weights[o * taps + i] = Math.trunc(weight < 0 ? weight - 0.5 : weight + 0.5)
    }
    while (n > 1 && weights[o * taps + n - 1] === 0) n-- // the kernel often ends on a zero
    first[o] = low
    count[o] = n
  }
  return { taps, first, count, weights }
}

/** Fixed point to a byte; the cubic kernel overshoots at edges. */
function clip(fixed: number): number {
  return Math.min(Math.max(fixed >> FRACTION_BITS, 0), 255)
}

/** Rows of one step. */
const rowsPerStep = (outputs: number, taps: number) => Math.max(1, Math.floor(STEP_PRODUCTS / (outputs * taps)))

/** Input rows [rowFrom, rowTo) to rows of `outputs` pixels. */
function* horizontalPass(
  image: RgbImage,
  axis: AxisWeights,
  rowFrom: number,
  rowTo: number,
): Generator<void, Uint8Array, void> {
  const width = axis.first.length * 3
  const out = new Uint8Array((rowTo - rowFrom) * width)
  const perStep = rowsPerStep(axis.first.length, axis.taps)
  for (let y = rowFrom; y < rowTo; y += perStep) {
    if (y > rowFrom) yield
    narrowRows(image, axis, y, Math.min(rowTo, y + perStep), out.subarray((y - rowFrom) * width))
  }
  return out
}

function narrowRows(image: RgbImage, axis: AxisWeights, rowFrom: number, rowTo: number, out: Uint8Array): void {
  const { data } = image
  const { taps, first, count, weights } = axis
  const outputs = first.length
  let o = 0
  for (let y = rowFrom; y < rowTo; y++) {
    const row = y * image.width * 3
    for (let x = 0; x < outputs; x++) {
      let i = row + first[x]! * 3
      let red = HALF
      let green = HALF
      let blue = HALF
      const start = x * taps
      const end = start + count[x]!
      for (let w = start; w < end; w++) {
        const weight = weights[w]!
        red = (red + Math.imul(data[i]!, weight)) | 0
        green = (green + Math.imul(data[i + 1]!, weight)) | 0
        blue = (blue + Math.imul(data[i + 2]!, weight)) | 0
        i += 3
      }
      out[o++] = clip(red)
      out[o++] = clip(green)
      out[o++] = clip(blue)
    }
  }
}

/** Rows of `stride` bytes, the first of which is input row `rowFrom`; whole rows at a time keep memory access in order. */
function* verticalPass(
  data: Uint8Array,
  stride: number,
  axis: AxisWeights,
  rowFrom: number,
): Generator<void, Uint8Array, void> {
  const outputs = axis.first.length
  const out = new Uint8Array(outputs * stride)
  const perStep = rowsPerStep(stride / 3, axis.taps)
  for (let y = 0; y < outputs; y += perStep) {
    if (y > 0) yield
    flattenRows({ data, stride, rowFrom }, axis, y, Math.min(outputs, y + perStep), out)
  }
  return out
}

function flattenRows(
  { data, stride, rowFrom }: { readonly data: Uint8Array; readonly stride: number; readonly rowFrom: number },
  { taps, first, count, weights }: AxisWeights,
  from: number,
  to: number,
  out: Uint8Array,
): void {
  const sums = new Int32Array(stride)
  for (let y = from; y < to; y++) {
    sums.fill(HALF)
    let row = (first[y]! - rowFrom) * stride
    const start = y * taps
    const end = start + count[y]!
    let w = start
    for (; w + 1 < end; w += 2, row += 2 * stride) {
      const a = weights[w]!
      const b = weights[w + 1]!
      const next = row + stride
      for (let i = 0; i < stride; i++) {
        sums[i] = (sums[i]! + Math.imul(data[row + i]!, a) + Math.imul(data[next + i]!, b)) | 0
      }
    }
    if (w < end) {
      const weight = weights[w]!
      for (let i = 0; i < stride; i++) sums[i] = (sums[i]! + Math.imul(data[row + i]!, weight)) | 0
    }
    const at = y * stride
    for (let i = 0; i < stride; i++) out[at + i] = clip(sums[i]!)
  }
}

/**
 * Resizes an image, or the part of it inside `box`, to `width` x `height` pixels.
 * @returns a new image; the input itself when the size is equal and no box is given (bytes are never shared and changed)
 * @throws InputError when a side is not a positive whole number or the box leaves the image
 */
export function resize(image: RgbImage, width: number, height: number, box?: ResizeBox): RgbImage {
  return runAtOnce(resizeSteps(image, width, height, box))
}

/** {@link resize} in steps of bounded length. */
export function* resizeSteps(
  image: RgbImage,
  width: number,
  height: number,
  box?: ResizeBox,
): Generator<void, RgbImage, void> {
  checkPixels("resize", image, 3)
  if (!Number.isSafeInteger(width) || !Number.isSafeInteger(height) || width < 1 || height < 1) {
    throw new InputError(`resize: expected a target of at least 1x1 whole pixels, got ${width}x${height} (round first)`)
  }
  const { left, top, right, bottom } = box ?? { left: 0, top: 0, right: image.width, bottom: image.height }
  if (!(left >= 0 && top >= 0 && left < right && top < bottom && right <= image.width && bottom <= image.height)) {
    throw new InputError(
      `resize: expected a box inside ${image.width}x${image.height}, got ${left},${top} to ${right},${bottom}` +
        " (clip the box first)",
    )
  }
  const horizontal = width !== image.width || left !== 0 || right !== image.width
  const vertical = height !== image.height || top !== 0 || bottom !== image.height
  if (!horizontal && !vertical) return image

  const rows = vertical ? axisWeights(image.height, top, bottom, height) : undefined
  // Only rows that the vertical pass will read are made narrower.
  const last = height - 1
  const rowFrom = rows && horizontal ? rows.first[0]! : 0
  const rowTo = rows && horizontal ? rows.first[last]! + rows.count[last]! : image.height
  const narrowed = horizontal
    ? yield* horizontalPass(image, axisWeights(image.width, left, right, width), rowFrom, rowTo)
    : image.data
  if (!rows) return { width, height, data: narrowed }
  return { width, height, data: yield* verticalPass(narrowed, width * 3, rows, rowFrom) }
}
