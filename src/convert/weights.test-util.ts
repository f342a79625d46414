/** @file Random weights and activations for this folder's tests. */
import { randomArray } from "./random.ts"

/** Normal values around 0. */
export function normal(length: number, deviation: number, seed = 1): Float32Array {
  return randomArray("f32", length, seed, "test", { kind: "normal", dtype: "f32", mean: 0, deviation })
}

/** Heavy-tailed values: Student's t with 4 degrees of freedom. */
export function heavyTailed(length: number, deviation: number, seed = 1): Float32Array {
  const values = normal(length, deviation, seed)
  const others = [1, 2, 3, 4].map((i) => normal(length, 1, seed + 1000 * i))
  return values.map((value, i) => value / Math.sqrt(others.reduce((sum, other) => sum + other[i]! ** 2, 0) / 4))
}

/** √(Σ(got - want)² / Σwant²). */
export function relativeError(got: Float32Array, want: Float32Array): number {
  let error = 0
  let total = 0
  for (let i = 0; i < want.length; i++) {
    error += (got[i]! - want[i]!) ** 2
    total += want[i]! ** 2
  }
  return Math.sqrt(error / total)
}
