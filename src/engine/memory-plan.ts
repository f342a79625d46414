/** @file Which storage of the weights fits the memory: what each plan needs, and the choice of `auto`. */
import type { Component } from "../models/minicpmo/index.ts"
import { flattenSpec, sizeOf } from "../tensor/index.ts"
import { ConfigError } from "../util/index.ts"
import type { QuantizeKind } from "./messages.ts"

/** A plan that can be loaded; `auto` is none. */
export type StoragePlan = Exclude<QuantizeKind, "auto">

/** Plans from the best to the smallest: answers get slower or coarser, memory gets less. */
const PLANS: readonly StoragePlan[] = ["int8+int4", "int8", "int4"]

/** Models up to this many weights run in exact float32: quantizing them saves nothing that matters. */
const SMALL_MODEL_WEIGHTS = 200e6

/** Bytes per weight of a quantizable matrix of the language model: codes and scales (int4 in blocks of 128). */
const BYTES_PER_WEIGHT: { readonly [P in StoragePlan]: number } = {
  none: 4,
  int8: 1,
  int4: 0.5 + 4 / 128,
  "int8+int4": 1.5 + 4 / 128,
}
/** The same of the other components, which every quantized plan keeps alike (8 bits in blocks of 64 for one row). */
const BYTES_BY_USE = { "many-rows": 1, "one-row": 1 + 4 / 64, floats: 4 } as const

/** Programs, caches of a long conversation, the vocoder and the runtime itself, measured at full size. */
const OVERHEAD_BYTES = 1.5e9

/** The number of weights of a model. */
export function countWeights(components: readonly Component[]): number {
  let total = 0
  for (const { spec } of components) {
    for (const { shape } of flattenSpec(spec).values()) total += sizeOf(shape)
  }
  return total
}

/** Memory that a plan needs, in bytes. Tables read by rows stay on disk unless all is float32. */
export function planBytes(components: readonly Component[], plan: StoragePlan): number {
  let total = 0
  for (const { prefix, spec, use, byRow } of components) {
    const quantized = plan === "none" || use === "language" ? BYTES_PER_WEIGHT[plan] : BYTES_BY_USE[use]
    for (const [name, { shape, quantizable }] of flattenSpec(spec, prefix)) {
      if (plan !== "none" && byRow.includes(name)) continue
      total += sizeOf(shape) * (quantizable ? quantized : 4)
    }
  }
  return total < 1e9 ? total * 2 : total + OVERHEAD_BYTES
}

function gigabytes(bytes: number): string {
  return `${(bytes / 1e9).toFixed(1)} GB`
}

/**
 * The plan to load: the wish, checked, or the best one that fits.
 * @throws ConfigError saying the plan, its need, what is free, and the next smaller plan that fits
 */
export function choosePlan(
  wish: QuantizeKind,
  weightCount: number,
  needs: (plan: StoragePlan) => number,
  availableBytes: number,
): StoragePlan {
  const fits = (plan: StoragePlan) => needs(plan) <= availableBytes
  const best = weightCount <= SMALL_MODEL_WEIGHTS ? (["none", ...PLANS] as const) : PLANS
  const plan = wish === "auto" ? best.find(fits) : wish
  if (plan && fits(plan)) return plan
  const refused = plan ?? "int4"
  const smaller = PLANS.filter((other) => needs(other) < needs(refused))
  const fitting = smaller.find(fits)
  const even = smaller.length > 0 ? `even int4 needs ${gigabytes(needs("int4"))}; ` : ""
  const advice = fitting
    ? `${fitting} needs ${gigabytes(needs(fitting))}`
    : `${even}close other programs, or take a smaller model`
  throw new ConfigError(
    `memory: expected ${gigabytes(needs(refused))} for --quantize ${refused}, ` +
      `got ${gigabytes(availableBytes)} free (${advice})`,
  )
}
