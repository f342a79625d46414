/** @file Every tensor of a model folder in the official layout, and how new ones are drawn. */
import { CODEC_MEL, denseMelFilterBank, hannWindow, melFilterBank } from "../audio/index.ts"
import type { TensorPlan } from "../checkpoint/index.ts"
import {
  AUDIO_ENCODER_PREFIX,
  AUDIO_PROJECTOR_PREFIX,
  audioProjectorSpec,
  conditionalChatTtsSpec,
  DVAE_PREFIX,
  dvaeSpec,
  LLM_PREFIX,
  parseAudioConfig,
  parseQwen2Config,
  parseTtsConfig,
  parseVisionConfig,
  qwen2Spec,
  RESAMPLER_PREFIX,
  resamplerSpec,
  SIGLIP_PREFIX,
  siglipSpec,
  TTS_PREFIX,
  vocosSpec,
  whisperEncoderSpec,
} from "../models/minicpmo/index.ts"
import {
  f32,
  flattenSpec,
  type HostTensor,
  narrowFromF32,
  type SpecTree,
  sizeOf,
  type TensorSpec,
  weightSpec,
} from "../tensor/index.ts"
import type { UnstatedSizes } from "./presets.ts"
import { randomArray, randomBits, randomPieces } from "./random.ts"

const DEAD_TABLE = `${TTS_PREFIX}.model.embed_tokens.weight`
const AUDIO_POSITIONS = `${AUDIO_ENCODER_PREFIX}.embed_positions.weight`

/**
 * All tensors of the safetensors shards by name; dead weight has the shape it is stored with.
 * @param config the parsed config.json
 * @throws ConfigError naming the first wrong field
 */
export function officialTensors(
  config: unknown,
  { dvae, deadTokenRows }: Pick<UnstatedSizes, "dvae" | "deadTokenRows">,
): Map<string, TensorSpec> {
  const audio = parseAudioConfig(config)
  const vision = parseVisionConfig(config)
  const tts = parseTtsConfig(config)
  const parts: readonly [SpecTree, string][] = [
    [qwen2Spec(parseQwen2Config(config)), LLM_PREFIX],
    [siglipSpec(vision.siglip), SIGLIP_PREFIX],
    [resamplerSpec(vision.resampler), RESAMPLER_PREFIX],
    [whisperEncoderSpec(audio), AUDIO_ENCODER_PREFIX],
    [audioProjectorSpec(audio), AUDIO_PROJECTOR_PREFIX],
    [conditionalChatTtsSpec(tts), TTS_PREFIX],
    [dvaeSpec(dvae), DVAE_PREFIX],
  ]
  const all = parts.flatMap(([spec, prefix]) => [...flattenSpec(spec, prefix)])
  const specs = new Map(all.filter(([, { ignored }]) => ignored === undefined))
  return specs.set(DEAD_TABLE, weightSpec([deadTokenRows, tts.hiddenSize]))
}

/** The tensors of a new model that are not random. */
export function fixedTensors(specs: ReadonlyMap<string, TensorSpec>): ReadonlyMap<string, Float32Array> {
  const [count, width] = specs.get(AUDIO_POSITIONS)!.shape as [number, number]
  return new Map([[AUDIO_POSITIONS, sinusoids(count, width)]])
}

/** New tensors as a stream: normal values as their specs say, and the table of positions as it is defined. */
export function randomTensors(specs: ReadonlyMap<string, TensorSpec>, seed: number) {
  return ({ name, dtype, shape }: TensorPlan): Iterable<ArrayBufferView> => {
    if (name === AUDIO_POSITIONS) return [narrowFromF32(dtype, sinusoids(shape[0]!, shape[1]!))]
    const { mean, deviation } = specs.get(name)!.init
    const sizeBytes = sizeOf(shape) * (dtype === "f32" ? 4 : 2)
    return randomPieces(randomBits(seed, name), { kind: "normal", dtype, mean, deviation }, sizeBytes)
  }
}

/** Sines in the first half of the channels, cosines in the second. // [count, width]. Source: Whisper's `sinusoids`. */
function sinusoids(count: number, width: number): Float32Array {
  const half = width / 2
  const table = new Float32Array(count * width)
  for (let i = 0; i < half; i++) {
    const frequency = Math.exp((-Math.log(10000) * i) / (half - 1))
    for (let position = 0; position < count; position++) {
      table[position * width + i] = Math.sin(position * frequency)
      table[position * width + half + i] = Math.cos(position * frequency)
    }
  }
  return table
}

/** The vocoder's file: normal values, and the fixed tables of the official one, which its loader asks for. */
export function vocosTensors({ vocos }: Pick<UnstatedSizes, "vocos">, seed: number): Map<string, HostTensor<"f32">> {
  const { fftSize, melBins } = vocos
  const window = () => f32([fftSize], Float32Array.from(hannWindow(fftSize)))
  const { sampleRateHz } = CODEC_MEL
  const bank = denseMelFilterBank(melFilterBank({ fftSize, melBins, sampleRateHz, scale: "htk", norm: "none" }))
  const fixed = new Map([
    ["feature_extractor.mel_spec.spectrogram.window", window()],
    ["feature_extractor.mel_spec.mel_scale.fb", f32([fftSize / 2 + 1, melBins], bank)],
    ["head.istft.window", window()],
  ])
  const tensors = new Map<string, HostTensor<"f32">>()
  for (const [name, { shape, init }] of flattenSpec(vocosSpec(vocos))) {
    const draw = () =>
      f32(shape, randomArray("f32", sizeOf(shape), seed, `vocos.${name}`, { kind: "normal", dtype: "f32", ...init }))
    tensors.set(name, fixed.get(name) ?? draw())
  }
  return tensors
}
