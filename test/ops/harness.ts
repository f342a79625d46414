/**
 * @file What is asked of every op: on random shapes, the reference evaluation equals ONNX Runtime's result on each
 * lowering, expansions equal the op, and gradients equal finite differences. A case only says how to build a sample.
 */
import fc from "fast-check"
import { InferenceSession, Tensor } from "onnxruntime-node"
import { expect, it } from "vitest"
import {
  type ActivationBits,
  type Dim,
  evalDim,
  evalShape,
  expandForGradient,
  exportOnnx,
  Graph,
  gradients,
  lowerFor,
  modelOutputs,
  type Shape,
  type Target,
  type Value,
  verify,
} from "../../src/graph/index.ts"
import { filled } from "../../src/graph/ops/elementwise.ts"
import { createOrtNodeExecutor } from "../../src/runtime/index.node.ts"
import { interpret } from "../../src/runtime/interpreter.ts"
import {
  type DType,
  type HostTensor,
  isFloat,
  numberAt,
  sizeOf,
  type TypedArray,
  tensor,
} from "../../src/tensor/index.ts"

/** What the lowerings under test round inputs of int8 products to on this processor. */
export async function cpuActivationBits(): Promise<ActivationBits> {
  await using executor = createOrtNodeExecutor({ device: "cpu", threads: 1 })
  return executor.activationBits()
}

export type Random = () => number
/** Draws one element; `sizes` are those of this feed. */
export type Fill = (random: Random, sizes: Sizes) => number
export type Sizes = { readonly [name: string]: number }
export type Tensors = { readonly [name: string]: HostTensor }

export type OpInput = {
  /** Over the names of `sizes`; a name is a symbol in one half of the runs and its size in the other. */
  readonly shape: Shape
  readonly fill: Fill
  readonly dtype?: DType
  /** Declared as a weight instead of an input; such shapes are numbers. */
  readonly weight?: boolean
  /** False for float inputs that have no gradient to compare. */
  readonly smooth?: boolean
}

export type Sample = {
  /** Each is fed to one and the same model when the names are symbols. */
  readonly sizes: readonly Sizes[]
  readonly inputs: { readonly [name: string]: OpInput }
  /** Uses of a name outside of input shapes go through `dim`. */
  readonly apply: (
    g: Graph,
    values: { readonly [name: string]: Value },
    dim: (dim: Dim) => Dim,
  ) => Value | readonly Value[]
  /** Said where ONNX Runtime has no answer to this sample. */
  readonly refusedByOrt?: string | undefined
  /** The same for the gradients alone. */
  readonly gradientRefusedByOrt?: string | undefined
}

/**
 * `finite`: equal to finite differences. `step`: no gradient flows, which is no error. `none`: asking for one is an
 * error. `integer`: nothing to differentiate.
 */
export type GradientKind = "finite" | "step" | "none" | "integer"

export type OpCase = {
  readonly sample: fc.Arbitrary<Sample>
  readonly gradient: GradientKind
  /** Also differentiate the gradient. */
  readonly twice?: boolean
  readonly runs?: number
  /** Of ONNX Runtime's result against the reference, relative to the largest element. */
  readonly tolerance?: number
}

export const TARGETS = ["portable", "cpu"] as const satisfies readonly Target[]

function randomFrom(seed: number): Random {
  let state = seed >>> 0
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return (state >>> 8) / 2 ** 24
  }
}

export function drawTensor(dtype: DType, shape: readonly number[], next: () => number): HostTensor {
  const data = filled(dtype, sizeOf(shape), 0)
  for (let i = 0; i < data.length; i++) {
    const value = next()
    data[i] = data instanceof BigInt64Array ? BigInt(value) : value
  }
  return tensor(dtype, shape, data as never)
}

type Built = { readonly graph: Graph; readonly outputs: readonly Value[]; readonly names: readonly string[] }

