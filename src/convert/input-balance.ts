/**
 * @file Factors for the inputs of linear layers that make all columns of their weights equally large: x · (Wᵀ) is
 * (x ∘ f) · (W / f)ᵀ for any f. Weights whose columns are equally large are rounded by the same share in every column,
 * and a channel of the balanced input is as large as what it adds to the output, so that rounding it in one block with
 * others loses a fixed share of the output, however large the channel was. Nothing about inputs has to be recorded.
 * Source: cross-layer equalization (Nagel et al. 2019, https://arxiv.org/abs/1906.04721), with factors at run time.
 */
import type { Checkpoint } from "../checkpoint/index.ts"
import { sizeOf, widenToF32 } from "../tensor/index.ts"
import { invariant } from "../util/index.ts"

/** Bytes of a checkpoint that are read at a time. */
const CHUNK_BYTES = 8 * 2 ** 20

/** Columns that are smaller or larger than the others by more than this power of two are balanced as far as this. */
const MAX_EXPONENT = 60

/**
 * The factors of the one input that some linear weights share. Reads the weights once.
 * @throws the signal's reason when aborted
 */
export async function inputFactors(
  checkpoint: Checkpoint,
  names: readonly string[],
  signal?: AbortSignal,
): Promise<Float32Array> {
  const widths = names.map((name) => sizeOf(checkpoint.info(name).shape.slice(1)))
  invariant(new Set(widths).size === 1, `inputFactors: ${names.join(", ")} do not read one input`)
  const squares = new Float64Array(widths[0]!)
  for (const name of names) {
    for await (const { tensor } of checkpoint.rowChunks(name, CHUNK_BYTES)) {
      signal?.throwIfAborted()
      addSquares(squares, widenToF32(tensor.dtype, tensor.data))
    }
  }
  return factorsOf(squares)
}

/** Adds the squares of rows to their columns' sums. */
export function addSquares(squares: Float64Array, rows: Float32Array): void {
  const width = squares.length
  for (let start = 0; start < rows.length; start += width) {
    for (let i = 0; i < width; i++) squares[i]! += rows[start + i]! ** 2
  }
}

/**
 * Factors from the columns' sums of squares: each column's length over that of an average one, as a power of two, so
 * that multiplying loses nothing. 0 for a column of zeros, which makes the channel vanish; 1 where sums are no numbers
 * (whoever quantizes the weight tells).
 */
export function factorsOf(squares: Float64Array): Float32Array {
  const mean = squares.reduce((sum, value) => sum + value, 0) / squares.length
  return Float32Array.from(squares, (square) => {
    if (square === 0) return 0
    const exponent = Math.round(Math.log2(square / mean) / 2)
    return Number.isFinite(exponent) ? 2 ** Math.max(-MAX_EXPONENT, Math.min(MAX_EXPONENT, exponent)) : 1
  })
}
