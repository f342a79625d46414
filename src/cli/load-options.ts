/** @file What commands that load a model make of their flags. */
import { DEVICES, type LoadOptions, type ModelInfo, QUANTIZE_KINDS } from "../engine/index.ts"
import { cacheFolder, modelFolder } from "../omni.models.node.ts"
import type { AnswerOptions } from "../session/index.ts"
import { choice, numberFlag } from "./flags.ts"
import type { Output } from "./output.ts"

/** Values of `MODEL_FLAGS`. */
type ModelFlags = {
  readonly model?: string | undefined
  readonly device: string
  readonly quantize: string
  readonly threads?: string | undefined
}

/** @throws ConfigError naming the wrong flag, CheckpointError when there is no such model */
export async function loadOptions(
  { model, device, quantize, threads }: ModelFlags,
  waiting: Parameters<typeof modelFolder>[2] = {},
): Promise<LoadOptions> {
  const count = numberFlag("threads", threads, 1)
  return {
    device: choice("device", device, DEVICES),
    quantize: choice("quantize", quantize, QUANTIZE_KINDS),
    model: await modelFolder(model, process.env, waiting),
    cacheFolder: cacheFolder(process.env),
    ...(count === undefined ? {} : { threads: count }),
  }
}

/** Enough to see that an untrained model only makes noise. */
const NOISE_TOKENS = 60

/** Noise rarely ends by itself: without a wish, it is kept short. */
export function answerLength(sampling: AnswerOptions, { untrained }: ModelInfo): AnswerOptions {
  return untrained ? { maxNewTokens: NOISE_TOKENS, ...sampling } : sampling
}

/** Tells people that answers will make no sense, where that is so. */
export function noteUntrained(output: Output, { name, untrained }: ModelInfo): void {
  if (untrained) output.note(`${name} has random weights: its answers are noise until it is trained`)
}