/** The sample's graph; `dim` decides whether names stay symbols. */
export function buildSample(sample: Sample, dim: (dim: Dim) => Dim): Built {
  const graph = new Graph("op")
  const values: { [name: string]: Value } = {}
  for (const [name, { shape, dtype = "f32", weight }] of Object.entries(sample.inputs)) {
    const dims = shape.map(dim)
    values[name] = weight ? graph.weight(name, dims as number[], dtype) : graph.input(name, dtype, dims)
  }
  const applied = sample.apply(graph, values, dim)
  const outputs = Array.isArray(applied) ? (applied as readonly Value[]) : [applied as Value]
  for (const [i, output] of outputs.entries()) graph.output(`y${i}`, output)
  verify(graph)
  return { graph, outputs, names: Object.keys(sample.inputs) }
}

export function feedsOf(sample: Sample, sizes: Sizes, seed: number): Tensors {
  const random = randomFrom(seed)
  const bindings = new Map(Object.entries(sizes))
  return Object.fromEntries(
    Object.entries(sample.inputs).map(([name, { shape, fill, dtype = "f32" }]) => [
      name,
      drawTensor(dtype, evalShape(shape, bindings), () => fill(random, sizes)),
    ]),
  )
}

const ORT_TYPES: { readonly [D in DType]?: Tensor.Type } = {
  f32: "float32",
  i64: "int64",
  i32: "int32",
  i8: "int8",
  u8: "uint8",
  bool: "bool",
}

function split(graph: Graph, tensors: Tensors): { feeds: Tensors; weights: (name: string) => HostTensor } {
  const inputs = new Set(graph.nodes.filter((n) => n.op === "input").map((n) => (n.attrs as { name: string }).name))
  const feeds = Object.fromEntries(Object.entries(tensors).filter(([name]) => inputs.has(name)))
  return { feeds, weights: (name) => tensors[name]! }
}

export function reference(graph: Graph, tensors: Tensors): Tensors {
  const { feeds, weights } = split(graph, tensors)
  return interpret(graph, feeds, weights)
}

/** A session over the graph's lowering; weights are written into the model. */
export async function ortSession(lowered: Graph, weights: Tensors): Promise<InferenceSession> {
  const model = exportOnnx(lowered, (name) => {
    const { data } = weights[name]!
    return new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
  })
  return InferenceSession.create(model, { intraOpNumThreads: 1, logSeverityLevel: 4 })
}

export async function runOrt(session: InferenceSession, graph: Graph, tensors: Tensors): Promise<Tensors> {
  const feeds: { [name: string]: Tensor } = {}
  for (const name of session.inputNames) {
    const { dtype, shape, data } = tensors[name]!
    feeds[name] = new Tensor(ORT_TYPES[dtype]!, data as Float32Array, shape)
  }
  const results = await session.run(feeds)
  return Object.fromEntries(
    [...modelOutputs(graph)].map(([name, { dtype }]) => {
      const result = results[name] as Tensor
      return [name, { dtype, shape: result.dims, data: result.data as TypedArray } as HostTensor]
    }),
  )
}

/** Equal shapes and dtypes; integers exactly, floats relative to the largest finite element, NaN and infinities as such. */
export function expectClose(got: Tensors, want: Tensors, tolerance: number, what: string): void {
  for (const [name, b] of Object.entries(want)) {
    const a = got[name]!
    expect(`${a.dtype} [${a.shape.join(", ")}]`, `${what}: ${name}`).toBe(`${b.dtype} [${b.shape.join(", ")}]`)
    expect(a.data.length, `${what}: ${name}`).toBe(b.data.length)
    const finite = Array.from(b.data as Float32Array, Number).filter(Number.isFinite)
    const allowed = isFloat(b.dtype) ? tolerance * Math.max(0.1, ...finite.map(Math.abs)) : 0
    for (let i = 0; i < b.data.length; i++) {
      const [x, y] = [numberAt(a.data, i), numberAt(b.data, i)]
      const same = Object.is(x, y) || x === y || Math.abs(x - y) <= allowed
      if (!same)
        expect.fail(`${what}: ${name}[${i}] is ${x}, expected ${y} within ${allowed} (shape ${b.shape.join("×")})`)
    }
  }
}

