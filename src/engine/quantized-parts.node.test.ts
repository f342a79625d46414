/**
 * @file Quantized models that see, hear and speak: each component against exact float32, and whole folders without floats.
 *
 * Errors are relative root mean squares. Roundings of products are independent, and each product adds to its residual
 * stream at most what is there already: the errors of N products add up to √N times that of one. A product's is that of
 * its weights (codes up to 127) and of its inputs (codes of 8 bits, or 7 where the processor asks for it), both up to the
 * largest of some tens of normal values.
 */
import { join } from "node:path"
import { beforeAll, describe, expect, test } from "vitest"
import { openFolder } from "../checkpoint/index.node.ts"
import { readJsonObject } from "../checkpoint/index.ts"
import { CHECKPOINT, copyCheckpoint, temporaryFolders } from "../convert/folders.test-util.node.ts"
import { convertCheckpoint, initCheckpoint, openModelWeights } from "../convert/index.node.ts"
import { relativeError } from "../convert/weights.test-util.ts"
import { parseAudioConfig, parseVisionConfig } from "../models/minicpmo/index.ts"
import { createOrtNodeExecutor } from "../runtime/index.node.ts"
import { createReferenceExecutor } from "../runtime/index.ts"
import { loadModel } from "./load.node.ts"
import { type PartOutputs, partOutputs, question } from "./parts.test-util.node.ts"

const temporary = temporaryFolders()

/** A value rounded to a multiple of a step is off by this many steps, root mean square. */
const ROUNDED = 1 / Math.sqrt(12)
/** The largest of some tens to hundreds of normal values. */
const LARGEST = 3.5

const bound = (products: number, inputBits: number) =>
  Math.sqrt(products) * Math.hypot(LARGEST / (2 ** (inputBits - 1) - 1), LARGEST / 127) * ROUNDED

/**
 * Products that a projector of two linear layers counts for: the second reads what ReLU leaves, half of it zeros, so that
 * its largest input is √2 times further from the root mean square.
 */
const PROJECTOR = 3

describe("components of a quantized model, against exact float32", () => {
  let want: PartOutputs
  let layers: { readonly vision: number; readonly audio: number; readonly speech: number }
  const directory = join(temporary(), "model")

  beforeAll(async () => {
    copyCheckpoint(directory)
    using floats = await openModelWeights({ directory, quantize: "none" })
    await using reference = createReferenceExecutor()
    want = await partOutputs(directory, floats, reference)
    await using source = openFolder(CHECKPOINT)
    const json = await readJsonObject(source, "config.json")
    layers = {
      vision: parseVisionConfig(json).siglip.numHiddenLayers,
      audio: parseAudioConfig(json).numLayers,
      speech: (json.tts_config as { num_hidden_layers: number }).num_hidden_layers,
    }
  })

  // WebGPU needs seconds to compile each program; its kernels have tests of their own.
  const devices = {
    reference: createReferenceExecutor,
    cpu: () => createOrtNodeExecutor({ device: "cpu", threads: 1 }),
  }
  describe.each(Object.entries(devices))("%s", (_, open) => {
    test("stay within what their roundings explain; what stays float is exact", async () => {
      await using executor = open()
      using weights = await openModelWeights({ directory, quantize: "int4" })
      const got = await partOutputs(directory, weights, executor)
      const bits = await executor.activationBits()
      // Patches, then four products a layer; the resampler has keys' and values' projections, two of each, and one behind.
      const tower = bound(1 + 4 * layers.vision, bits)
      const limits: { readonly [K in keyof PartOutputs]: number } = {
        tower,
        rows: Math.hypot(tower, bound(3, bits)),
        tokens: bound(4 * layers.audio + PROJECTOR, bits),
        projected: bound(PROJECTOR, 8),
        spoken: bound(PROJECTOR + 4 * layers.speech, 8),
        logits: bound(PROJECTOR + 4 * layers.speech, 8),
        mel: 1e-5,
        pcm: 1e-4,
      }
      for (const [name, limit] of Object.entries(limits)) {
        const error = relativeError(got[name as keyof PartOutputs], want[name as keyof PartOutputs])
        expect(error, name).toBeLessThan(limit)
        if (limit > 1e-3) expect(error, name).toBeGreaterThan(1e-3) // it is quantized at all
      }
    })
  })
})

async function answer(model: string, quantize: "auto" | "int8" | "int8+int4", request = question()) {
  const options = { model, device: "cpu", quantize, threads: 1, cacheFolder: join(model, "cache") } as const
  await using loaded = await loadModel(options, () => {}, new AbortController().signal)
  expect(loaded.info).toMatchObject({ sees: true, hears: true, speaks: true })
  const said: { text: string; samples: number; usage: object } = { text: "", samples: 0, usage: {} }
  for await (const event of loaded.chat(request)) {
    if (event?.type === "audio-delta") {
      expect(event.pcm.every(Number.isFinite)).toBe(true)
      said.samples += event.pcm.length
    }
    if (event?.type === "turn-end") Object.assign(said, { text: event.text, usage: event.usage })
  }
  return said
}

describe("a folder without floats sees, hears and speaks", () => {
  test.each(["int8", "int8+int4"] as const)("converted to %s, as from the cache of the original", async (quantize) => {
    const [original, out] = [copyCheckpoint(join(temporary(), "model")), join(temporary(), "small")]
    await convertCheckpoint({ directory: original, quantize, out })
    const got = await answer(out, "auto")
    expect(got.samples).toBeGreaterThan(0)
    expect(got.usage).toMatchObject({ promptImageTokens: 64, promptAudioTokens: 25 })
    expect(await answer(original, quantize)).toEqual(got)
  })

  test("made by init", async () => {
    const directory = join(temporary(), "nano")
    await initCheckpoint({ directory, preset: "nano", layers: 2, quantize: "int8+int4", seed: 4 })
    expect((await answer(directory, "auto")).samples).toBeGreaterThan(0)
  })
})
