/**
 * The official sizes under synthetic weights: values computed once with the official PyTorch modules (DVAE with
 * vector-quantize-pytorch 1.18.5, Vocos 0.1.0, two layers of the decoder around the official mask), weights from a rule.
 */
import { afterAll, expect, test } from "vitest"
import { hannWindow } from "../audio/index.ts"
import {
  conditionalChatTtsSpec,
  DVAE_PREFIX,
  type DvaeConfig,
  dvaeSpec,
  parseTtsConfig,
  TTS_PREFIX,
  type VocosConfig,
  vocosGraph,
  vocosSpec,
} from "../models/minicpmo/index.ts"
import { createOrtNodeExecutor } from "../runtime/index.node.ts"
import { memoryWeights, type WeightStore } from "../runtime/index.ts"
import { f32, f32Data, flattenSpec, type HostTensor, type SpecTree, sizeOf, tensor } from "../tensor/index.ts"
import { SpeechCodec } from "./codec.ts"
import { argMax } from "./sampler.ts"
import { SpeechDecoder } from "./speech-decoder.ts"
import { Vocoder } from "./vocoder.ts"

const cpu = createOrtNodeExecutor({ device: "cpu", threads: 2 })
afterAll(async () => {
  await cpu[Symbol.asyncDispose]()
})

/** Numbers in [-1, 1) from a name: a linear congruential generator seeded with its FNV-1a hash. */
function numbersOf(name: string): () => number {
  let x = 2166136261
  for (const byte of new TextEncoder().encode(name)) x = Math.imul(x ^ byte, 16777619)
  return () => {
    x = (Math.imul(x, 1664525) + 1013904223) >>> 0
    return x / 2 ** 31 - 1
  }
}

type Rule = (name: string, shape: readonly number[]) => (u: number) => number

const RULE: Rule = (name, shape) => {
  if (name === "coef" || (name.includes("norm") && name.endsWith("weight"))) return (u) => 1 + 0.1 * u
  if (name.endsWith(".coef") || name.endsWith(".gamma")) return (u) => 0.5 * u
  if (name.endsWith("bias")) return (u) => 0.05 * u
  const scale = Math.sqrt(3 / sizeOf(shape.slice(1)))
  return (u) => u * scale
}

/** Weights of a spec by a rule over names without the prefix. */
function synthetic(spec: SpecTree, prefix: string, rule: Rule = RULE): WeightStore {
  const tensors = new Map<string, HostTensor>()
  for (const [name, { shape, ignored }] of flattenSpec(spec)) {
    if (ignored) continue
    const next = numbersOf(name)
    const value = rule(name, shape)
    const data = new Float32Array(sizeOf(shape))
    for (let i = 0; i < data.length; i++) data[i] = value(next())
    tensors.set(prefix === "" ? name : `${prefix}.${name}`, tensor("f32", shape, data))
  }
  return memoryWeights(tensors)
}

const stack = { inner: 512, bottleneck: 128, hidden: 256, intermediate: 1024, outer: 512, depth: 12, kernel: 7 }
const DVAE: DvaeConfig = {
  melBins: 100,
  channels: 512,
  codebooks: 4,
  digits: 4,
  encoder: { ...stack, outer: 1024 },
  decoder: stack,
}
const VOCOS: VocosConfig = {
  melBins: 100,
  hidden: 512,
  intermediate: 1536,
  depth: 8,
  embedKernel: 7,
  kernel: 7,
  fftSize: 1024,
}

const near = (got: number | undefined, want: number) =>
  expect(Math.abs(got! - want) / Math.abs(want)).toBeLessThan(1e-4)
const sum = (values: Float32Array, f = (x: number) => x) => values.reduce((total, value) => total + f(value), 0)

/** 3·sin(0.1c + 0.3t) − 2 */
function wavyMel(length: number): HostTensor<"f32"> {
  const mel = Float32Array.from({ length: 100 * length }, (_, i) => {
    const [c, t] = [Math.floor(i / length), i % length]
    return 3 * Math.sin(0.1 * c + 0.3 * t) - 2
  })
  return f32([100, length], mel)
}

test("the rule's numbers", () => {
  const next = numbersOf("coef")
  near(next(), -0.02200934)
  near(next(), -0.63014453)
  near(next(), -0.84852185)
})

