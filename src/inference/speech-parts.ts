/** @file The three models that speak, loaded together: decoder and codec from the checkpoint, vocoder from its own file. */
import { type Checkpoint, shapesOf } from "../checkpoint/index.ts"
import {
  conditionalChatTtsSpec,
  dvaeConfig,
  dvaeSpec,
  parseTtsConfig,
  type ShapeOf,
  TTS_PREFIX,
  vocosConfig,
  vocosSpec,
} from "../models/minicpmo/index.ts"
import type { Executor, WeightStore } from "../runtime/index.ts"
import { SpeechCodec } from "./codec.ts"
import { readComponent } from "./component-weights.ts"
import { SpeechDecoder } from "./speech-decoder.ts"
import { Vocoder } from "./vocoder.ts"

export type SpeechParts = {
  readonly decoder: SpeechDecoder
  readonly codec: SpeechCodec
  readonly vocoder: Vocoder
}

/** Decoder and codec, in whatever form their weights are stored. */
export type SpeechWeights = { readonly shapeOf: ShapeOf; readonly weights: WeightStore }

/**
 * Decoder and codec of a checkpoint in exact float32.
 * @param config the parsed config.json
 * @throws ConfigError or CheckpointError naming the field or tensor
 */
export async function readSpeechWeights(config: unknown, checkpoint: Checkpoint): Promise<SpeechWeights> {
  const shapeOf = shapesOf(checkpoint)
  const tts = parseTtsConfig(config)
  const spec = { ...conditionalChatTtsSpec(tts), dvae: dvaeSpec(dvaeConfig(shapeOf, tts.numVq)) }
  return { shapeOf, weights: await readComponent(checkpoint, spec, TTS_PREFIX) }
}

/**
 * @param config the parsed config.json
 * @param vocos the opened `VOCOS_FILE`
 * @throws ConfigError or CheckpointError naming the field or tensor
 */
export async function loadSpeechParts(
  config: unknown,
  { shapeOf, weights }: SpeechWeights,
  vocos: Checkpoint,
  executor: Executor,
): Promise<SpeechParts> {
  const tts = parseTtsConfig(config)
  const dvae = dvaeConfig(shapeOf, tts.numVq)
  const vocoder = vocosConfig(shapesOf(vocos))
  return {
    decoder: await SpeechDecoder.load(tts, executor, weights),
    codec: await SpeechCodec.load(dvae, executor, weights),
    vocoder: await Vocoder.load(vocoder, executor, await readComponent(vocos, vocosSpec(vocoder), "")),
  }
}
