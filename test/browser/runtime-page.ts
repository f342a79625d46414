/**
 * @file What the runtime's browser test runs inside the browser: one layer with a key/value cache and one linear layer per
 * storage, on a device and in the reference interpreter, step by step.
 */
import { Graph, storedNames } from "../../src/graph/index.ts"
import { rotaryTables } from "../../src/nn/index.ts"
import { createReferenceExecutor, type Executor, type Feeds, memoryWeights } from "../../src/runtime/index.ts"
import { createOrtWebExecutor, type OrtWebOptions } from "../../src/runtime/index.web.ts"
import { f32, type HostTensor, relativeToMaxAbs, tensor } from "../../src/tensor/index.ts"
import { createRandom } from "../../src/util/index.ts"

/** Errors relative to the reference's largest value, by output, over all steps. */
export type Comparison = {
  readonly errors: { readonly [output: string]: number }
  /** Kernels started on the GPU. */
  readonly dispatches: number
  readonly milliseconds: number
}

const [D, HEADS, KV_HEADS, K] = [32, 4, 2, 8]
const SPEC = [{ name: "layer", kvHeads: KV_HEADS, headSize: K }]
/** Positions of each step; the second is one of decoding. */
const STEPS = [5, 1, 2]

/** A layer as language models have it, its float sum `y`, and `int4` and `int8` of the rows in `codes`. */
function layerGraph(): Graph {
  const g = new Graph("layer")
  const x = g.input("x", "f32", [1, "T", D])
  const cos = g.input("cos", "f32", [1, "T", K / 2])
  const sin = g.input("sin", "f32", [1, "T", K / 2])
  const mask = g.input("attentionMask", "f32", [1, 1, "T", "S + T"])
  const normed = g.rmsNorm(x, g.weight("norm1", [D]), 1e-6)
  const q = g.rotary(g.linear(normed, g.weight("q", [D, D]), g.weight("qBias", [D])), cos, sin, HEADS)
  const k = g.rotary(g.linear(normed, g.weight("k", [KV_HEADS * K, D])), cos, sin, KV_HEADS)
  const v = g.linear(normed, g.weight("v", [KV_HEADS * K, D]))
  const attrs = { heads: HEADS, kvHeads: KV_HEADS, scale: K ** -0.5 }
  const attended = g.linear(g.cachedAttention("layer", [q, k, v], attrs, mask), g.weight("o", [D, D]))
  const sum = g.add(x, attended)
  const gate = g.silu(g.linear(g.rmsNorm(sum, g.weight("norm2", [D]), 1e-6), g.weight("gate", [D, D])))
  g.output("y", g.add(sum, gate))
  const codes = g.input("codes", "f32", [1, "T", D])
  g.output("int4", g.linear(codes, g.weight("w4", [D, D])))
  g.output("int8", g.linear(codes, g.weight("w8", [D, D])))
  return g
}

const random = createRandom(11)
const floats = (shape: readonly number[]): HostTensor =>
  f32(
    shape,
    Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => random() - 0.5),
  )
const bytes = (length: number) => Array.from({ length }, () => Math.floor(random() * 256))

function layerWeights() {
  const shapes = { q: [D, D], k: [KV_HEADS * K, D], v: [KV_HEADS * K, D], o: [D, D], gate: [D, D] }
  const vectors = { norm1: [D], norm2: [D], qBias: [D] }
  const [int4, int8] = [storedNames.int4("w4"), storedNames.int8("w8")]
  const tensors = new Map<string, HostTensor>(
    Object.entries({ ...shapes, ...vectors }).map(([name, shape]) => [name, floats(shape)]),
  )
  tensors.set(int4.codes, tensor("u8", [D, 1, D / 2], Uint8Array.from(bytes((D * D) / 2))))
  tensors.set(int4.scales, floats([D, 1]))
  tensors.set(int8.codes, tensor("i8", [D, D], Int8Array.from(bytes(D * D))))
  tensors.set(int8.scales, floats([D]))
  return memoryWeights(tensors, (name) => {
    if (name === "w4") return { kind: "int4", blockSize: D, rotation: 1 }
    return name === "w8" ? { kind: "int8", rotation: 1 } : { kind: "f32" }
  })
}

const weights = layerWeights()
let start = 0
const feeds: Feeds[] = STEPS.map((steps) => {
  const positions = Array.from({ length: steps }, (_, i) => start + i)
  start += steps
  // Rows that 8-bit codes hold exactly, whatever their scale: kernels may round activations.
  const codes = Float32Array.from({ length: steps * D }, () => 127 * (Math.floor(random() * 3) - 1))
  return { x: floats([1, steps, D]), codes: f32([1, steps, D], codes), ...rotaryTables(positions, [1, steps], K, 1e4) }
})

/** Outputs of the first step on two caches at once, then of all steps, then what the cache holds. */
async function runSteps(executor: Executor): Promise<Feeds[]> {
  const program = await executor.compile(layerGraph(), weights)
  const first = () => executor.run(program, feeds[0]!, { cache: executor.createCache(SPEC, 1) })
  const outputs = await Promise.all([first(), first()])
  const cache = executor.createCache(SPEC, 1)
  for (const feed of feeds) outputs.push(await executor.run(program, feed, { cache }))
  const { keys, values } = cache.snapshot().slots.layer!
  return [...outputs, { keys: f32([keys.length], keys), values: f32([values.length], values) }]
}

/** Counts the calls of one method for as long as the scope lasts. */
function countCalls(prototype: Record<string, unknown>, method: string): Disposable & { calls: number } {
  const original = prototype[method] as (...args: unknown[]) => unknown
  const counter = {
    calls: 0,
    [Symbol.dispose]() {
      prototype[method] = original
    },
  }
  prototype[method] = function (this: unknown, ...args: unknown[]) {
    counter.calls++
    return original.apply(this, args)
  }
  return counter
}

export async function compareWithReference(options: OrtWebOptions): Promise<Comparison> {
  await using reference = createReferenceExecutor()
  const wanted = await runSteps(reference)
  const { GPUComputePassEncoder: encoder } = globalThis as { GPUComputePassEncoder?: { prototype: object } }
  using dispatches = countCalls((encoder?.prototype ?? {}) as Record<string, unknown>, "dispatchWorkgroups")
  const began = performance.now()
  await using executor = await createOrtWebExecutor(options)
  const got = await runSteps(executor)
  const milliseconds = performance.now() - began
  const errors: { [output: string]: number } = {}
  for (const [step, outputs] of wanted.entries()) {
    for (const [name, value] of Object.entries(outputs)) {
      errors[name] = Math.max(errors[name] ?? 0, relativeToMaxAbs(got[step]![name]!, value))
    }
  }
  return { errors, dispatches: dispatches.calls, milliseconds }
}

/** The text of the error with which opening an executor fails; undefined when it opens. */
export async function openingError(options: OrtWebOptions): Promise<string | undefined> {
  try {
    await using _ = await createOrtWebExecutor(options)
    return undefined
  } catch (error) {
    return String(error)
  }
}
