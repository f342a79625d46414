/** @file The three models that speak, loaded together: decoder and codec from the checkpoint, vocoder from its own file. */
import type { Checkpoint } from "../checkpoint/index.ts"
import {
  conditionalChatTtsSpec,
  dvaeConfig,
  dvaeSpec,
  parseTtsConfig,
  TTS_PREFIX,
  vocosConfig,
  vocosSpec,
} from "../models/minicpmo/index.ts"
import type { Executor } from "../runtime/index.ts"
import { SpeechCodec } from "./codec.ts"
import { readComponent } from "./component-weights.ts"
import { SpeechDecoder } from "./speech-decoder.ts"
import { Vocoder } from "./vocoder.ts"

export type SpeechParts = {
  readonly decoder: SpeechDecoder
  readonly codec: SpeechCodec
  readonly vocoder: Vocoder
}

/** Shapes of a checkpoint's tensors by name. */
export function shapesOf(checkpoint: Checkpoint): (name: string) => readonly number[] | undefined {
  return (name) => (checkpoint.has(name) ? checkpoint.info(name).shape : undefined)
}

/**
 * Loads in exact float32.
 * @param config the parsed config.json
 * @param vocos the opened `VOCOS_FILE`
 * @throws ConfigError or CheckpointError naming the field or tensor
 */
export async function loadSpeechParts(
  config: unknown,
  checkpoint: Checkpoint,
  vocos: Checkpoint,
  executor: Executor,
): Promise<SpeechParts> {
  const tts = parseTtsConfig(config)
  const dvae = dvaeConfig(shapesOf(checkpoint), tts.numVq)
  const weights = await readComponent(checkpoint, { ...conditionalChatTtsSpec(tts), dvae: dvaeSpec(dvae) }, TTS_PREFIX)
  const vocoder = vocosConfig(shapesOf(vocos))
  return {
    decoder: await SpeechDecoder.load(tts, executor, weights),
    codec: await SpeechCodec.load(dvae, executor, weights),
    vocoder: await Vocoder.load(vocoder, executor, await readComponent(vocos, vocosSpec(vocoder), "")),
  }
}
