/** @file Comparisons of one case: arrays within a tolerance of the golden's largest value, everything else exactly. */
import { isDeepStrictEqual } from "node:util"
import { type HostTensor, relativeToMaxAbs } from "../../src/tensor/index.ts"
import type { GoldenCase } from "./golden-set.ts"

/** Collects the comparisons of one case; `error` is the largest one, relative to max-abs. */
export class CaseReport {
  readonly failures: string[] = []
  error = 0
  /** How many comparisons were made; a case without any proves nothing. */
  comparisons = 0
  private readonly tolerance: number

  constructor(golden: GoldenCase) {
    const { rel_to_max_abs: relative } = golden.tolerance
    this.tolerance = typeof relative === "number" ? relative : 0
  }

  /** max|got − want| ≤ tolerance · max|want|, and equal sizes. */
  close(what: string, got: HostTensor, want: HostTensor, tolerance = this.tolerance): void {
    this.comparisons++
    const error = relativeToMaxAbs(got, want)
    this.error = Math.max(this.error, error)
    if (!(error <= tolerance))
      this.failures.push(`${what}: error ${error.toExponential(2)} above ${tolerance.toExponential(0)}`)
  }

  equal(what: string, got: unknown, want: unknown): void {
    this.comparisons++
    if (isDeepStrictEqual(got, want)) return
    const show = (value: unknown) => {
      if (value === undefined) return "nothing"
      const text = JSON.stringify(value, (_, item) => (typeof item === "bigint" ? Number(item) : item))
      return text.length > 120 ? `${text.slice(0, 120)}…` : text
    }
    this.error = Number.POSITIVE_INFINITY
    this.failures.push(`${what}: expected ${show(want)}, got ${show(got)}`)
  }
}
