/** @file Rotary position tables, computed on the host: exact on every device, and tiny. */
import { type HostTensor, tensor } from "../tensor/index.ts"

/** Inverse frequencies of the K/2 rotated pairs, in float32 steps like the reference. */
function inverseFrequencies(headSize: number, theta: number): Float32Array {
  return Float32Array.from(
    { length: headSize / 2 },
    (_, d) => 1 / Math.fround(theta ** Math.fround((2 * d) / headSize)),
  )
}

/**
 * Cosines and sines for given positions.
 * @param positions position ids, [B, T] row-major
 * @returns two tables [B, T, K/2]
 * Source: Qwen2RotaryEmbedding and LlamaRotaryEmbedding (transformers): angle = position · inverse frequency in float32.
 */
export function rotaryTables(
  positions: readonly number[],
  shape: readonly [batch: number, steps: number],
  headSize: number,
  theta: number,
): { readonly cos: HostTensor<"f32">; readonly sin: HostTensor<"f32"> } {
  const frequencies = inverseFrequencies(headSize, theta)
  const half = frequencies.length
  const cos = new Float32Array(positions.length * half)
  const sin = new Float32Array(positions.length * half)
  for (const [i, position] of positions.entries()) {
    for (let d = 0; d < half; d++) {
      const angle = Math.fround(position * frequencies[d]!)
      cos[i * half + d] = Math.cos(angle)
      sin[i * half + d] = Math.sin(angle)
    }
  }
  const full = [...shape, half]
  return { cos: tensor("f32", full, cos), sin: tensor("f32", full, sin) }
}

/**
 * Rotates one key [K] by a change of position, in place: what a cache needs when it closes a gap. All keys behind a gap move
 * by the same: their angles are computed once.
 */
export function rotateKey(headSize: number, theta: number): (key: Float32Array, delta: number) => void {
  const frequencies = inverseFrequencies(headSize, theta)
  const half = frequencies.length
  const cos = new Float64Array(half)
  const sin = new Float64Array(half)
  let known = Number.NaN
  return (key, delta) => {
    if (delta !== known) {
      for (let d = 0; d < half; d++) {
        const angle = delta * frequencies[d]!
        cos[d] = Math.cos(angle)
        sin[d] = Math.sin(angle)
      }
      known = delta
    }
    for (let d = 0; d < half; d++) {
      const c = cos[d]!
      const s = sin[d]!
      const a = key[d]!
      const b = key[d + half]!
      key[d] = a * c - b * s
      key[d + half] = b * c + a * s
    }
  }
}
