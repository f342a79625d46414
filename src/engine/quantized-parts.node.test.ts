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
import { openPt, readJsonObject } from "../checkpoint/index.ts"
import { CHECKPOINT, copyCheckpoint, temporaryFolders } from "../convert/folders.test-util.node.ts"
import { convertCheckpoint, initCheckpoint, openModelWeights } from "../convert/index.node.ts"
import type { ModelWeights } from "../convert/index.ts"
import { normal, relativeError } from "../convert/weights.test-util.ts"
import { parseImageConfig } from "../image/index.ts"
import { AudioEncoder, loadSpeechParts, VisionEncoder, visionBatch } from "../inference/index.ts"
import { parseAudioConfig, parseVisionConfig, VOCOS_FILE } from "../models/minicpmo/index.ts"
import { createOrtNodeExecutor } from "../runtime/index.node.ts"
import { createReferenceExecutor, type Executor } from "../runtime/index.ts"
import type { ChatOptions } from "../session/index.ts"
import { f32, f32Data } from "../tensor/index.ts"
import { runSteps } from "../util/index.ts"
import { loadModel } from "./load.node.ts"

const temporary = temporaryFolders()

/** Outputs of all components for the same inputs. */
async function outputs(weights: ModelWeights, executor: Executor) {
  await using source = openFolder(CHECKPOINT)
  const json = await readJsonObject(source, "config.json")
  const store = weights.weights("int8")
  const [vision, audio] = [parseVisionConfig(json), parseAudioConfig(json)]
  const image = parseImageConfig(await readJsonObject(source, "preprocessor_config.json"))
  const eyes = await VisionEncoder.load({ config: vision, image, executor, siglip: store, resampler: store })
  const { patchSize } = vision.siglip
  const grid = { rows: 3, cols: 4 }
  const strip = { grid, patches: normal(3 * patchSize * patchSize * 12, 0.5, 1) }
  const batch = visionBatch([strip], vision)
  const hidden = await runSteps(eyes.tower(batch))
  const ears = await AudioEncoder.load({ config: audio, executor, encoder: store, projector: store })
  const mel = f32([audio.melBins, 100], normal(audio.melBins * 100, 0.5, 2))
  const [tokens] = await runSteps(ears.step(ears.init(), mel))
  const vocos = await openPt(source, VOCOS_FILE)
  const speech = { shapeOf: weights.shapeOf, weights: store }
  const { decoder, codec, vocoder } = await loadSpeechParts(json, speech, vocos, executor)
  const { projected, speaker } = await decoder.speaker(normal(decoder.config.llmDim, 1, 3))
  const [, heard] = await decoder.prefillText(
    decoder.init(),
    [1, 2, 3, 4, 5, 6],
    0,
    f32Data(f32([speaker.length], speaker)),
  )
  const frames = Array.from({ length: 4 }, (_, i) => Array.from({ length: decoder.config.numVq }, (_, r) => 7 * i + r))
  const [, sung] = await decoder.prefillAudio(heard, frames, 4)
  const [{ hidden: spoken, logits }] = await decoder.step(sung, 4)
  const spectrum = await codec.decode(frames)
  return {
    tower: f32Data(hidden),
    rows: f32Data(await eyes.resample(batch, hidden)),
    tokens: f32Data(tokens),
    projected,
    spoken: f32Data(spoken),
    logits: f32Data(logits),
    mel: f32Data(spectrum),
    pcm: await vocoder.render(spectrum),
  }
}

type Outputs = Awaited<ReturnType<typeof outputs>>

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
  let want: Outputs
  let layers: { readonly vision: number; readonly audio: number; readonly speech: number }
  const directory = join(temporary(), "model")

  beforeAll(async () => {
    copyCheckpoint(directory)
    using floats = await openModelWeights({ directory, quantize: "none" })
    await using reference = createReferenceExecutor()
    want = await outputs(floats, reference)
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
      const got = await outputs(weights, executor)
      const bits = await executor.activationBits()
      // Patches, then four products a layer; the resampler has keys' and values' projections, two of each, and one behind.
      const tower = bound(1 + 4 * layers.vision, bits)
      const limits: { readonly [K in keyof Outputs]: number } = {
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
        const error = relativeError(got[name as keyof Outputs], want[name as keyof Outputs])
        expect(error, name).toBeLessThan(limit)
        if (limit > 1e-3) expect(error, name).toBeGreaterThan(1e-3) // it is quantized at all
      }
    })
  })
})

/** A question with a picture and a sound, to be answered aloud. */
function question(): ChatOptions {
  const image = { width: 60, height: 40, data: Uint8Array.from({ length: 60 * 40 * 3 }, (_, i) => (i * 7) % 256) }
  const pcm = Float32Array.from({ length: 16_000 }, (_, i) => 0.1 * Math.sin(i / 7))
  return {
    messages: [
      {
        role: "user",
        content: [
          { type: "image", image },
          { type: "audio", audio: { pcm, sampleRateHz: 16_000 } },
          { type: "text", text: "What is said?" },
        ],
      },
    ],
    speak: true,
    maxNewTokens: 6,
    seed: 5,
  }
}

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
