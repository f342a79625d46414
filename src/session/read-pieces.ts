/** @file Pieces of a conversation that were read in one pass: their rows joined, and taken apart again. */
import type { Prompt } from "../inference/index.ts"
import { f32, f32Data, type HostTensor } from "../tensor/index.ts"

/** What a piece was read as: for comparing and for the answer that follows. */
export type ReadPiece = {
  readonly piece: Prompt
  readonly embeds: HostTensor<"f32"> // [1, T, D]
  readonly hidden: HostTensor // [1, T, D], before the final norm
}

/** [1, T1, D], [1, T2, D], … → [1, T1 + T2 + …, D]. */
export function joinRows(parts: readonly HostTensor<"f32">[]): HostTensor<"f32"> {
  if (parts.length === 1) return parts[0]!
  const width = parts[0]!.shape[2]!
  const steps = parts.reduce((sum, { shape }) => sum + shape[1]!, 0)
  const data = new Float32Array(steps * width)
  let at = 0
  for (const part of parts) {
    data.set(f32Data(part), at)
    at += part.data.length
  }
  return f32([1, steps, width], data)
}

/** Rows of a pass back to the pieces that they were made of. */
export function splitRows(
  pieces: readonly { readonly piece: Prompt }[],
  embeds: readonly HostTensor<"f32">[],
  hidden: HostTensor,
  skippedRows: number,
): ReadPiece[] {
  const data = f32Data(hidden)
  let at = skippedRows * hidden.shape[2]!
  return pieces.map(({ piece }, i) => {
    const { shape, data: own } = embeds[i]!
    const rows = f32(shape, data.subarray(at, at + own.length))
    at += own.length
    return { piece, embeds: embeds[i]!, hidden: rows }
  })
}
