/**
 * @file Bundles: the weights of a model as a target computes with them, quantized, in one file that backends can map.
 * `bundle.json` says what lies where in `weights.bin`. Nothing here touches files.
 */
import { z } from "zod"
import { type LinearStorage, storedNames } from "../graph/index.ts"
import type { LinearUse } from "../models/minicpmo/index.ts"
import { DTYPES, type DType, dtypeBytes, hadamardBlock, sizeOf, type TensorSpec } from "../tensor/index.ts"
import { CheckpointError, ConfigError } from "../util/index.ts"

export const BUNDLE_FILE = "bundle.json"
export const WEIGHTS_FILE = "weights.bin"
/** A format of another version is made anew. 3: all components are in it, not the language model alone. */
export const BUNDLE_VERSION = 3

/** Entries start at multiples of this: the page size, so that they can be mapped. */
const ALIGNMENT = 4096

/** Which quantized forms of linear weights a bundle holds. */
export const QUANTIZATIONS = ["int8", "int4", "int8+int4"] as const
export type Quantization = (typeof QUANTIZATIONS)[number]
export const BLOCK_SIZES = [32, 64, 128] as const
/** Elements of a row that share an int4 scale. */
export type BlockSize = (typeof BLOCK_SIZES)[number]
/** Larger blocks are faster and smaller and cost little accuracy once scales are searched (docs/lab-log.md). */
export const DEFAULT_BLOCK_SIZE: BlockSize = 128
/** Elements that share a scale where one row meets 8-bit weights: the fastest there, 6 % more bytes than no blocks. */
const INT8_BLOCK_SIZE: BlockSize = 64

export type BundleOptions = { readonly quantize: Quantization; readonly blockSize: BlockSize }

/** One quantized form of a linear weight; its input is multiplied by the array `balance`, then rotated. */
export type StoredLinear = Exclude<LinearStorage, { readonly kind: "f32" }>

/** One array of `weights.bin`. */
export type BundleEntry = {
  readonly dtype: DType
  readonly shape: readonly number[]
  readonly offset: number
  readonly sizeBytes: number
}

/** The contents of `bundle.json`. */
export type BundleManifest = {
  readonly format: "omni-bundle"
  readonly version: number
  /** Tells bundles of other weights or options apart. */
  readonly key: string
  /** True when the quantized weights exist nowhere else, so that the bundle cannot be made again. */
  readonly sourceless: boolean
  /** Names the floats that the language model was made from; absent in bundles of earlier versions and of no floats. */
  readonly origin?: string | undefined
  readonly options: BundleOptions
  /** Size of `weights.bin`. */
  readonly sizeBytes: number
  readonly entries: { readonly [name: string]: BundleEntry }
  /** Forms of each quantized linear weight, by the checkpoint's name. */
  readonly linear: { readonly [name: string]: readonly StoredLinear[] }
}

/** A tensor of the model and its arrays in the bundle, which follow each other in the file. */
export type PlannedTensor = {
  readonly name: string
  readonly spec: TensorSpec
  /** Empty for a tensor that is not quantized; it has one array under its own name. */
  readonly forms: readonly StoredLinear[]
  /** The linear weights that read the same input and so share its factors, itself among them. */
  readonly siblings: readonly string[]
  readonly parts: readonly PlannedPart[]
}

/** Array `name` of the bundle; `role` says what it is to its tensor. */
export type PlannedPart = BundleEntry & {
  readonly name: string
  readonly role: "whole" | "balance" | StoredLinear["kind"] | `${StoredLinear["kind"]}-scales`
}

export type BundlePlan = {
  readonly options: BundleOptions
  readonly tensors: readonly PlannedTensor[]
  /** Size of `weights.bin`. */
  readonly sizeBytes: number
}

/** What the plan has to know of the model: the tensors, and which are used in a special way. */
export type PlanInput = {
  readonly specs: ReadonlyMap<string, TensorSpec>
  /** Tables read by rows: kept in this dtype each. */
  readonly byRow: ReadonlyMap<string, DType>
  /** Linear weights of the language model that meet one row at a time: int4 alone serves them where it is made. */
  readonly oneRow: ReadonlySet<string>
  /** How the component of a tensor uses its linear weights. */
  readonly useOf: (name: string) => LinearUse
}

