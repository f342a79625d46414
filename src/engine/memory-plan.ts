/** @file Which storage of the weights fits the memory: what each plan needs, and the choice of `auto`. */
import { flattenSpec, type SpecTree, sizeOf } from "../tensor/index.ts"
import { ConfigError } from "../util/index.ts"
import type { QuantizeKind } from "./messages.ts"

/** A plan that can be loaded; `auto` is none. */
export type StoragePlan = Exclude<QuantizeKind, "auto">

/** Plans from the best to the smallest: answers get slower or coarser, memory gets less. */
const PLANS: readonly StoragePlan[] = ["int8+int4", "int8", "int4"]

/** Models up to this many weights run in exact float32: quantizing them saves nothing that matters. */
const SMALL_MODEL_WEIGHTS = 200e6

/** Bytes per weight of a quantizable matrix: codes and scales (int4 in blocks of 128). */
const BYTES_PER_WEIGHT: { readonly [P in StoragePlan]: number } = {
  none: 4,
  int8: 1,
  int4: 0.5 + 4 / 128,
  "int8+int4": 1.5 + 4 / 128,
}

/** Programs, caches of a long conversation and the runtime itself, measured at full size. */
const OVERHEAD_BYTES = 1.5e9

/** Memory that a plan needs, in bytes. @param byRow matrices that stay on disk unless all is float32 */
export function planBytes(specs: readonly SpecTree[], byRow: ReadonlySet<string>, plan: StoragePlan): number {
  let total = 0
  for (const tree of specs) {
    for (const [name, { shape, quantizable }] of flattenSpec(tree)) {
      if (plan !== "none" && byRow.has(name)) continue
      total += sizeOf(shape) * (quantizable ? BYTES_PER_WEIGHT[plan] : 4)
    }
  }
  return total < 1e9 ? total * 2 : total + OVERHEAD_BYTES
}

function gigabytes(bytes: number): string {
  return `${(bytes / 1e9).toFixed(1)} GB`
}

/**
 * The plan to load: the wish, checked, or the best one that fits.
 * @throws ConfigError saying the plan, its need, what is free, and the next smaller plan
 */
export function choosePlan(
  wish: QuantizeKind,
  weightCount: number,
  needs: (plan: StoragePlan) => number,
  availableBytes: number,
): StoragePlan {
  if (wish === "auto") {
    if (weightCount <= SMALL_MODEL_WEIGHTS) return "none"
    return PLANS.find((plan) => needs(plan) <= availableBytes) ?? fail("int4", needs("int4"), availableBytes, undefined)
  }
  const need = needs(wish)
  if (need <= availableBytes) return wish
  const smaller = PLANS.find((plan) => needs(plan) < need)
  return fail(wish, need, availableBytes, smaller && `${smaller} needs ${gigabytes(needs(smaller))}`)
}

function fail(plan: StoragePlan, need: number, free: number, advice: string | undefined): never {
  throw new ConfigError(
    `memory: expected ${gigabytes(need)} for --quantize ${plan}, got ${gigabytes(free)} free (${advice ?? "close other programs, or take a smaller model"})`,
  )
}
