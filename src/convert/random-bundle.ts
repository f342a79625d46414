/**
 * @file Random bundles: quantized weights of any size drawn as codes and scales, never held as floats. The int8 and the
 * int4 form of a weight are separate draws, so a model made this way measures speed and memory, not agreement.
 */

import type { BundlePlan, PlannedPart, PlannedTensor } from "./bundle.ts"
import type { BundlePiece } from "./bundle-writer.ts"
import { type Distribution, INT4_CODE_DEVIATION, INT8_CODE_DEVIATION, randomBits, randomPieces } from "./random.ts"

/**
 * All arrays of a plan, drawn from `seed`; magnitudes are those that the specs give for random weights.
 * @param fixed values of tensors that are not random, in f32
 */
export function* randomBundle(
  plan: BundlePlan,
  seed: number,
  fixed: ReadonlyMap<string, Float32Array> = new Map(),
): Generator<BundlePiece, void, undefined> {
  for (const tensor of plan.tensors) {
    const known = fixed.get(tensor.name)
    if (known) {
      yield { part: tensor.name, bytes: known }
      continue
    }
    for (const part of tensor.parts) {
      const pieces = randomPieces(randomBits(seed, part.name), distributionOf(tensor, part), part.sizeBytes)
      for (const bytes of pieces) yield { part: part.name, bytes }
    }
  }
}

/** Scales vary a little, as those of real blocks do. */
function distributionOf({ spec }: PlannedTensor, { role, dtype }: PlannedPart): Distribution {
  const { mean, deviation } = spec.init
  const scales = (codeDeviation: number): Distribution => {
    const scale = deviation / codeDeviation
    return { kind: "normal", dtype, mean: scale, deviation: scale / 10 }
  }
  switch (role) {
    case "int8":
      return { kind: "int8-codes" }
    case "int8-blocks":
      return { kind: "int8-blocks-codes" }
    case "int4":
      return { kind: "int4-codes" }
    case "int8-scales":
    case "int8-blocks-scales":
      return scales(INT8_CODE_DEVIATION)
    case "int4-scales":
      return scales(INT4_CODE_DEVIATION)
    case "balance":
      return { kind: "normal", dtype, mean: 1, deviation: 0 }
    case "whole":
      return { kind: "normal", dtype, mean, deviation }
  }
}
