/** @file What commands that load a model make of their flags. */
import { DEVICES, type LoadOptions, QUANTIZE_KINDS } from "../engine/index.ts"
import { cacheFolder, choice, numberFlag } from "./flags.ts"
import { modelFolder } from "./hub-settings.ts"

/** Values of `MODEL_FLAGS`. */
type ModelFlags = {
  readonly model: string
  readonly device: string
  readonly quantize: string
  readonly threads?: string | undefined
}

/** @throws ConfigError naming the wrong flag, CheckpointError when there is no such model */
export async function loadOptions({ model, device, quantize, threads }: ModelFlags): Promise<LoadOptions> {
  const count = numberFlag("threads", threads, 1)
  return {
    device: choice("device", device, DEVICES),
    quantize: choice("quantize", quantize, QUANTIZE_KINDS),
    model: await modelFolder(model),
    cacheFolder: cacheFolder(),
    ...(count === undefined ? {} : { threads: count }),
  }
}
