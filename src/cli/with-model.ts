/** @file The way of commands from flags to a loaded model, and back. */
import { startEngine } from "../engine/index.node.ts"
import { DEVICES, type EngineClient, type LoadOptions, type ModelInfo, QUANTIZE_KINDS } from "../engine/index.ts"
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

type Loaded = { readonly engine: EngineClient; readonly info: ModelInfo }

/**
 * Loads the model of the flags, with progress and a record, and closes it whatever happens.
 * @param check throws where the model lacks something, before its answers are asked for
 * @throws what loading, `check` and `work` throw
 */
export async function withModel(
  flags: ModelFlags,
  { output, signal, check }: { output: Output; signal: AbortSignal; check?: (info: ModelInfo) => void },
  work: (loaded: Loaded) => Promise<void>,
): Promise<void> {
  const waiting = { signal, onProgress: output.progress }
  const options = await loadOptions(flags, waiting)
  const engine = startEngine()
  try {
    const info = await engine.load(options, waiting)
    output.done()
    output.record({ type: "loaded", ...info })
    check?.(info)
    noteUntrained(output, info)
    await work({ engine, info })
  } finally {
    output.done()
    await engine.close()
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