/** Runs a graph on ONNX Runtime for a target, over each set of feeds, against the reference on graph and lowering. */
export async function expectOrtAgrees(
  graph: Graph,
  target: Target,
  feedSets: readonly Tensors[],
  tolerance: number,
  session?: InferenceSession,
): Promise<void> {
  const lowered = lowerFor(graph, { target })
  verify(lowered)
  const live = session ?? (await ortSession(lowered, feedSets[0]!))
  try {
    for (const feeds of feedSets) {
      const want = reference(graph, feeds)
      expectClose(reference(lowered, feeds), want, tolerance, `reference of the ${target} lowering`)
      expectClose(await runOrt(live, lowered, feeds), want, tolerance, `onnxruntime, ${target}`)
    }
  } finally {
    await live.release()
  }
}

/**
 * The gradients of Σ outputs · coefficients. The coefficients are inputs `c0`, `c1`, … so that shapes may be symbolic.
 * @returns a graph with the outputs `d.<input>`
 */
export function gradientGraph({ graph, outputs, names }: Built, sample: Sample): Graph {
  let loss: Value | undefined
  for (const [k, output] of outputs.entries()) {
    if (!isFloat(output.dtype)) continue
    const weighted = graph.mul(output, graph.input(`c${k}`, output.dtype, output.shape))
    const axes = output.shape.map((_, axis) => axis)
    const sum = axes.length === 0 ? weighted : graph.reduceSum(weighted, axes)
    loss = loss ? graph.add(loss, sum) : sum
  }
  graph.output("loss", loss!)
  const expanded = expandForGradient(graph)
  const targets = names.filter((name) => {
    const { dtype = "f32", smooth = true } = sample.inputs[name]!
    return isFloat(dtype) && smooth
  })
  const values = targets.map((name) => sourceNamed(expanded, name))
  const grads = gradients(expanded, expanded.outputs.get("loss")!, values)
  for (const [i, grad] of grads.entries()) expanded.output(`d.${targets[i]}`, grad)
  verify(expanded)
  return expanded
}

export function sourceNamed(graph: Graph, name: string): Value {
  return graph.nodes.find((node) => (node.attrs as { name?: string }).name === name)!.outputs[0]!
}

/** A coefficient per output element, in [0.5, 1.5]. */
export function coefficientsOf(outputs: Tensors, seed: number): Tensors {
  const random = randomFrom(seed)
  const floats = Object.entries(outputs).filter(([name, { dtype }]) => /^y\d/.test(name) && isFloat(dtype))
  return Object.fromEntries(
    floats.map(([name, { shape }]) => [
      name.replace("y", "c"),
      drawTensor("f32", shape, () => Math.round((0.5 + random()) * 64) / 64),
    ]),
  )
}

/** Steps and sample values are multiples of powers of two, so that x ± h is exact in f32. */
const STEP = 2 ** -5
const PROBES = 12

/** Compares gradients with five-point central differences of Σ y · c at some elements of each input. */
export function expectFiniteDifferences(
  loss: (tensors: Tensors) => number,
  tensors: Tensors,
  grads: Tensors,
  tolerance: number,
): void {
  for (const [name, grad] of Object.entries(grads)) {
    const input = name.slice("d.".length)
    const x = tensors[input]!
    expect(grad.shape, `gradient of ${input}`).toEqual(x.shape)
    const largest = Array.from(grad.data as Float32Array).reduce((max, value) => Math.max(max, Math.abs(value)), 1)
    const stride = Math.max(1, Math.floor(x.data.length / PROBES))
    for (let i = 0; i < x.data.length; i += stride) {
      const at = (delta: number) => {
        const data = (x.data as Float32Array).slice()
        data[i]! += delta
        return loss({ ...tensors, [input]: { ...x, data } as HostTensor })
      }
      const slope = (8 * (at(STEP) - at(-STEP)) - (at(2 * STEP) - at(-2 * STEP))) / (12 * STEP)
      const got = numberAt(grad.data, i)
      if (!(Math.abs(got - slope) <= tolerance * largest)) {
        expect.fail(
          `gradient of ${input}[${i}] is ${got}, finite differences give ${slope} (shape ${x.shape.join("×")})`,
        )
      }
    }
  }
}