/** Lays out a bundle: tensors in the order of their specs, ignored ones left out. */
export function planBundle({ specs, byRow, oneRow, useOf }: PlanInput, options: BundleOptions): BundlePlan {
  const tensors: PlannedTensor[] = []
  const quantized = [...specs].filter(
    ([name, spec]) => spec.quantizable && !spec.ignored && !byRow.has(name) && useOf(name) !== "floats",
  )
  const siblingsOf = groupByInput(quantized)
  let end = 0
  for (const [name, spec] of specs) {
    if (spec.ignored !== undefined) continue
    const siblings = siblingsOf.get(name) ?? []
    const forms =
      siblings.length > 0 ? formsOf(spec, storedNames.balance(siblings[0]!), useOfWeight(name), options) : []
    const arrays = forms.length > 0 ? forms.flatMap((form) => arraysOf(name, spec, form)) : [wholeArray(name)]
    if (siblings[0] === name) arrays.unshift(balanceArray(name, spec))
    const parts = arrays.map((array) => {
      const offset = Math.ceil(end / ALIGNMENT) * ALIGNMENT
      const sizeBytes = sizeOf(array.shape) * dtypeBytes(array.dtype)
      end = offset + sizeBytes
      return { ...array, offset, sizeBytes }
    })
    tensors.push({ name, spec, forms, siblings, parts })
  }
  return { options, tensors, sizeBytes: end }

  function useOfWeight(name: string): LinearUse | "language-one-row" {
    return oneRow.has(name) ? "language-one-row" : useOf(name)
  }

  function wholeArray(name: string): PlannedArray {
    return { name, role: "whole", dtype: byRow.get(name) ?? "f32", shape: specs.get(name)!.shape }
  }
}

type PlannedArray = Pick<PlannedPart, "name" | "role" | "dtype" | "shape">

/** For each linear weight, all those that read the same value; a weight that names no input stands alone. */
function groupByInput(weights: readonly (readonly [string, TensorSpec])[]): Map<string, readonly string[]> {
  const groups = new Map<string, string[]>()
  const keyed = weights.map(([name, { input }]) => {
    const module = name.split(".").slice(0, -2).join(".") // above the layer's own name and `weight`
    return [name, input === undefined ? name : `${module}:${input}`] as const
  })
  for (const [name, key] of keyed) groups.set(key, [...(groups.get(key) ?? []), name])
  return new Map(keyed.map(([name, key]) => [name, groups.get(key)!]))
}

function balanceArray(name: string, spec: TensorSpec): PlannedArray {
  return { name: storedNames.balance(name), role: "balance", dtype: "f32", shape: [sizeOf(spec.shape.slice(1))] }
}

/**
 * The forms of one weight. Wishes are about the language model, seven eighths of all weights: the others take 8 bits
 * whatever the wish, in the form that is fastest for their rows. Inputs of blocks are rounded block by block, so that
 * balancing them is enough.
 */
function formsOf(
  spec: TensorSpec,
  balance: string,
  use: LinearUse | "language-one-row",
  { quantize, blockSize }: BundleOptions,
): StoredLinear[] {
  const input = { balance, rotation: hadamardBlock(sizeOf(spec.shape.slice(1))) }
  const int8 = { kind: "int8", ...input } as const
  const int4 = { kind: "int4", blockSize, ...input } as const
  switch (use) {
    case "language":
      return quantize === "int8" ? [int8] : quantize === "int4" ? [int4] : [int8, int4]
    case "language-one-row":
      return quantize === "int8" ? [int8] : [int4]
    case "many-rows":
      return [int8]
    case "one-row":
      return [{ kind: "int8-blocks", blockSize: INT8_BLOCK_SIZE, balance, rotation: 1 }]
    case "floats":
      return []
  }
}

function arraysOf(name: string, spec: TensorSpec, form: StoredLinear): PlannedArray[] {
  const [outer, inner] = [spec.shape[0]!, sizeOf(spec.shape.slice(1))] // the kernel of a patch convolution is flattened
  if (form.kind === "int8") {
    const { codes, scales } = storedNames.int8(name)
    return [
      { name: codes, role: "int8", dtype: "i8", shape: [inner, outer] },
      { name: scales, role: "int8-scales", dtype: "f32", shape: [outer] },
    ]
  }
  const { codes, scales } = storedNames[form.kind](name)
  const blocks = Math.ceil(inner / form.blockSize)
  const blockBytes = form.kind === "int4" ? form.blockSize / 2 : form.blockSize
  return [
    { name: codes, role: form.kind, dtype: "u8", shape: [outer, blocks, blockBytes] },
    { name: scales, role: `${form.kind}-scales`, dtype: "f32", shape: [outer, blocks] },
  ]
}

