/** @file All components of a model folder on fixed inputs, and a question that needs all of them. */
import { openFolder } from "../checkpoint/index.node.ts"
import { openPt, readJsonObject } from "../checkpoint/index.ts"
import type { ModelWeights } from "../convert/index.ts"
import { normal } from "../convert/weights.test-util.ts"
import { parseImageConfig } from "../image/index.ts"
import { AudioEncoder, loadSpeechParts, VisionEncoder, visionBatch } from "../inference/index.ts"
import { parseAudioConfig, parseVisionConfig, VOCOS_FILE } from "../models/minicpmo/index.ts"
import type { Executor } from "../runtime/index.ts"
import type { ChatOptions } from "../session/index.ts"
import { f32, f32Data } from "../tensor/index.ts"
import { runSteps } from "../util/index.ts"

/** Outputs of all components for the same inputs. */
export async function partOutputs(directory: string, weights: ModelWeights, executor: Executor) {
  await using source = openFolder(directory)
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
  const [, heard] = await decoder.prefillText(decoder.init(), [1, 2, 3, 4, 5, 6], 0, speaker)
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

export type PartOutputs = Awaited<ReturnType<typeof partOutputs>>

/** A question with a picture and a sound, to be answered aloud. */
export function question(): ChatOptions {
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
