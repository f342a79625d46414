/**
 * @file Whole quantized models against exact float32: every storage and device, and models with a few channels 128 times
 * larger than the rest, as real ones have, wherever linear layers read or the stream passes.
 *
 * Errors are relative root mean squares. A layer puts four products behind each other (attention's inputs and output,
 * the MLP's inputs and output); their roundings are independent, and each product adds to the residual stream at most
 * what is there already, so that the errors of N products add up to √N times that of one.
 */
import { copyFileSync } from "node:fs"
import { join } from "node:path"
import { beforeAll, describe, expect, test } from "vitest"
import { folderSink, openFolder } from "../checkpoint/index.node.ts"
import { openCheckpoint, readJsonObject, writeCheckpoint } from "../checkpoint/index.ts"
import { CHECKPOINT, temporaryFolders } from "../convert/folders.test-util.node.ts"
import { openModelWeights } from "../convert/index.node.ts"
import { relativeError } from "../convert/weights.test-util.ts"
import type { ActivationBits } from "../graph/index.ts"
import { LanguageModel } from "../inference/index.ts"
import { parseQwen2Config, type Qwen2Config } from "../models/minicpmo/index.ts"
import { describeDevices } from "../runtime/devices.test-util.ts"
import { createReferenceExecutor, type Executor } from "../runtime/index.ts"
import { f32Data, narrowFromF32, widenToF32 } from "../tensor/index.ts"
import { runSteps } from "../util/index.ts"
import type { StoragePlan } from "./memory-plan.ts"

/** A power of two: bf16 weights stay exact, and so does the model. */
const HUGE = 128
/** Channels of each kind that become huge. */
const HUGE_CHANNELS = [3, 77, 130, 200]

/**
 * Where channels become huge; the weights that read them shrink by as much. In the residual stream the norms' gains do,
 * as in real models: what the model computes changes there, since the norm divides by the huge channels.
 */
type Injection = "none" | "residual stream" | "after norms" | "before the down projection"

const temporary = temporaryFolders()
let config: Qwen2Config

beforeAll(async () => {
  await using source = openFolder(CHECKPOINT)
  config = parseQwen2Config(await readJsonObject(source, "config.json"))
})

/** Factors of a tensor's rows and columns that leave what the model computes as it is. */
function factors(injection: Injection, name: string): { readonly rows: number; readonly columns: number } {
  if (!name.startsWith("llm.")) return { rows: 1, columns: 1 }
  if (injection === "residual stream") {
    if (/embed_tokens\.weight$/.test(name)) return { rows: 1, columns: HUGE }
    if (/(o|down)_proj\.weight$/.test(name)) return { rows: HUGE, columns: 1 }
    if (/norm\.weight$/.test(name)) return { rows: 1, columns: 1 / HUGE }
  }
  if (injection === "after norms") {
    if (/layers.*layernorm\.weight$/.test(name)) return { rows: 1, columns: HUGE }
    if (/(q|k|v|gate|up)_proj\.weight$/.test(name)) return { rows: 1, columns: 1 / HUGE }
  }
  if (injection === "before the down projection") {
    if (/up_proj\.weight$/.test(name)) return { rows: HUGE, columns: 1 }
    if (/down_proj\.weight$/.test(name)) return { rows: 1, columns: 1 / HUGE }
  }
  return { rows: 1, columns: 1 }
}

async function makeModel(injection: Injection): Promise<string> {
  const directory = temporary()
  await using source = openFolder(CHECKPOINT)
  const checkpoint = await openCheckpoint(source)
  const names = checkpoint.names()
  const plan = names.map((name) => ({ name, ...checkpoint.info(name) }))
  await writeCheckpoint(folderSink(directory), plan, async function* ({ name, dtype, shape }) {
    const data = widenToF32(dtype, (await checkpoint.read(name)).data).slice()
    const { rows, columns } = factors(injection, name)
    if (rows === columns) {
      yield narrowFromF32(dtype, data)
      return
    }
    const width = shape.at(-1)!
    for (let row = 0; row < data.length / width; row++) {
      for (const channel of HUGE_CHANNELS) data[row * width + channel]! *= columns
      if (HUGE_CHANNELS.includes(row)) for (let i = 0; i < width; i++) data[row * width + i]! *= rows
    }
    yield narrowFromF32(dtype, data)
  })
  copyFileSync(join(CHECKPOINT, "config.json"), join(directory, "config.json"))
  return directory
}