/** Σ y · c in double precision. */
export function weightedSum(outputs: Tensors, coefficients: Tensors): number {
  let total = 0
  for (const [name, c] of Object.entries(coefficients)) {
    const y = outputs[name.replace("c", "y")]!
    for (let i = 0; i < c.data.length; i++) total += numberAt(y.data, i) * numberAt(c.data, i)
  }
  return total
}

const GRADIENT_TOLERANCE = 2e-3

async function checkGradient(sample: Sample, opCase: OpCase, symbolic: boolean, seed: number): Promise<void> {
  const dim = dimsOf(sample, symbolic)
  const base = feedsOf(sample, sample.sizes[0]!, seed)
  const plain = buildSample(sample, dim)
  if (opCase.gradient === "none") {
    expect(() => gradientGraph(plain, sample)).toThrow(/^\/op\/.*: expected an op with a gradient, got /)
    return
  }
  const graph = gradientGraph(plain, sample)
  const forward = buildSample(sample, dim).graph
  const coefficients = coefficientsOf(reference(forward, base), seed + 1)
  const feeds = { ...base, ...coefficients }
  const results = reference(graph, feeds)
  const grads = Object.fromEntries(Object.entries(results).filter(([name]) => name.startsWith("d.")))
  if (opCase.gradient === "step") {
    for (const { data } of Object.values(grads))
      expect(Array.from(data as Float32Array).every((v) => v === 0)).toBe(true)
  } else {
    const loss = (tensors: Tensors) => weightedSum(reference(forward, tensors), coefficients)
    expectFiniteDifferences(loss, base, grads, GRADIENT_TOLERANCE)
  }
  if (sample.refusedByOrt ?? sample.gradientRefusedByOrt) return
  const target = TARGETS[seed % TARGETS.length]!
  await expectOrtAgrees(graph, target, [feeds], Math.max(1e-4, opCase.tolerance ?? 0))
  if (opCase.twice) checkTwice(sample, forward, feeds, dim)
}

/** The gradient of a weighted sum of the gradients, against finite differences of the gradients. */
function checkTwice(sample: Sample, forward: Graph, feeds: Tensors, dim: (dim: Dim) => Dim): void {
  const once = gradientGraph(buildSample(sample, dim), sample)
  const results = reference(once, feeds)
  const renamed: { [name: string]: HostTensor } = {}
  let penalty: Value | undefined
  for (const [name, value] of once.outputs) {
    if (!name.startsWith("d.")) continue
    const k = Object.keys(renamed).length
    renamed[`y${k}`] = results[name]!
    const weighted = once.mul(value, once.input(`k${k}`, "f32", value.shape))
    const sum =
      value.shape.length === 0
        ? weighted
        : once.reduceSum(
            weighted,
            value.shape.map((_, axis) => axis),
          )
    penalty = penalty ? once.add(penalty, sum) : sum
  }
  const weights = coefficientsOf(renamed, 7)
  const inputs = Object.keys(sample.inputs).filter((name) => (sample.inputs[name]!.dtype ?? "f32") === "f32")
  const second = gradients(
    once,
    penalty!,
    inputs.map((name) => sourceNamed(once, name)),
  )
  for (const [i, grad] of second.entries()) once.output(`d2.${inputs[i]}`, grad)
  verify(once)
  const all = { ...feeds, ...Object.fromEntries(Object.entries(weights).map(([n, v]) => [n.replace("c", "k"), v])) }
  const got = reference(once, all)
  const grads = Object.fromEntries(inputs.map((name) => [`d.${name}`, got[`d2.${name}`]!]))
  const firstOrder = gradientGraph(buildSample(sample, dim), sample)
  const names = Object.keys(renamed)
  const loss = (tensors: Tensors) => {
    const first = reference(firstOrder, { ...feeds, ...tensors })
    const values = [...firstOrder.outputs.keys()].filter((name) => name.startsWith("d."))
    return weightedSum(Object.fromEntries(values.map((name, k) => [names[k]!, first[name]!])), weights)
  }
  expect(forward.outputs.size).toBeGreaterThan(0)
  expectFiniteDifferences(loss, Object.fromEntries(inputs.map((n) => [n, feeds[n]!])), grads, 5 * GRADIENT_TOLERANCE)
}