/** The manifest of a finished plan. */
export function manifestOf(plan: BundlePlan, key: string, sourceless: boolean, origin?: string): BundleManifest {
  const entries = plan.tensors.flatMap(({ parts }) =>
    parts.map(({ name, dtype, shape, offset, sizeBytes }) => [name, { dtype, shape, offset, sizeBytes }] as const),
  )
  const linear = plan.tensors.filter(({ forms }) => forms.length > 0).map(({ name, forms }) => [name, forms] as const)
  return {
    format: "omni-bundle",
    version: BUNDLE_VERSION,
    key,
    sourceless,
    ...(origin === undefined ? {} : { origin }),
    options: plan.options,
    sizeBytes: plan.sizeBytes,
    entries: Object.fromEntries(entries),
    linear: Object.fromEntries(linear),
  }
}

const count = z.int().nonnegative()
const input = { balance: z.string().optional(), rotation: z.int().positive() }

const manifestFields = z.object({
  format: z.literal("omni-bundle"),
  version: z.literal(BUNDLE_VERSION),
  key: z.string(),
  sourceless: z.boolean(),
  origin: z.string().optional(),
  options: z.object({ quantize: z.enum(QUANTIZATIONS), blockSize: z.literal(BLOCK_SIZES) }),
  sizeBytes: count,
  entries: z.record(
    z.string(),
    z.object({ dtype: z.enum(DTYPES), shape: z.array(count), offset: count, sizeBytes: count }),
  ),
  linear: z.record(
    z.string(),
    z.array(
      z.discriminatedUnion("kind", [
        z.object({ kind: z.literal("int8"), ...input }),
        z.object({ kind: z.literal("int8-blocks"), blockSize: z.literal(BLOCK_SIZES), ...input }),
        z.object({ kind: z.literal("int4"), blockSize: z.literal(BLOCK_SIZES), ...input }),
      ]),
    ),
  ),
})

/**
 * Checks the contents of a `bundle.json`.
 * @param where names the file in errors
 * @throws CheckpointError for another version, a missing field, or an entry outside of the weights file
 */
export function parseManifest(json: unknown, where: string): BundleManifest {
  checkVersion(json, where)
  const parsed = manifestFields.safeParse(json)
  if (!parsed.success) {
    const issue = parsed.error.issues[0]!
    const field = issue.path.join(".") || "the file"
    throw new CheckpointError(`${where}: ${field}: ${issue.message} (delete the bundle and convert again)`)
  }
  for (const [name, { dtype, shape, offset, sizeBytes }] of Object.entries(parsed.data.entries)) {
    const fits = sizeBytes === sizeOf(shape) * dtypeBytes(dtype) && offset + sizeBytes <= parsed.data.sizeBytes
    if (!fits || offset % dtypeBytes(dtype) !== 0) {
      const expected = `${dtype} [${shape.join(", ")}] inside ${parsed.data.sizeBytes} bytes`
      throw new CheckpointError(`${where}: ${name}: expected ${expected}, got ${sizeBytes} bytes at ${offset}`)
    }
  }
  return parsed.data
}

/** Bundles of other releases are told from damaged ones: what to do depends on where the weights came from. */
function checkVersion(json: unknown, where: string): void {
  const { version, sourceless } = z
    .object({ version: z.unknown(), sourceless: z.unknown() })
    .partial()
    .catch({})
    .parse(json)
  if (version === BUNDLE_VERSION || typeof version !== "number") return
  const advice = sourceless
    ? "its weights exist nowhere else: convert the original model again, or make a new one with omni init"
    : "delete the bundle and convert again"
  throw new CheckpointError(`${where}: version: expected ${BUNDLE_VERSION}, got ${version} (${advice})`)
}

/** @throws ConfigError for an unknown kind or block size, naming the flag */
export function bundleOptions(quantize: string, blockSize: number = DEFAULT_BLOCK_SIZE): BundleOptions {
  const kind = QUANTIZATIONS.find((known) => known === quantize)
  if (!kind) throw new ConfigError(`quantize: expected ${QUANTIZATIONS.join(", ")}, got ${quantize}`)
  const block = BLOCK_SIZES.find((known) => known === blockSize)
  if (!block) throw new ConfigError(`blockSize: expected ${BLOCK_SIZES.join(", ")}, got ${blockSize}`)
  return { quantize: kind, blockSize: block }
}