test("codec, both ways", async () => {
  const codec = await SpeechCodec.load(DVAE, cpu, synthetic(dvaeSpec(DVAE), DVAE_PREFIX))
  const codes = [
    [0, 312, 624],
    [7, 100, 500],
    [1, 2, 3],
    [623, 311, 42],
  ]
  const mel = f32Data(await codec.decode([0, 1, 2].map((t) => codes.map((line) => line[t]!))))
  near(sum(mel), 19.37246)
  near(sum(mel, Math.abs), 360.13754)
  for (const [i, want] of [
    [0, 0.2943005],
    [1, 0.01557424],
    [6, 0.2044562],
    [50 * 6 + 3, -0.3730672],
    [99 * 6 + 5, -0.4968076],
  ] as const) {
    near(mel[i], want)
  }
  const frames = await codec.encode(wavyMel(10))
  expect([0, 1, 2, 3].map((codebook) => frames.map((frame) => frame[codebook]))).toEqual([
    [517, 517, 398, 171, 247],
    [506, 568, 571, 448, 221],
    [165, 37, 31, 52, 1],
    [467, 167, 58, 151, 58],
  ])
})

test("vocoder", async () => {
  const drawn = synthetic(vocosSpec(VOCOS), "")
  const window = f32([1024], hannWindow(1024))
  const weights: WeightStore = {
    ...drawn,
    read: (name, dtype, shape) => (name === "head.istft.window" ? window : drawn.read(name, dtype, shape)),
  }
  const program = await cpu.compile(vocosGraph(VOCOS, { keepBackbone: true }), weights)
  const mel = wavyMel(6)
  const { backbone } = await cpu.run(program, { mel: f32([1, 100, 6], mel.data) })
  const states = f32Data(backbone!)
  for (const [i, want] of [
    [0, 0.5221589],
    [1, 0.4389306],
    [2, -0.2322781],
    [5 * 512 + 511, -0.0844046],
  ] as const) {
    near(states[i], want)
  }
  near(sum(states, Math.abs), 2423.292)
  const wave = await (await Vocoder.load(VOCOS, cpu, weights)).render(mel)
  expect(wave).toHaveLength(1536)
  near(sum(wave), 8.355892)
  near(
    sum(wave, (x) => x * x),
    5.009818,
  )
  for (const [i, want] of [
    [100, 0.11077636],
    [383, -0.05034785],
    [384, 0.01168107],
    [767, 0.06971376],
    [1000, 0.05802244],
    [1535, -0.11591918],
  ] as const) {
    near(wave[i], want)
  }
})

test("decoder, two layers: speaker, text and four frames", async () => {
  const config = { ...parseTtsConfig({ tts_config: { llm_dim: 3584 } }), numHiddenLayers: 2 }
  const rule: Rule = (name, shape) => {
    if (name.startsWith("emb_")) return (u) => u
    if (name.endsWith("original0")) return (u) => 2 + u
    return RULE(name, shape)
  }
  const weights = synthetic(conditionalChatTtsSpec(config), TTS_PREFIX, rule)
  const decoder = await SpeechDecoder.load(config, cpu, weights)
  const { speaker } = await decoder.speaker(Float32Array.from({ length: 3584 }, (_, j) => Math.sin(0.01 * j)))
  for (const [i, want] of [0.0268945, -0.0718587, -0.0275862].entries()) near(speaker[i], want)
  const ids = [21131, 21143, 8701, 117, 9510, 8995, 8357, 136, 21133]
  const [{ hidden }, prefilled] = await decoder.prefillText(decoder.init(), ids, 0, speaker)
  for (const [i, want] of [-1.3384346, 1.090413, -0.9323136].entries()) near(f32Data(hidden)[8 * 768 + i], want)
  const steps = [
    { codes: [495, 436, 170, 397], best: [8.543, 6.65105, 8.12793, 8.82595], first: [-2.74549, 0.38002, 0.2741] },
    { codes: [59, 252, 597, 76], best: [7.57103, 7.99914, 9.09762, 6.09518], first: [0.55807, -0.85757, -0.15489] },
    { codes: [610, 349, 620, 517], best: [6.12074, 7.21697, 8.73606, 6.90174], first: [-2.79363, -3.44999, 1.22442] },
    { codes: [385, 257, 493, 29], best: [8.34608, 7.37164, 7.32713, 7.6498], first: [-3.88495, -6.4553, 1.79701] },
  ]
  let state = prefilled
  for (const { codes, best, first } of steps) {
    const [{ logits }, next] = await decoder.step(state, 6)
    const rows = codes.map((_, codebook) => f32Data(logits).subarray(codebook * 626, (codebook + 1) * 626))
    expect(rows.map(argMax)).toEqual(codes)
    for (const [i, want] of best.entries()) expect(rows[i]![codes[i]!]).toBeCloseTo(want, 3)
    for (const [i, want] of first.entries()) expect(rows[0]![i]).toBeCloseTo(want, 3)
    state = decoder.addFrame(next, codes)
  }
})