function dimsOf(sample: Sample, symbolic: boolean): (dim: Dim) => Dim {
  const bindings = new Map(Object.entries(sample.sizes[0]!))
  return symbolic ? (dim) => dim : (dim) => evalDim(dim, bindings)
}

async function checkSample(
  op: string,
  sample: Sample,
  opCase: OpCase,
  { symbolic, seed }: { symbolic: boolean; seed: number },
): Promise<void> {
  const dim = dimsOf(sample, symbolic)
  const { graph } = buildSample(sample, dim)
  expect(graph.nodes.map((node) => node.op)).toContain(op)
  const sizes = symbolic ? sample.sizes : sample.sizes.slice(0, 1)
  const feedSets = sizes.map((one, i) => feedsOf(sample, one, seed + 17 * i))
  // Weights are one and the same for all feeds of a model.
  const weights = Object.entries(sample.inputs).filter(([, input]) => input.weight)
  const sets = feedSets.map((set) => ({ ...set, ...Object.fromEntries(weights.map(([n]) => [n, feedSets[0]![n]!])) }))
  const expanded = opCase.gradient === "none" ? graph : expandForGradient(graph)
  for (const feeds of sets) {
    const want = reference(graph, feeds)
    expectClose(reference(expanded, feeds), want, opCase.tolerance ?? 1e-5, "expansion")
  }
  if (!sample.refusedByOrt) {
    for (const target of TARGETS) await expectOrtAgrees(graph, target, sets, opCase.tolerance ?? 1e-5)
  }
  if (opCase.gradient !== "integer") await checkGradient(sample, opCase, symbolic, seed)
}

/** Runs a case. The seed is fixed, so that a run on another machine meets the same shapes. */
export async function checkOp(op: string, opCase: OpCase): Promise<void> {
  await fc.assert(
    fc.asyncProperty(opCase.sample, fc.boolean(), fc.integer({ min: 1, max: 2 ** 20 }), (sample, symbolic, seed) =>
      checkSample(op, sample, opCase, { symbolic, seed }),
    ),
    { numRuns: opCase.runs ?? 20, seed: 20_26 },
  )
}

/** Samples of several ops at once, without gradients. */
export async function checkSamples(samples: fc.Arbitrary<Sample>): Promise<void> {
  await fc.assert(
    fc.asyncProperty(samples, fc.integer({ min: 1, max: 2 ** 20 }), async (sample, seed) => {
      const { graph } = buildSample(sample, (dim) => dim)
      const feedSets = sample.sizes.map((sizes, i) => feedsOf(sample, sizes, seed + i))
      for (const target of TARGETS) await expectOrtAgrees(graph, target, feedSets, 1e-5)
    }),
    { numRuns: 20, seed: 20_26 },
  )
}

export type OpCases = { readonly [op: string]: OpCase | { readonly reason: string } }

/** One test per op. */
export function testCases(cases: OpCases): void {
  for (const [op, opCase] of Object.entries(cases)) {
    if ("reason" in opCase) continue
    it(op, { timeout: 60_000 }, () => checkOp(op, opCase))
  }
}