/** Hidden states of a prompt and of single tokens after it, and their logits. */
async function answer(directory: string, plan: StoragePlan, executor: Executor) {
  using weights = await openModelWeights({ directory, quantize: plan })
  const [prefill, decode] = plan === "none" ? ["f32", "f32"] : plan === "int8+int4" ? ["int8", "int4"] : [plan, plan]
  const model = await LanguageModel.load({
    ...{ config, executor },
    prefill: weights.weights(prefill as "f32"),
    decode: weights.weights(decode as "f32"),
    embeddingRows: (ids) => weights.readRows("llm.model.embed_tokens.weight", ids),
  })
  const cache = model.createCache()
  const prompt = Array.from({ length: 12 }, (_, i) => (i * 37 + 11) % (config.vocabSize - 200))
  const [hidden] = await runSteps(model.forward(cache, model.embed(prompt)))
  const states: number[] = []
  const logits: number[] = []
  for (const id of [3, 400, 22]) {
    const [state] = await runSteps(model.forward(cache, model.embed([id])))
    states.push(...f32Data(state!))
    logits.push(...(await model.lastLogits(state!)).logits)
  }
  return { prompt: f32Data(hidden!), states: Float32Array.from(states), logits: Float32Array.from(logits) }
}

/** A value rounded to a multiple of a step is off by this many steps, root mean square. */
const ROUNDED = 1 / Math.sqrt(12)
/** The largest of a few hundred normal values. */
const LARGEST = 3.5

/**
 * Error of one product. Balanced by their columns' lengths, weights and inputs are as if no channel had been huge, and
 * rotated, both are like normal values: see convert/linear-error.test.ts, where the weights' errors are from.
 */
function productError(kind: "int8" | "int4", bits: ActivationBits): number {
  const inputs = (LARGEST / (kind === "int8" ? 2 ** (bits - 1) - 1 : 127)) * ROUNDED
  return Math.hypot(inputs, kind === "int4" ? 0.105 : (LARGEST / 127) * ROUNDED)
}

/** Errors of the hidden states after all layers, and of their logits: the same wherever channels are huge. */
function bounds(kind: "int8" | "int4", bits: ActivationBits): { readonly hidden: number; readonly logits: number } {
  const hidden = Math.sqrt(config.numHiddenLayers * 4) * productError(kind, bits)
  return { hidden, logits: Math.hypot(hidden, productError(kind, bits)) }
}

const PLANS = ["int8", "int4", "int8+int4"] as const
const INJECTIONS: readonly Injection[] = ["none", "residual stream", "after norms", "before the down projection"]

describeDevices((open, device) => {
  // The software driver needs seconds for each model: one case shows that the device computes the same.
  const injections = device === "webgpu" ? INJECTIONS.slice(0, 1) : INJECTIONS
  describe.each(injections)("huge channels: %s", (injection) => {
    const plans = device === "webgpu" ? (["int4"] as const) : PLANS
    let directory = ""
    let want: Awaited<ReturnType<typeof answer>>

    beforeAll(async () => {
      directory = await makeModel(injection)
      await using reference = createReferenceExecutor()
      want = await answer(directory, "none", reference)
    })

    test.each(plans)("%s stays within what its roundings explain", async (plan) => {
      await using executor = open()
      const got = await answer(directory, plan, executor)
      const [prefill, decode] = plan === "int8+int4" ? (["int8", "int4"] as const) : [plan, plan]
      const bits = await executor.activationBits()
      const [whole, single] = [bounds(prefill, bits), bounds(decode, bits)]
      expect(relativeError(got.prompt, want.prompt)).toBeLessThan(whole.hidden)
      expect(relativeError(got.states, want.states)).toBeLessThan(Math.max(single.hidden, whole.hidden))
      expect(relativeError(got.logits, want.logits)).toBeLessThan(Math.max(single.logits, whole.logits))
      expect(relativeError(got.logits, want.logits)).toBeGreaterThan(0.005) // it is quantized at all
    })
  })
})

test("huge inputs of linear layers change nothing in exact float32", async () => {
  await using executor = createReferenceExecutor()
  const plain = await answer(CHECKPOINT, "none", executor)
  for (const injection of ["after norms", "before the down projection"] as const) {
    const got = await answer(await makeModel(injection), "none", executor)
    expect(relativeError(got.logits, plain.logits)).toBeLessThan(1e-5)
  }
})
